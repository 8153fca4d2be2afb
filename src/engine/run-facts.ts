/** What the scheduler has to know of a replica to plan its next run, read as cheaply as once a second demands. */
import type { ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Job } from '../domain/job/job.ts';
import { hasEnded, type Json, type OperationRecord } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import {
  type Schedule,
  type ScheduleFacts,
  schedule,
  withoutFuture,
} from '../domain/replication/schedule.ts';
import type { Versioned } from '../ports/catalog.ts';
import type { ControllerPorts } from './control/controller-ports.ts';

const RUNS_REMEMBERED = 10;

/** The newest points as they were last seen: points are large, and the same ones for minutes. */
export type NewestPoints = Map<
  ReplicaId,
  { readonly pointId: Replica['newestPointId']; readonly takenAt: Instant | null }
>;

export type Plan = { readonly facts: ScheduleFacts; readonly planned: Schedule };

/** What the scheduler remembers from one look to the next, so that a thousand replicas at rest cost it next to nothing. */
export type Remembered = {
  readonly newest: NewestPoints;
  /** Of replicas with nothing under way. They change with the record, with the job, and by what comes to be under way. */
  readonly plans: Map<ReplicaId, PlanAsOf>;
  /** Known to have no operation suspended, and no condition that says so. */
  readonly unsuspended: Set<ReplicaId>;
};

type PlanAsOf = {
  readonly plan: Plan;
  readonly replicaVersion: number;
  readonly jobVersion: number;
  /** By the monotonic clock, and by the wall's. */
  readonly madeAtMs: number;
  readonly madeAt: Instant;
};

export function rememberNothing(): Remembered {
  return { newest: new Map(), plans: new Map(), unsuspended: new Set() };
}

/** What is remembered is never of more replicas than there are. */
export function forgetGone(remembered: Remembered, all: readonly Versioned<Replica>[]): void {
  const { newest, plans, unsuspended } = remembered;
  if (Math.max(newest.size, plans.size, unsuspended.size) <= all.length) return;
  const ids = new Set(all.map(({ value }) => value.id));
  for (const kept of [newest, plans, unsuspended]) {
    for (const id of kept.keys()) if (!ids.has(id)) kept.delete(id);
  }
}

/** A run that somebody began and that failed between two looks would go unnoticed. */
const PLAN_KEPT_MS = 15_000;
/** The wall clock was set: instants of the plan mean something else now. */
const CLOCK_SET_MS = 500;

/** As `planRun`, for a replica that is seen to have nothing under way. */
export async function planOfIdle(
  ports: ControllerPorts,
  { value: job, version: jobVersion }: Versioned<Job>,
  { value: replica, version: replicaVersion }: Versioned<Replica>,
  { newest, plans }: Remembered,
): Promise<Plan> {
  const { clock } = ports;
  const known = plans.get(replica.id);
  if (known !== undefined && isCurrent(known)) return known.plan;
  const plan = await planRun(ports, job, replica, newest);
  const made = { madeAtMs: clock.monotonicMs(), madeAt: clock.now() };
  plans.set(replica.id, { plan, replicaVersion, jobVersion, ...made });
  return plan;

  function isCurrent(asOf: PlanAsOf): boolean {
    const age = clock.monotonicMs() - asOf.madeAtMs;
    const isOfThese = asOf.replicaVersion === replicaVersion && asOf.jobVersion === jobVersion;
    const isSet = Math.abs(clock.now() - asOf.madeAt - age) > CLOCK_SET_MS;
    return isOfThese && age < PLAN_KEPT_MS && !isSet;
  }
}

export async function planRun(
  ports: ControllerPorts,
  job: Job,
  replica: Replica,
  newest: NewestPoints = new Map(),
): Promise<Plan> {
  const recent = await ports.durable.operations({
    subject: replica.id,
    kind: 'replicate',
    limit: RUNS_REMEMBERED,
  });
  const running = recent.find((operation) => !hasEnded(operation.state));
  const takenAt = await newestTakenAt(ports, replica, newest);
  const recorded: ScheduleFacts = {
    newestTakenAt: takenAt === null ? null : notBeforeItsRun(takenAt, recent, replica),
    protectedSince: replica.createdAt,
    rpoSeconds: job.rpoSeconds,
    windows: job.windows,
    runs: recent.flatMap(pastRun),
    runningSince: running === undefined ? null : (running.startedAt ?? running.createdAt),
  };
  const facts = withoutFuture(recorded, ports.clock.now());
  return { facts, planned: schedule(facts) };
}

/** By the source's clock; but no point was taken after it was sealed, whatever that clock said. */
async function newestTakenAt(
  { catalog }: ControllerPorts,
  { id, newestPointId }: Replica,
  newest: NewestPoints,
): Promise<Instant | null> {
  const known = newest.get(id);
  if (known !== undefined && known.pointId === newestPointId) return known.takenAt;
  const point = (await catalog.points(id)).at(-1);
  const isLate = point !== undefined && point.takenAt > point.sealedAt;
  const takenAt = (isLate ? point.sealedAt : point?.takenAt) ?? null;
  newest.set(id, { pointId: newestPointId, takenAt });
  return takenAt;
}

/** A source whose clock is behind must not be run again and again: no point was taken before its run began by our clock. */
function notBeforeItsRun(
  takenAt: Instant,
  recent: readonly OperationRecord[],
  { newestPointId }: Replica,
): Instant {
  const itsRun = recent.find(({ result }) => pointIdIn(result) === newestPointId);
  const startedAt = itsRun?.startedAt ?? null;
  return startedAt === null || startedAt < takenAt ? takenAt : startedAt;
}

function pointIdIn(result: Json): Json {
  return result !== null && typeof result === 'object' && 'pointId' in result
    ? (result.pointId ?? null)
    : null;
}

/**
 * A run that was cancelled says nothing about how long runs take; but whoever cancelled it did not mean
 * that it begins again at once, so it delays the next one as a failure does.
 */
function pastRun(operation: OperationRecord): ScheduleFacts['runs'] {
  const { createdAt, endedAt, state } = operation;
  if (endedAt === null) return [];
  const startedAt = operation.startedAt ?? createdAt;
  return [{ startedAt, endedAt, succeeded: state === 'succeeded' }];
}
