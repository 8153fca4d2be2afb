/**
 * A controller in memory: answers one of everything, remembers what it was asked, and has operations
 * that the test moves by hand. Any verb can be made to fail.
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { OperationId } from '../../domain/ids.ts';
import type {
  OperationEvent,
  OperationProgress,
  OperationRecord,
} from '../../domain/operation/operation.ts';
import type { Controller, ReplicaView } from '../../ports/controller.ts';
import type { OperationListener } from '../../ports/durable.ts';
import type { JobView } from '../../ports/job-orders.ts';
import {
  ARCHIVE_VIEW,
  BRANCH_WRITES,
  CONDITION,
  GUARD_VIEW,
  HOST,
  HOST_DESCRIPTION,
  JOB,
  NOON,
  OPERATION,
  POINT,
  REBUILT,
  REPLICA,
  SETTING_CHANGE,
  SILENT_HOST,
  VM_SUMMARY,
} from './sample-values.ts';

export type FakeController = {
  readonly controller: Controller;
  /** Every call but `subscribe` and `history`: the verb and its arguments without the signal. */
  readonly calls: readonly (readonly [string, ...unknown[]])[];
  /** The next call of the verb throws this. */
  failNext(verb: keyof Controller, error: unknown): void;
  /** Verbs answer this instead of what they answer by themselves. */
  readonly answers: { [Verb in keyof Controller]?: Awaited<ReturnType<Controller[Verb]>> };
  put(operation: OperationRecord): void;
  /** Appends to the history and tells the listeners, with the operation in the state it has. */
  emit(event: OperationEvent): void;
  progress(progress: OperationProgress): void;
  readonly listenerCount: () => number;
  /** Resolves when the next listener subscribes. */
  subscribed(): Promise<void>;
};

const JOB_VIEW: JobView = {
  job: JOB,
  sourceHostName: 'production',
  targetHostName: 'recovery',
  replicas: [REPLICA],
  nextRunAt: NOON,
};

export const REPLICA_VIEW: ReplicaView = {
  replica: REPLICA,
  jobName: JOB.name,
  sourceHostName: 'production',
  targetHostName: 'recovery',
  homeHostName: null,
  newestPointTakenAt: NOON,
  pointCount: 1,
  conditions: [CONDITION],
  openOperation: OPERATION,
  openTests: [],
  lastTest: null,
};

const PREVIEW = {
  replicaId: REPLICA.id,
  replicaName: REPLICA.name,
  point: POINT,
  pointAgeSeconds: 61,
  isNewestPoint: true,
  archiveId: null,
  sourcePower: 'running',
  lostSeconds: 61,
  lossBecause: 'the source runs',
  expectedRunningMs: 800,
  expectedAnsweringMs: null,
  measuredFailovers: 2,
  fenceConsequence: 'the source is left alone',
  willConnectNics: false,
  connectionBecause: 'the source runs',
  refusedBecause: null,
  warnings: ['two machines with one identity'],
} as const;

const FAILBACK_PREVIEW = {
  replicaId: REPLICA.id,
  replicaName: REPLICA.name,
  home: { hostId: HOST.id, vmId: null, name: 'web-01', kind: 'new' },
  homeHostName: 'production',
  homePower: null,
  hasSavedState: false,
  branchBytes: 65_536,
  expectedCopyMs: 1500,
  expectedDowntimeMs: null,
  measuredMoves: 0,
  changes: [{ type: 'cpus', from: 1, to: 2 }],
  consequence: 'VM web-01 is made at the switchover',
  refusedBecause: null,
} as const;

