/** What the operations of a failback refer to: both hosts, the record, and the names of what it makes. */
import { UnderstudyError } from '../domain/error.ts';
import type { FailbackHome, FailbackRecord } from '../domain/failover/failback.ts';
import type { OperationKey } from '../domain/ids.ts';
import { type FailbackId, type MarkName, markName, replicaId, type VmId } from '../domain/ids.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { ReplicaOperation } from '../domain/replica/phase.ts';
import type { FailoverRecord, Replica } from '../domain/replica/replica.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { Clock } from '../ports/clock.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { Mover } from '../ports/mover.ts';
import type { FailbackCommand } from '../ports/production-disks.ts';
import { actingFor } from './acting-for.ts';
import type { EnginePorts } from './engine-ports.ts';
import { textIn } from './input.ts';
import {
  loadReplica,
  loadSettings,
  type ReplicaFacts,
  type ReplicaSettings,
} from './replica-facts.ts';

export type FailbackFacts = ReplicaFacts & {
  readonly failover: FailoverRecord;
  /** The VM of the replica at the target. */
  readonly replicaVmId: VmId;
  readonly settings: ReplicaSettings;
  readonly target: HostPorts;
  readonly clock: Clock;
  readonly catalog: Catalog;
  readonly mover: Mover;
};

/** Of a failback that has been begun. */
export type Failback = FailbackFacts & {
  readonly failback: FailbackRecord;
  readonly home: HostPorts;
};

export async function loadFailbackFacts(
  ports: EnginePorts,
  context: OperationContext,
  input: Json,
  operation: ReplicaOperation,
): Promise<FailbackFacts> {
  const id = replicaId(textIn(input, 'replicaId'));
  const facts = await loadReplica(ports, context, id, operation);
  const { failover, targetVmId, targetHostId, phase } = facts.replica;
  if (failover === null || targetVmId === null) {
    throw new Error(`replica ${id} is in ${phase} without a failover or a VM`);
  }
  const { clock, catalog, mover } = ports;
  return {
    ...facts,
    failover,
    replicaVmId: targetVmId,
    settings: await loadSettings(ports, context, facts.replica),
    target: await actingFor(ports, id, targetHostId),
    clock,
    catalog,
    mover,
  };
}

export async function loadFailback(
  ports: EnginePorts,
  context: OperationContext,
  input: Json,
  operation: ReplicaOperation,
): Promise<Failback> {
  const facts = await loadFailbackFacts(ports, context, input, operation);
  const { failback, id, phase } = facts.replica;
  if (failback === null) throw new Error(`replica ${id} is in ${phase} without a failback`);
  return { ...facts, failback, home: await actingFor(ports, id, failback.home.hostId) };
}

/** A command about the working layers. */
export function layersCommand(
  { id: failbackId }: Pick<FailbackRecord, 'id'>,
  { id, epoch }: Replica,
  key: OperationKey,
): FailbackCommand {
  return { key, failbackId, replicaId: id, epoch };
}

/** What a pass leaves on the replica's disks: what is written after it is the next pass's. */
export function markOfPass(id: FailbackId, pass: number): MarkName {
  return markName(`us-${id}-${pass}`);
}

/** Throws when there is no VM yet: a new one is made by the switchover only. */
export function homeVm({ vmId, name }: FailbackHome): VmId {
  if (vmId !== null) return vmId;
  throw new UnderstudyError('unexpected', { reason: `VM ${name} was not made by the switchover` });
}
