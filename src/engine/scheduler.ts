/**
 * Keeps every scheduled job within its RPO: starts runs when they are due, says so before a deadline is missed,
 * and sends the sweeper where something is left over. It decides from what is recorded, at its own pace;
 * nothing is lost when it is not running, a due run is only later.
 */
import { asUnderstudyError } from '../domain/error.ts';
import type { ReplicaId } from '../domain/ids.ts';
import { formatInstant, type Instant } from '../domain/instant.ts';
import { type Job, protectedVm } from '../domain/job/job.ts';
import type { OperationRecord } from '../domain/operation/operation.ts';
import { hasEnded } from '../domain/operation/operation.ts';
import type { Condition, Replica } from '../domain/replica/replica.ts';
import {
  isRpoAtRisk,
  type Schedule,
  type ScheduleFacts,
  schedule,
} from '../domain/replication/schedule.ts';
import type { CallOptions } from '../ports/call.ts';
import { accept } from './control/accept.ts';
import type { ControllerPorts } from './control/controller-ports.ts';
import { startReplicate } from './control/jobs.ts';
import { replicasToSweep } from './sweeper.ts';

const TICK_MS = 1_000;
const SWEEP_EVERY_TICKS = 15;
const RUNS_REMEMBERED = 10;

/** Runs until the signal is aborted. A tick that fails is told to `onError` and the next one tries again. */
export async function runScheduler(
  ports: ControllerPorts,
  { signal, onError }: CallOptions & { readonly onError: (error: unknown) => void },
): Promise<void> {
  for (let tick = 0; !signal.aborted; tick += 1) {
    try {
      await scheduleRuns(ports, { signal });
      if (tick % SWEEP_EVERY_TICKS === 0) await sweepAll(ports, { signal });
    } catch (error) {
      if (signal.aborted) return;
      onError(error);
    }
    await ports.clock.sleep(TICK_MS, { signal }).catch(() => undefined); // aborted: the loop ends by itself
  }
}

/** One look at all jobs: starts what is due and keeps the condition `rpo-breached` true. */
export async function scheduleRuns(ports: ControllerPorts, options: CallOptions): Promise<void> {
  const jobs = new Map((await ports.catalog.jobs()).map(({ value }) => [value.id, value]));
  for (const { value: replica } of await ports.catalog.replicas()) {
    await tellSuspended(ports, replica);
    const job = replica.jobId === null ? undefined : jobs.get(replica.jobId);
    if (job !== undefined && isDriven(job, replica)) await drive(ports, job, replica, options);
  }
}

/** Null: this replica is not run by the clock now. */
export async function nextRunAt(
  ports: ControllerPorts,
  job: Job,
  replica: Replica,
): Promise<Instant | null> {
  if (!isDriven(job, replica)) return null;
  const { facts, planned } = await look(ports, job, replica);
  return facts.runningSince === null ? planned.startAt : null;
}

function isDriven(job: Job, replica: Replica): boolean {
  const isReplicable = replica.phase === 'Pending' || replica.phase === 'Ready';
  const vm = protectedVm(job, replica.sourceVmId);
  return job.isScheduled && !job.isPaused && isReplicable && vm?.excludedBecause === null;
}

async function drive(
  ports: ControllerPorts,
  job: Job,
  replica: Replica,
  options: CallOptions,
): Promise<void> {
  const { facts, planned } = await look(ports, job, replica);
  const now = ports.clock.now();
  if (isRpoAtRisk(facts, planned, now)) await tellBreach(ports, job, replica, planned, now);
  if (facts.runningSince !== null || now < planned.startAt) return;
  const [open] = await ports.durable.operations({ subject: replica.id, open: true, limit: 1 });
  if (open === undefined) await begin(ports, replica, options);
}

/** Somebody may have begun something in between: then it is simply not our turn. */
async function begin(
  ports: ControllerPorts,
  replica: Replica,
  options: CallOptions,
): Promise<void> {
  try {
    await startReplicate(ports, replica, { ...options, seed: null });
  } catch (error) {
    const { kind } = asUnderstudyError(error);
    if (kind !== 'conflict' && kind !== 'missing') throw error;
  }
}

