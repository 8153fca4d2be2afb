/**
 * What the API needs of the engine: one method per verb, with parsed requests and domain values, so
 * that routes only translate. The engine implements it; tests use one in memory.
 *
 * A reference is an id, a unique name, or the unique beginning of an id (of a VM: its name or UUID).
 * Every method that takes one throws the `…-missing` code of the noun, or `ambiguous-reference` with the
 * candidates. Methods that contact a host may throw `host-unreachable`.
 */
import type { FailbackHome, SwitchoverMode } from '../domain/failover/failback.ts';
import type { Host, HostDescription, HostKind } from '../domain/host/host.ts';
import type { BranchId, ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Job, QuiescePolicy, ScratchPolicy } from '../domain/job/job.ts';
import type {
  OperationEvent,
  OperationKind,
  OperationRecord,
} from '../domain/operation/operation.ts';
import type { Phase } from '../domain/replica/phase.ts';
import type { ArchivedBranch, Condition, Replica, SourceFence } from '../domain/replica/replica.ts';
import type { Consistency, RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { RetentionPolicy } from '../domain/restore-point/retention.ts';
import type { ConfigurationChange } from '../domain/vm/configuration-change.ts';
import type { PreflightFinding } from '../domain/vm/preflight.ts';
import type { PowerState, VmSummary } from '../domain/vm/vm.ts';
import type { CallOptions } from './call.ts';
import type { OperationListener } from './durable.ts';
import type { BranchWrites } from './replica-store.ts';

export type Reference = string;

/**
 * `seed` is the same for every repetition of one request (24 lower-case hex digits, from the client's
 * idempotency key and the whole request) and null when the client gave no key. Ids that the command
 * makes are derived from it (`op-SEED`, `job-SEED`), so that a repetition finds them and answers the same.
 */
export type CommandOptions = CallOptions & { readonly seed: string | null };

export type AddHost = {
  readonly name: string;
  readonly kind: HostKind;
  readonly address: string;
  readonly storageFolder: string;
  /** Null: the engine chooses a folder. */
  readonly scratchFolder: string | null;
  readonly transferSlots: number;
};

export type HostView = {
  readonly host: Host;
  /** Null when the host does not answer. */
  readonly description: HostDescription | null;
  readonly unreachableBecause: string | null;
};

export type CreateJob = {
  readonly name: string;
  readonly sourceHost: Reference;
  readonly targetHost: Reference;
  readonly vms: readonly Reference[];
  readonly rpoSeconds: number;
  readonly isScheduled: boolean;
  readonly retention: RetentionPolicy;
  readonly quiesce: QuiescePolicy;
  readonly replicaSuffix: string;
  readonly networkMap: Readonly<Record<string, string | null>>;
  readonly bytesPerSecondMax: number | null;
  readonly archiveSeconds: number;
  readonly scratch: ScratchPolicy;
};

export type VmFindings = { readonly vm: VmSummary; readonly findings: readonly PreflightFinding[] };

/** `blocked`: at least one finding blocks; nothing was made. */
export type JobCreation =
  | { readonly type: 'created'; readonly job: JobView; readonly findings: readonly VmFindings[] }
  | { readonly type: 'blocked'; readonly findings: readonly VmFindings[] };

export type JobView = {
  readonly job: Job;
  readonly sourceHostName: string;
  readonly targetHostName: string;
  /** The job's replicas that exist, by source VM. */
  readonly replicas: readonly Pick<Replica, 'id' | 'sourceVmId'>[];
  readonly nextRunAt: Instant | null;
};

export type ReplicaView = {
  readonly replica: Replica;
  readonly jobName: string | null;
  readonly sourceHostName: string;
  readonly targetHostName: string;
  readonly newestPointTakenAt: Instant | null;
  readonly pointCount: number;
  readonly conditions: readonly Condition[];
  /** The unended operation that holds the replica. */
  readonly openOperation: OperationRecord | null;
};

/** `at`: the newest point taken at or before the instant. `reference`: an id or its unique beginning. */
export type PointSelector =
  | { readonly type: 'latest' }
  | { readonly type: 'at'; readonly instant: Instant }
  | { readonly type: 'reference'; readonly reference: Reference };

export type FailoverOrder = {
  readonly point: PointSelector;
  /** An archived branch to go on from, instead of a point. */
  readonly archive?: Reference | null;
  readonly reason: string;
  readonly fence: SourceFence;
  readonly acceptDuplicate: boolean;
};

/** Meanings as in the contract's `failoverPreviewSchema`. */
export type PlannedFailoverOrder = {
  readonly reason: string;
  /** How often the running VM is replicated at the most before it is stopped. */
  readonly passesMax: number;
  /** The VM is stopped when the last delta is expected to take at most this. */
  readonly lastDeltaMsMax: number;
  /** How long the guest may take to shut down. */
  readonly shutdownDeadlineMs: number;
  /** What happens when it takes longer; `ask`: the operation waits for `answerOperation`. */
  readonly onMissedDeadline: 'ask' | 'power-off' | 'give-up';
};

/** How a VM that must give way is shut down. */
export type ShutdownOrder = Pick<PlannedFailoverOrder, 'shutdownDeadlineMs' | 'onMissedDeadline'>;

/** The VM that was failed over; a restored copy of it; or a VM to be made. `host` null: the source host. */
export type FailbackDestination =
  | { readonly type: 'original' }
  | { readonly type: 'copy'; readonly host: Reference | null; readonly vm: Reference }
  | { readonly type: 'new'; readonly host: Reference | null; readonly name: string | null };

export type FailbackOrder = {
  readonly to: FailbackDestination;
  readonly switchover: SwitchoverMode;
  /** Throw away a saved memory image of production, which could not be resumed over what comes. */
  readonly discardSavedState: boolean;
  /** Carry what was changed on the replica's configuration over to production. */
  readonly applyChanges: boolean;
};

/** What a failback would mean now. Nothing was changed to find out. */
export type FailbackPreview = {
  readonly replicaId: ReplicaId;
  readonly replicaName: string;
  readonly home: FailbackHome;
  /** Null for a VM to be made. */
  readonly homePower: PowerState | null;
  readonly hasSavedState: boolean;
  /** Written by the replica so far, in full clusters: about what is to be moved at least. */
  readonly branchBytes: number | null;
  readonly changes: readonly ConfigurationChange[];
  readonly consequence: string;
  readonly refusedBecause: string | null;
};

/** What an operation that asked can be told. */
export type OperationAnswer = 'wait' | 'power-off' | 'give-up';

export type FailoverPreview = {
  readonly replicaId: ReplicaId;
  readonly replicaName: string;
  readonly point: Pick<RestorePoint, 'id' | 'takenAt'> & { readonly consistency: Consistency };
  readonly pointAgeSeconds: number;
  readonly isNewestPoint: boolean;
  readonly sourcePower: PowerState;
  readonly lostSeconds: number | null;
  readonly lossBecause: string;
  readonly expectedRunningMs: number | null;
  readonly expectedAnsweringMs: number | null;
  readonly measuredFailovers: number;
  readonly fenceConsequence: string;
  readonly willConnectNics: boolean;
  readonly connectionBecause: string;
  readonly refusedBecause: string | null;
  readonly warnings: readonly string[];
};

/** An archived branch, with what can be told without asking its host and, where that answers, what it takes there. */
export type ArchiveView = {
  readonly archive: ArchivedBranch;
  /** The instant of its restore point; null when the point is gone and its host does not answer. */
  readonly pointTakenAt: Instant | null;
  readonly isPointThere: boolean;
  /** Null when its host does not answer, or no longer has it. */
  readonly bytes: number | null;
  readonly unknownBecause: string | null;
  /** The branch that lies over it, so that it cannot be deleted; null: none. */
  readonly neededBy: BranchId | null;
};

export type ArchiveDiff = {
  readonly archive: ArchivedBranch;
  readonly disks: readonly BranchWrites[];
};

export type RebuildOrder = {
  /** Only folders on these hosts; null: on every host. */
  readonly hosts: readonly Reference[] | null;
  /** Of replicas that do not say which source host they have, or name one that is not known. */
  readonly sourceHost: Reference | null;
  /** Make a damaged replica.json anew from the images; then every layer has to be read again before it is built on. */
  readonly repairs: boolean;
  /** Say what would be rebuilt; change nothing. */
  readonly isDryRun: boolean;
};

export type RebuiltFolder = {
  readonly replicaId: ReplicaId;
  readonly name: string;
  readonly targetHostName: string;
  /** `known`: in the catalogue already, and left as it is. */
  readonly outcome: 'rebuilt' | 'known' | 'skipped';
  readonly phase: Phase | null;
  readonly pointCount: number;
  readonly jobName: string | null;
  /** Why it was skipped; what was assumed; what a person may want to look at. */
  readonly notes: readonly string[];
};

export type RebuildReport = {
  readonly folders: readonly RebuiltFolder[];
  /** Hosts that did not answer: what is there is not rebuilt. */
  readonly unreachable: readonly { readonly hostName: string; readonly because: string }[];
  readonly isDryRun: boolean;
};

export type OperationQuery = {
  /** A reference of a replica, job or host. */
  readonly subject: Reference | null;
  readonly kind: OperationKind | null;
  readonly open: boolean;
  readonly limit: number;
};

export type Overview = {
  readonly hostCount: number;
  readonly jobCount: number;
  readonly replicas: readonly ReplicaView[];
  /** Unended operations, newest first. */
  readonly openOperations: readonly OperationRecord[];
};

export interface Controller {
  overview(options: CallOptions): Promise<Overview>;

  /** Asks the host once before it is recorded. Throws `name-taken`. */
  addHost(request: AddHost, options: CommandOptions): Promise<HostView>;
  hosts(options: CallOptions): Promise<readonly Host[]>;
  /** A host that does not answer is a view without description, not an error. */
  host(reference: Reference, options: CallOptions): Promise<HostView>;
  /** Throws `host-in-use`. Answers what was removed. */
  removeHost(reference: Reference, options: CommandOptions): Promise<Host>;
  vms(host: Reference, options: CallOptions): Promise<readonly VmSummary[]>;

  createJob(request: CreateJob, options: CommandOptions): Promise<JobCreation>;
  jobs(options: CallOptions): Promise<readonly JobView[]>;
  job(reference: Reference, options: CallOptions): Promise<JobView>;
  /** Begins one `replicate` operation per VM; `vms` null: all that are not excluded. */
  runJob(
    job: Reference,
    vms: readonly Reference[] | null,
    options: CommandOptions,
  ): Promise<readonly OperationRecord[]>;
  setJobPaused(job: Reference, isPaused: boolean, options: CommandOptions): Promise<JobView>;
  /** The replicas stay, without a job. Throws `operation-in-progress` while one of its VMs is replicated. */
  deleteJob(job: Reference, options: CommandOptions): Promise<Job>;

  replicas(options: CallOptions): Promise<readonly ReplicaView[]>;
  replica(reference: Reference, options: CallOptions): Promise<ReplicaView>;
  /** The operation's result is `{ findings: ReplicaFinding[], isRepaired: boolean }`; findings are those that were there. */
  rescan(replica: Reference, repair: boolean, options: CommandOptions): Promise<OperationRecord>;
  /** `point` null: every point. */
  verify(
    replica: Reference,
    point: PointSelector | null,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  removeReplica(replica: Reference, options: CommandOptions): Promise<OperationRecord>;
  deleteReplica(replica: Reference, options: CommandOptions): Promise<OperationRecord>;

  /** Oldest first. */
  points(replica: Reference, options: CallOptions): Promise<readonly RestorePoint[]>;
  point(replica: Reference, point: PointSelector, options: CallOptions): Promise<RestorePoint>;
  setPointPinned(
    replica: Reference,
    point: PointSelector,
    isPinned: boolean,
    options: CommandOptions,
  ): Promise<RestorePoint>;

  /** Changes nothing. A refusal that only the state of things causes is an answer (`refusedBecause`). */
  previewFailover(
    replica: Reference,
    order: FailoverOrder,
    options: CallOptions,
  ): Promise<FailoverPreview>;
  failover(
    replica: Reference,
    order: FailoverOrder,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  /** Without loss: replicates until the last delta is short, shuts the source down, moves that, fails over. */
  plannedFailover(
    replica: Reference,
    order: PlannedFailoverOrder,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  undoFailover(
    replica: Reference,
    force: boolean,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  previewFailback(
    replica: Reference,
    order: FailbackOrder,
    options: CallOptions,
  ): Promise<FailbackPreview>;
  /** Copies what differs to production while the replica serves on; then it is ready to switch. */
  failback(
    replica: Reference,
    order: FailbackOrder,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  /** Production takes over. */
  switchOver(
    replica: Reference,
    order: ShutdownOrder,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  cancelFailback(replica: Reference, options: CommandOptions): Promise<OperationRecord>;
  commitFailback(replica: Reference, options: CommandOptions): Promise<OperationRecord>;
  /** `force`: although production cannot be asked. */
  undoFailback(
    replica: Reference,
    force: boolean,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  permanentFailover(replica: Reference, options: CommandOptions): Promise<OperationRecord>;

  /** As `previewFailover`, for a replica that serves already. `order.fence` must be `none`. */
  previewHop(
    replica: Reference,
    order: FailoverOrder,
    options: CallOptions,
  ): Promise<FailoverPreview>;
  /** Moves the running replica to another point or archive; what it wrote is archived. */
  hop(replica: Reference, order: FailoverOrder, options: CommandOptions): Promise<OperationRecord>;

  /** Oldest first. */
  archives(replica: Reference, options: CallOptions): Promise<readonly ArchiveView[]>;
  /** What it holds over what it lies over. */
  archiveDiff(replica: Reference, archive: Reference, options: CallOptions): Promise<ArchiveDiff>;
  /** Throws `invalid-request` for an instant that has passed. */
  keepArchive(
    replica: Reference,
    archive: Reference,
    keepUntil: Instant,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  deleteArchive(
    replica: Reference,
    archive: Reference,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  /** The operation's result is `ExportedFiles`. */
  exportArchive(
    replica: Reference,
    archive: Reference,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  exportPoint(
    replica: Reference,
    point: PointSelector,
    options: CommandOptions,
  ): Promise<OperationRecord>;

  /**
   * Puts into the catalogue what it lacks of the replicas that lie on the hosts, all in one transaction; jobs come back
   * paused. Deletes nothing, there or here. Repeated, it finds them known.
   */
  rebuild(order: RebuildOrder, options: CommandOptions): Promise<RebuildReport>;

  /** Newest first. */
  operations(query: OperationQuery, options: CallOptions): Promise<readonly OperationRecord[]>;
  operation(reference: Reference, options: CallOptions): Promise<OperationRecord>;
  /** Events after `afterSequence` (0: all), in order. */
  history(
    operation: OperationRecord['id'],
    afterSequence: number,
    options: CallOptions,
  ): Promise<readonly OperationEvent[]>;
  retryOperation(reference: Reference, options: CommandOptions): Promise<OperationRecord>;
  /** Tells an operation that asked what to do. One that did not ask keeps the answer until it does. */
  answerOperation(
    reference: Reference,
    answer: OperationAnswer,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  cancelOperation(reference: Reference, options: CommandOptions): Promise<OperationRecord>;

  /** As `Durable.subscribe`: every event and progress from now on, in order. */
  subscribe(listener: OperationListener): Disposable;
}