export function createFakeController(): FakeController {
  const calls: [string, ...unknown[]][] = [];
  const failures = new Map<string, unknown>();
  const answers: FakeController['answers'] = {};
  const operations = new Map<string, OperationRecord>([[OPERATION.id, OPERATION]]);
  const histories = new Map<OperationId, OperationEvent[]>();
  const listeners = new Set<OperationListener>();
  let awaited = Promise.withResolvers<void>();

  const find = (reference: string): OperationRecord => {
    const found = operations.get(reference);
    if (found === undefined)
      throw new UnderstudyError('operation-missing', { operation: reference });
    return found;
  };
  const defaults: Omit<Controller, 'subscribe'> = {
    overview: async () => ({
      hostCount: 1,
      silentHosts: [SILENT_HOST],
      jobCount: 1,
      replicas: [REPLICA_VIEW],
      openOperations: [OPERATION],
    }),
    addHost: async () => ({ host: HOST, description: HOST_DESCRIPTION, unreachableBecause: null }),
    hosts: async () => [HOST],
    host: async () => ({ host: HOST, description: null, unreachableBecause: 'it is off' }),
    removeHost: async () => HOST,
    guard: async () => GUARD_VIEW,
    installGuard: async () => GUARD_VIEW,
    removeGuard: async () => HOST,
    liftGuard: async () => ({ ...GUARD_VIEW, held: [] }),
    vms: async () => [VM_SUMMARY],
    createJob: async () => ({ type: 'created', job: JOB_VIEW, findings: [] }),
    previewJob: async () => ({
      job: { ...JOB_VIEW, replicas: [] },
      findings: [],
      isBlocked: false,
      replicas: [{ name: 'web-01-replica', sourceVmName: 'web-01', pointCount: null }],
    }),
    changeJob: async () => ({
      type: 'changed',
      operationId: OPERATION.id,
      job: JOB_VIEW,
      changes: [SETTING_CHANGE],
      findings: [],
    }),
    previewJobChange: async () => ({
      job: JOB_VIEW,
      changes: [SETTING_CHANGE],
      findings: [],
      isBlocked: false,
    }),
    jobs: async () => [JOB_VIEW],
    job: async () => JOB_VIEW,
    runJob: async () => [find(OPERATION.id)],
    setJobPaused: async (_job, isPaused) => ({ ...JOB_VIEW, job: { ...JOB, isPaused } }),
    deleteJob: async () => JOB,
    replicas: async () => [REPLICA_VIEW],
    replica: async () => REPLICA_VIEW,
    seedReplica: async () => REPLICA_VIEW,
    rescan: async () => find(OPERATION.id),
    verify: async () => find(OPERATION.id),
    removeReplica: async () => find(OPERATION.id),
    deleteReplica: async () => find(OPERATION.id),
    points: async () => [POINT],
    point: async () => POINT,
    setPointPinned: async (_replica, _point, isPinned) => ({ ...POINT, isPinned }),
    previewFailover: async () => PREVIEW,
    failover: async () => find(OPERATION.id),
    plannedFailover: async () => find(OPERATION.id),
    undoFailover: async () => find(OPERATION.id),
    previewFailback: async () => FAILBACK_PREVIEW,
    failback: async () => find(OPERATION.id),
    previewSwitchOver: async () => FAILBACK_PREVIEW,
    switchOver: async () => find(OPERATION.id),
    cancelFailback: async () => find(OPERATION.id),
    commitFailback: async () => find(OPERATION.id),
    undoFailback: async () => find(OPERATION.id),
    permanentFailover: async () => find(OPERATION.id),
    previewHop: async () => PREVIEW,
    hop: async () => find(OPERATION.id),
    archives: async () => [ARCHIVE_VIEW],
    archiveDiff: async () => ({ archive: ARCHIVE_VIEW.archive, disks: [BRANCH_WRITES] }),
    keepArchive: async () => find(OPERATION.id),
    deleteArchive: async () => find(OPERATION.id),
    exportArchive: async () => find(OPERATION.id),
    exportPoint: async () => find(OPERATION.id),
    rebuild: async (_order) => ({ folders: [REBUILT], unreachable: [], isDryRun: false }),
    fenceSource: async () => find(OPERATION.id),
    unfenceSource: async () => find(OPERATION.id),
    testFailover: async () => [find(OPERATION.id)],
    bisect: async () => find(OPERATION.id),
    endTest: async () => find(OPERATION.id),
    testEvidence: async () => ({ type: 'text/plain', base64: 'aGVsbG8=' }),
    operations: async () => [...operations.values()],
    operation: async (reference) => find(reference),
    waits: async () => new Map(),
    history: async (id, after) =>
      (histories.get(id) ?? []).filter((event) => event.sequence > after),
    retryOperation: async (reference) => find(reference),
    answerOperation: async (reference) => find(reference),
    cancelOperation: async (reference) => find(reference),
  };
  return {
    calls,
    answers,
    controller: {
      ...watched(defaults, { calls, failures, answers }),
      subscribe: (listener) => {
        listeners.add(listener);
        awaited.resolve();
        awaited = Promise.withResolvers();
        return { [Symbol.dispose]: () => void listeners.delete(listener) };
      },
    },
    failNext: (verb, error) => void failures.set(verb, error),
    put: (operation) => void operations.set(operation.id, operation),
    emit: (event) => {
      const history = histories.get(event.operationId) ?? [];
      histories.set(event.operationId, [...history, event]);
      for (const listener of listeners) listener.onEvent?.(event, find(event.operationId));
    },
    progress: (progress) => {
      for (const listener of listeners) listener.onProgress?.(progress);
    },
    listenerCount: () => listeners.size,
    subscribed: () => awaited.promise,
  };
}

type Watch = {
  readonly calls: [string, ...unknown[]][];
  readonly failures: Map<string, unknown>;
  readonly answers: FakeController['answers'];
};

/** The same verbs, each recorded, made to fail or to answer something else as the test wants. */
function watched(
  defaults: Omit<Controller, 'subscribe'>,
  { calls, failures, answers }: Watch,
): Omit<Controller, 'subscribe'> {
  return new Proxy(defaults, {
    ownKeys: (target) => Reflect.ownKeys(target),
    get: (target, verb: keyof typeof defaults) => {
      const original = target[verb] as (...given: unknown[]) => Promise<unknown>;
      return async (...given: unknown[]) => {
        calls.push([verb, ...given.map(withoutSignal)]);
        if (failures.has(verb)) {
          const error = failures.get(verb);
          failures.delete(verb);
          throw error;
        }
        return answers[verb] ?? original(...given);
      };
    },
  });
}

function withoutSignal(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('signal' in value)) return value;
  const { signal: _signal, ...rest } = value;
  return rest;
}
