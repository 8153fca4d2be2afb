import type { AddressProbe } from '../domain/failover/address-probe.ts';
import type { OperationId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Job, QuiescePolicy, ScratchPolicy, TestingPolicy } from '../domain/job/job.ts';
import type { JobChange } from '../domain/job/job-change.ts';
import type { SettingChange } from '../domain/job/setting-changes.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { ReplicationWindow } from '../domain/replication/window.ts';
import type { RetentionPolicy } from '../domain/restore-point/retention.ts';
import type { PreflightFinding } from '../domain/vm/preflight.ts';
import type { VmSummary } from '../domain/vm/vm.ts';
import type { Reference } from './controller.ts';
import type { SeedOrder } from './orders.ts';

export type CreateJob = {
  readonly name: string;
  readonly sourceHost: Reference;
  readonly targetHost: Reference;
  readonly vms: readonly Reference[];
  readonly rpoSeconds: number;
  readonly isScheduled: boolean;
  /** When runs may begin by the clock; absent: at any time. */
  readonly windows?: readonly ReplicationWindow[];
  readonly retention: RetentionPolicy;
  readonly quiesce: QuiescePolicy;
  readonly replicaSuffix: string;
  readonly networkMap: Readonly<Record<string, string | null>>;
  readonly bytesPerSecondMax: number | null;
  readonly archiveSeconds: number;
  readonly scratch: ScratchPolicy;
  readonly testing: TestingPolicy | null;
  /** Where guests answer by their addresses. `vm`: one of `vms` as it is written there; null in a job of one VM. */
  readonly answers?: readonly { readonly vm: Reference | null; readonly at: AddressProbe }[];
  /** What is at the target already, for first runs; files of several disks may be named one by one. */
  readonly seeds?: readonly { readonly vm: Reference; readonly from: SeedOrder }[];
};

export type VmFindings = { readonly vm: VmSummary; readonly findings: readonly PreflightFinding[] };

/** `blocked`: at least one finding blocks; nothing was made. */
export type JobCreation =
  | { readonly type: 'created'; readonly job: JobView; readonly findings: readonly VmFindings[] }
  | { readonly type: 'blocked'; readonly findings: readonly VmFindings[] };

/** What is absent stays; meanings as in domain/job/job-change.ts. */
export type ChangeJob = Omit<JobChange, 'answers'> & {
  /** `vm`: one of the job's; null in a job of one VM. */
  readonly answers?: readonly {
    readonly vm: Reference | null;
    readonly at: readonly AddressProbe[];
  }[];
};

/** What a change would mean; nothing was changed to find out. */
export type JobChangePreview = {
  /** As it would be. */
  readonly job: JobView;
  readonly changes: readonly SettingChange[];
  readonly findings: readonly VmFindings[];
  /** A finding blocks that did not before: the change would be refused. */
  readonly isBlocked: boolean;
};

/** `operationId` null: it was as asked already. */
export type JobChanged =
  | {
      readonly type: 'changed';
      readonly operationId: OperationId | null;
      readonly job: JobView;
      readonly changes: readonly SettingChange[];
      readonly findings: readonly VmFindings[];
    }
  | { readonly type: 'blocked'; readonly findings: readonly VmFindings[] };

/** What creating a job would make; nothing was made. */
export type JobPreview = {
  readonly job: JobView;
  readonly findings: readonly VmFindings[];
  readonly isBlocked: boolean;
  readonly replicas: readonly {
    readonly name: string;
    readonly sourceVmName: string;
    /** Of a replica that is there, and which the job takes over; null: it is new. */
    readonly pointCount: number | null;
  }[];
};

export type JobView = {
  readonly job: Job;
  readonly sourceHostName: string;
  readonly targetHostName: string;
  /** The job's replicas that exist, by source VM. */
  readonly replicas: readonly Pick<Replica, 'id' | 'sourceVmId'>[];
  readonly nextRunAt: Instant | null;
};
