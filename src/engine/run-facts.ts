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
import type { ControllerPorts } from './control/controller-ports.ts';

const RUNS_REMEMBERED = 10;

/** The newest points as they were last seen: points are large, and the same ones for minutes. */
export type NewestPoints = Map<
  ReplicaId,
  { readonly pointId: Replica['newestPointId']; readonly takenAt: Instant | null }
>;

export type Plan = { readonly facts: ScheduleFacts; readonly planned: Schedule };

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
