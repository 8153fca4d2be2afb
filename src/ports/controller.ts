import type { Host, HostDescription, HostKind } from '../domain/host/host.ts';
import type { BranchId, HostId, OperationId, ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Job } from '../domain/job/job.ts';
import type {
  OperationEvent,
  OperationKind,
  OperationRecord,
} from '../domain/operation/operation.ts';
import type { Condition, Replica, SourceFence } from '../domain/replica/replica.ts';
import type { Consistency, RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { PointTest } from '../domain/test-failover/point-test.ts';
import type { Probe } from '../domain/test-failover/probe.ts';
import type { PowerState, VmSummary } from '../domain/vm/vm.ts';
import type { CallOptions } from './call.ts';
import type { OperationListener } from './durable.ts';
import type { GuardControl } from './guard-control.ts';
import type {
  ChangeJob,
  CreateJob,
  JobChanged,
  JobChangePreview,
  JobCreation,
  JobPreview,
  JobView,
} from './job-orders.ts';
import type {
  ArchiveDiff,
  ArchiveView,
  FailbackOrder,
  FailbackPreview,
  OperationAnswer,
  PlannedFailoverOrder,
  SeedOrder,
  SwitchOverOrder,
  UndoFailbackOrder,
  UndoFailoverOrder,
} from './orders.ts';
import type { RebuildOrder, RebuildReport } from './rebuild-report.ts';
import type { SilentHost } from './silent-host.ts';

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
  readonly testSlots: number;
  /** Null: the default. */
  readonly storageReserveBytes: number | null;
};

export type HostView = {
  readonly host: Host;
  /** Null when the host does not answer. */
  readonly description: HostDescription | null;
  readonly unreachableBecause: string | null;
};

export type ReplicaView = {
  readonly replica: Replica;
  readonly jobName: string | null;
  readonly sourceHostName: string;
  readonly targetHostName: string;
  /** Where a failback goes; null when there is none. */
  readonly homeHostName: string | null;
  readonly newestPointTakenAt: Instant | null;
  readonly pointCount: number;
  readonly conditions: readonly Condition[];
  /** The unended operation that holds the replica. */
  readonly openOperation: OperationRecord | null;
  /** Tests and bisects that have not ended: they go on beside it. */
  readonly openTests: readonly OperationRecord[];
  readonly lastTest: LastTest | null;
};

/** `at`: the newest point taken at or before the instant. `reference`: an id or its unique beginning. */
export type PointSelector =
  | { readonly type: 'latest' }
  | { readonly type: 'at'; readonly instant: Instant }
  | { readonly type: 'reference'; readonly reference: Reference };

export type TestOrder = {
  readonly points: readonly PointSelector[];
  readonly probes: readonly Probe[];
  /** How long the VMs run on after the probes, for a look around. */
  readonly holdSeconds: number;
};

export type TestView = PointTest;

/** What the history says of the test failovers of a replica. */
export type LastTest = {
  readonly operationId: OperationRecord['id'];
  readonly at: Instant;
  readonly pointId: RestorePoint['id'];
  readonly passed: boolean;
  readonly summary: string;
  /** Null: none that asked anything has passed. */
  readonly lastPassedAt: Instant | null;
};

export type FailoverOrder = {
  readonly point: PointSelector;
  /** An archived branch to go on from, instead of a point. */
  readonly archive?: Reference | null;
  readonly reason: string;
  readonly fence: SourceFence;
  readonly acceptDuplicate: boolean;
  /** Although the restore point was changed by somebody, when there is no better one. */
  readonly acceptDrift?: boolean;
};

/** What is done to a source after the failover. */
export type FenceOrder = Exclude<SourceFence, 'none'>;