async function look(
  ports: ControllerPorts,
  job: Job,
  replica: Replica,
): Promise<{ readonly facts: ScheduleFacts; readonly planned: Schedule }> {
  const points = await ports.catalog.points(replica.id);
  const recent = await ports.durable.operations({
    subject: replica.id,
    kind: 'replicate',
    limit: RUNS_REMEMBERED,
  });
  const running = recent.find((operation) => !hasEnded(operation.state));
  const facts: ScheduleFacts = {
    newestTakenAt: points.at(-1)?.takenAt ?? null,
    protectedSince: replica.createdAt,
    rpoSeconds: job.rpoSeconds,
    runs: recent.flatMap(pastRun),
    runningSince: running === undefined ? null : (running.startedAt ?? running.createdAt),
  };
  return { facts, planned: schedule(facts) };
}

/** A run that a person cancelled says nothing about how long runs take, nor that they fail. */
function pastRun(operation: OperationRecord): ScheduleFacts['runs'] {
  const { startedAt, endedAt, state } = operation;
  if (startedAt === null || endedAt === null || state === 'cancelled') return [];
  return [{ startedAt, endedAt, succeeded: state === 'succeeded' }];
}

async function tellBreach(
  ports: ControllerPorts,
  job: Job,
  replica: Replica,
  { deadline, predictedMs }: Schedule,
  now: Instant,
): Promise<void> {
  const when = now > deadline ? 'is older than' : 'is about to be older than';
  const message =
    `The newest restore point ${when} ${job.rpoSeconds} s (due by ${formatInstant(deadline)}; ` +
    `a run takes about ${Math.ceil(predictedMs / 1000)} s). See \`understudy operation list\`.`;
  await raise(ports, replica.id, { name: 'rpo-breached', message, since: now });
}

/** Keeps the condition `operation-suspended` equal to the fact. */
async function tellSuspended(ports: ControllerPorts, replica: Replica): Promise<void> {
  const open = await ports.durable.operations({ subject: replica.id, open: true, limit: 4 });
  const suspended = open.find((operation) => operation.state === 'suspended');
  if (suspended !== undefined) {
    const message =
      `${suspended.title} (${suspended.id}) needs a decision: ${suspended.error?.message ?? ''} ` +
      '`understudy operation retry` tries again, `understudy operation cancel` gives it up.';
    const since = ports.clock.now();
    await raise(ports, replica.id, { name: 'operation-suspended', message, since });
    return;
  }
  const conditions = await ports.catalog.conditions(replica.id);
  if (!conditions.some((condition) => condition.name === 'operation-suspended')) return;
  await ports.catalog.apply([
    { type: 'condition-cleared', replicaId: replica.id, name: 'operation-suspended' },
  ]);
}

/** Once: `since` is when it began, not when it was last seen. */
async function raise(ports: ControllerPorts, id: ReplicaId, condition: Condition): Promise<void> {
  const known = await ports.catalog.conditions(id);
  if (known.some(({ name }) => name === condition.name)) return;
  await ports.catalog.apply([{ type: 'condition-raised', replicaId: id, condition }]);
}

/** Sends the sweeper to every replica that has something left over. */
export async function sweepAll(ports: ControllerPorts, options: CallOptions): Promise<void> {
  for (const id of await replicasToSweep(ports, ports.durable)) {
    const found = await ports.catalog.replica(id);
    if (found !== null) await beginSweep(ports, found.value, options);
  }
}

async function beginSweep(
  ports: ControllerPorts,
  replica: Replica,
  options: CallOptions,
): Promise<void> {
  const title = `Sweep what is left over of ${replica.name}`;
  const order = { kind: 'sweep', allowedAs: null, title, input: {} } as const;
  try {
    await accept(ports, replica, order, { ...options, seed: null });
  } catch (error) {
    if (asUnderstudyError(error).code !== 'operation-in-progress') throw error;
  }
}
