/** The durable truth about one protected VM and its stand-in. */
import type { FailbackRecord } from '../failover/failback.ts';
import type { BranchId, HostId, JobId, OperationId, PointId, ReplicaId, VmId } from '../ids.ts';
import type { Instant } from '../instant.ts';
import type { Seed } from '../replication/seed.ts';
import type { Phase } from './phase.ts';

export type SourceFence = 'none' | 'nics' | 'shutdown' | 'power-off';

/** What is true while the replica stands in. */
export type FailoverRecord = {
  readonly pointId: PointId;
  readonly branchId: BranchId;
  /** The archived branch that it lies over; null: its restore point itself. */
  readonly overBranchId: BranchId | null;
  readonly operationId: OperationId;
  readonly reason: string;
  /** What was done to the source, which an undo lifts; `none` also where there was nothing to do. */
  readonly fence: SourceFence;
  /**
   * MACs of the NICs that a fence disconnected, which lifting it connects again; null where an older version did not
   * remember them: all.
   */
  readonly fencedNics: readonly string[] | null;
  /** Somebody said beforehand that source and replica may both be connected. */
  readonly isDuplicateAccepted: boolean;
  /** Somebody expressly let the source start again, so that its host does not hold it back. */
  readonly isSourceReleased: boolean;
  readonly startedAt: Instant;
  /** Whether the replica's NICs were connected, and the sentence why or why not. */
  readonly isConnected: boolean;
  readonly connectionBecause: string;
  /** Milliseconds from request to the hypervisor calling it running; null until measured. */
  readonly runningAfterMs: number | null;
  /** Milliseconds from request to the guest answering; null until (or unless) it did. */
  readonly answeringAfterMs: number | null;
  /** What answered: `agent`, or an address as it is written (address-probe.ts); null: nothing did, or an older version did not say. */
  readonly answeredBy: string | null;
};

export type Replica = {
  readonly id: ReplicaId;
  /** The job that made it; null when that job was deleted. */
  readonly jobId: JobId | null;
  readonly sourceHostId: HostId;
  readonly sourceVmId: VmId;
  readonly sourceVmName: string;
  readonly targetHostId: HostId;
  /** The name of the replica VM at the target. */
  readonly name: string;
  /** Its identity there; null until it is defined. */
  readonly targetVmId: VmId | null;
  readonly phase: Phase;
  /** Grows at every change of who may run or write; hosts refuse an older one. */
  readonly epoch: number;
  readonly newestPointId: PointId | null;
  /** What its first run is compared with; null: nothing, or there was a first run. */
  readonly seed: Seed | null;
  /** Present exactly in Failover, ReadyToSwitch, Failback and Permanent. */
  readonly failover: FailoverRecord | null;
  /** Present exactly in ReadyToSwitch and Failback. */
  readonly failback: FailbackRecord | null;
  /** The VM that was protected before a failback went to another one; null: there was none. It may come back yet. */
  readonly formerSource: FormerSource | null;
  /**
   * MACs of NICs of the source that a fence disconnected and an undo left so, as asked or because it could not; null: all,
   * as of `FailoverRecord`. The next failover takes them over, so that whatever leads back from it connects them.
   */
  readonly leftFencedNics: readonly string[] | null;
  /** Branches of undone failovers, still readable until `keepUntil`. */
  readonly archives: readonly ArchivedBranch[];
  readonly createdAt: Instant;
};

export type FormerSource = {
  readonly hostId: HostId;
  readonly vmId: VmId;
  readonly name: string;
  readonly leftAt: Instant;
};

export type ArchivedBranch = {
  readonly branchId: BranchId;
  readonly pointId: PointId;
  /** The archive that it lies over in turn, which is kept at least as long; null: its restore point itself. */
  readonly overBranchId: BranchId | null;
  readonly archivedAt: Instant;
  readonly keepUntil: Instant;
};

export type ConditionName =
  | 'drifted'
  /** The replica VM could not be defined as its source is now. */
  | 'definition-outdated'
  /** As the source is defined now, the target could not run the replica. */
  | 'target-unfit'
  | 'cleanup-pending'
  | 'unfenced-source'
  | 'rpo-breached'
  | 'unverified'
  | 'operation-suspended'
  | 'source-returned'
  /** The VM that was protected before a failback went to another one serves, or was never seen at rest. */
  | 'former-source-unfenced'
  /** Off, or cut off: a failed operation found its place taken by another replica of the VM. */
  | 'source-left-fenced'
  /** Nobody may have been there to see it. */
  | 'switchover-failed'
  /** Production took over while the target could not be told: the replica could be started by hand. */
  | 'replica-startable'
  /** It ran after production took over: the state that production has is in no branch any more. */
  | 'replica-changed'
  /** A scheduled test failover of the newest point failed. */
  | 'test-failed';

/** Something worrying about a replica; beside the phase, never part of it. */
export type Condition = {
  readonly name: ConditionName;
  /** What is wrong and what to do, for people. */
  readonly message: string;
  readonly since: Instant;
};