/** Meanings as in the contract's `failoverPreviewSchema`. */
export type FailoverPreview = {
  readonly replicaId: ReplicaId;
  readonly replicaName: string;
  readonly point: Pick<RestorePoint, 'id' | 'takenAt'> & { readonly consistency: Consistency };
  readonly pointAgeSeconds: number;
  readonly isNewestPoint: boolean;
  /** The archived branch over that point that it would go on from; null: from the point itself. */
  readonly archiveId: BranchId | null;
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

export type OperationQuery = {
  /** A reference of a replica, job or host. */
  readonly subject: Reference | null;
  readonly kind: OperationKind | null;
  readonly open: boolean;
  readonly limit: number;
};

export type Overview = {
  readonly hostCount: number;
  /** Hosts that do not answer, those longest silent first. */
  readonly silentHosts: readonly SilentHost[];
  readonly jobCount: number;
  readonly replicas: readonly ReplicaView[];
  /** Unended operations, newest first. */
  readonly openOperations: readonly OperationRecord[];
};

export type Wait = {
  /** To follow `Waits for`; without a full stop. */
  readonly message: string;
  /** How many may have it at once. */
  readonly limit: number;
  /** How many have it, or come first; at most the limit. */
  readonly taken: number;
  /** Whose limit it is, or where the VM is that one operation at a time may have; null: the server's own limit. */
  readonly hostId: HostId | null;
  /** Empty where it is the server's own limit. */
  readonly heldBy: readonly OperationRecord[];
};

export interface Controller extends GuardControl {
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
  /** What `createJob` would make or refuse. */
  previewJob(request: CreateJob, options: CallOptions): Promise<JobPreview>;
  /** Throws `name-taken`, `vm-not-in-job`, and `operation-in-progress` while it is changed already. */
  changeJob(job: Reference, change: ChangeJob, options: CommandOptions): Promise<JobChanged>;
  previewJobChange(
    job: Reference,
    change: ChangeJob,
    options: CallOptions,
  ): Promise<JobChangePreview>;
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
  /** What its first run is compared with; null: nothing. Throws `seed-unfit`, `image-in-use`, `invalid-request`. */
  seedReplica(
    replica: Reference,
    order: SeedOrder | null,
    options: CommandOptions,
  ): Promise<ReplicaView>;
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
    order: UndoFailoverOrder,
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
  /** What the switchover of a failback that is ready for it would mean now; asks both hosts. */
  previewSwitchOver(replica: Reference, options: CallOptions): Promise<FailbackPreview>;
  /** Production takes over. */
  switchOver(
    replica: Reference,
    order: SwitchOverOrder,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  cancelFailback(replica: Reference, options: CommandOptions): Promise<OperationRecord>;
  commitFailback(replica: Reference, options: CommandOptions): Promise<OperationRecord>;
  undoFailback(
    replica: Reference,
    order: UndoFailbackOrder,
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
  /** Begins one `test-failover` operation per point; its result is a `PointTest`. */
  testFailover(
    replica: Reference,
    order: TestOrder,
    options: CommandOptions,
  ): Promise<readonly OperationRecord[]>;
  /** The result is `{ newestGood, firstBad, isPinned, rounds, tests: PointTest[] }`. */
  bisect(
    replica: Reference,
    probes: readonly Probe[],
    options: CommandOptions,
  ): Promise<OperationRecord>;
  /** Ends the hold of a test. Throws `operation-missing` also for an operation that is no test. */
  endTest(operation: Reference, options: CommandOptions): Promise<OperationRecord>;
  /** A file that a test or bisect has kept. Throws `evidence-missing`. */
  testEvidence(
    operation: Reference,
    file: { readonly testId: string; readonly name: string },
    options: CallOptions,
  ): Promise<{ readonly type: string; readonly base64: string }>;

  /**
   * Puts into the catalogue what it lacks of the replicas that lie on the hosts, all in one transaction; jobs come back
   * paused. Deletes nothing, there or here. Repeated, it finds them known.
   */
  rebuild(order: RebuildOrder, options: CommandOptions): Promise<RebuildReport>;
  /** Cuts the source of a failover off, with evidence; its undo lifts that. */
  fenceSource(
    replica: Reference,
    fence: FenceOrder,
    options: CommandOptions,
  ): Promise<OperationRecord>;
  /** Lifts it now. Throws `duplicate-refused` while the replica is connected, unless that is accepted. */
  unfenceSource(
    replica: Reference,
    acceptsDuplicate: boolean,
    options: CommandOptions,
  ): Promise<OperationRecord>;

  /** Newest first. */
  operations(query: OperationQuery, options: CallOptions): Promise<readonly OperationRecord[]>;
  operation(reference: Reference, options: CallOptions): Promise<OperationRecord>;
  /** What each of these that is queued waits for at this moment; the others are left out. */
  waits(
    operations: readonly OperationRecord[],
    options: CallOptions,
  ): Promise<ReadonlyMap<OperationId, readonly Wait[]>>;
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
