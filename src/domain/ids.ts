/**
 * Identities. Each is a plain string at run time and a distinct type at compile time, so that a job
 * cannot be passed where a replica is meant. `xId()` parses text from outside; ids that Understudy makes
 * itself come from `ports/ids.ts`.
 */
import { UnderstudyError } from './error.ts';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

export type HostId = Branded<'HostId'>;
export type JobId = Branded<'JobId'>;
export type ReplicaId = Branded<'ReplicaId'>;
export type PointId = Branded<'PointId'>;
export type BranchId = Branded<'BranchId'>;
export type LayerId = Branded<'LayerId'>;
export type FailbackId = Branded<'FailbackId'>;
export type OperationId = Branded<'OperationId'>;

/** The hypervisor's own identity of a VM: a UUID, because names may repeat, change and carry any character. */
export type VmId = Branded<'VmId'>;

/** The place of a disk in its VM as the hypervisor names it (`vda`, `sdb`); stable over the VM's life. */
export type DiskKey = Branded<'DiskKey'>;

/** The name of a change mark at a source. */
export type MarkName = Branded<'MarkName'>;

/** `operationId/step`: identifies one command to a host, so that a repeated command is recognised. */
export type OperationKey = Branded<'OperationKey'>;

/** Safe in file names, URLs and option lists: what every id that we make looks like. */
const ID = /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const DISK_KEY = /^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$/;

function parser<Id extends string>(what: string, pattern: RegExp): (text: string) => Id {
  return (text) => {
    if (!pattern.test(text)) throw new UnderstudyError('invalid-id', { what, value: text });
    return text as Id;
  };
}

export const hostId = parser<HostId>('host id', ID);
export const jobId = parser<JobId>('job id', ID);
export const replicaId = parser<ReplicaId>('replica id', ID);
export const pointId = parser<PointId>('restore point id', ID);
export const branchId = parser<BranchId>('branch id', ID);
export const layerId = parser<LayerId>('layer id', ID);
export const failbackId = parser<FailbackId>('failback id', ID);
export const operationId = parser<OperationId>('operation id', ID);
export const vmId = parser<VmId>('VM id', UUID);
export const diskKey = parser<DiskKey>('disk', DISK_KEY);
export const markName = parser<MarkName>('change mark', ID);

export function operationKey(operation: OperationId, step: string): OperationKey {
  return `${operation}/${step}` as OperationKey;
}
