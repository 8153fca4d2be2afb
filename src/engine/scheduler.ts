/**
 * Keeps every scheduled job within its RPO: starts runs when they are due, says so before a deadline is missed,
 * and sends the sweeper where something is left over. It decides from what is recorded, at its own pace;
 * nothing is lost when it is not running, a due run is only later.
 */
import { asUnderstudyError } from '../domain/error.ts';
import { failbackHolding } from '../domain/failover/siblings.ts';
import type { Instant } from '../domain/instant.ts';
import { type Job, protectedVm } from '../domain/job/job.ts';
import { type OperationRecord, RUNS_BESIDE } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { awaitedOpening, beginsAt, isRpoAtRisk } from '../domain/replication/schedule.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Versioned } from '../ports/catalog.ts';
import { replicasToCleanUp } from './clean-up.ts';
import { accept } from './control/accept.ts';
import type { ControllerPorts } from './control/controller-ports.ts';
import { startReplicate } from './control/run-job.ts';
import { driveSwitchover } from './drive-switchover.ts';
import { forgetGone, planOfIdle, planRun, type Remembered, rememberNothing } from './run-facts.ts';
import { scheduleTests } from './schedule-tests.ts';
import { replicasToSweep, sweepAgainAt } from './sweeper.ts';
import { tellBreach, tellSuspended, withdrawBreach } from './tell-conditions.ts';
import { tellStartedByHand } from './tell-switchover.ts';

const TICK_MS = 1_000;
const SWEEP_EVERY_TICKS = 15;
/** Enough for every replica there is: at most one operation holds each. */
const OPEN_OPERATIONS_MAX = 100_000;
const SWEEPS_REMEMBERED = 8;
const CLEAN_UP_PAUSE_MS_MAX = 60_000;

/** Runs until the signal is aborted. What fails in a tick is told to `onError` and the next one tries again. */
export async function runScheduler(
  ports: ControllerPorts,
  { signal, onError }: CallOptions & { readonly onError: (error: unknown) => void },
): Promise<void> {
  const remembered = rememberNothing();
  const attempt = async (work: Promise<void>) => {
    await work.catch((error: unknown) => (signal.aborted ? undefined : onError(error)));
  };
  for (let tick = 0; !signal.aborted; tick += 1) {
    await attempt(scheduleRuns(ports, { signal }, remembered));
    if (tick % SWEEP_EVERY_TICKS === 0) {
      await attempt(sweepAll(ports, { signal }));
      await attempt(tellStartedByHand(ports, { signal }));
      await attempt(scheduleTests(ports, { signal }));
    }
    await ports.clock.sleep(TICK_MS, { signal }).catch(() => undefined); // aborted: the loop ends by itself
  }
}

/**
 * One look at all jobs: starts what is due and keeps the conditions true. A replica that cannot be looked at does not
 * keep the others waiting; its error is thrown in the end.
 */
export async function scheduleRuns(
  ports: ControllerPorts,
  options: CallOptions,
  remembered: Remembered = rememberNothing(),
): Promise<void> {
  const jobs = new Map((await ports.catalog.jobs()).map((job) => [job.value.id, job]));
  const open = await openBySubject(ports);
  const failures: unknown[] = [];
  const all = await ports.catalog.replicas();
  forgetGone(remembered, all);
  const failingBack = all.map(({ value }) => value).filter(({ failback }) => failback !== null);
  for (const recorded of all) {
    const { value: replica } = recorded;
    const job = replica.jobId === null ? undefined : jobs.get(replica.jobId);
    const mine = open.get(replica.id) ?? [];
    try {
      await tellWhetherSuspended(ports, replica, mine, remembered);
      await driveSwitchover(ports, replica, mine, options);
      if (job !== undefined && isDriven(job.value, replica, failingBack)) {
        await drive(ports, { job, replica: recorded, open: mine, remembered }, options);
      } else {
        await withdrawBreach(ports, replica);
      }
    } catch (error) {
      failures.push(error);
      if (options.signal.aborted) break;
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** Tests and exports go on beside a run. */
async function openBySubject({
  durable,
}: ControllerPorts): Promise<ReadonlyMap<string, readonly OperationRecord[]>> {
  const found = new Map<string, OperationRecord[]>();
  for (const operation of await durable.operations({ open: true, limit: OPEN_OPERATIONS_MAX })) {
    if (RUNS_BESIDE.includes(operation.kind)) continue;
    const known = found.get(operation.subject);
    if (known === undefined) found.set(operation.subject, [operation]);
    else known.push(operation);
  }
  return found;
}

async function tellWhetherSuspended(
  ports: ControllerPorts,
  replica: Replica,
  open: readonly OperationRecord[],
  { unsuspended }: Remembered,
): Promise<void> {
  const suspended = open.find(({ state }) => state === 'suspended');
  if (suspended === undefined && unsuspended.has(replica.id)) return;
  await tellSuspended(ports, replica, suspended);
  if (suspended === undefined) unsuspended.add(replica.id);
  else unsuspended.delete(replica.id);
}

/** Null: this replica is not run by the clock now. */
export async function nextRunAt(
  ports: ControllerPorts,
  job: Job,
  replica: Replica,
): Promise<Instant | null> {
  const all = (await ports.catalog.replicas()).map(({ value }) => value);
  if (!isDriven(job, replica, all)) return null;
  const { facts, planned } = await planRun(ports, job, replica);
  return facts.runningSince === null ? beginsAt(facts, planned, ports.clock.now()) : null;
}

function isDriven(job: Job, replica: Replica, failingBack: readonly Replica[]): boolean {
  const isReplicable = replica.phase === 'Pending' || replica.phase === 'Ready';
  const vm = protectedVm(job, replica.sourceVmId);
  const isRun = job.isScheduled && !job.isPaused && isReplicable && vm?.excludedBecause === null;
  return isRun && failbackHolding(replica, failingBack) === null;
}

type Driven = {
  readonly job: Versioned<Job>;
  readonly replica: Versioned<Replica>;
  /** The replica's operations that have not ended and that it cannot be run beside. */
  readonly open: readonly OperationRecord[];
  readonly remembered: Remembered;
};

async function drive(
  ports: ControllerPorts,
  { job, replica, open, remembered }: Driven,
  options: CallOptions,
): Promise<void> {
  const isIdle = open.length === 0;
  if (!isIdle) remembered.plans.delete(replica.value.id);
  const { facts, planned } = isIdle
    ? await planOfIdle(ports, job, replica, remembered)
    : await planRun(ports, job.value, replica.value, remembered.newest);
  const now = ports.clock.now();
  if (isRpoAtRisk(facts, planned, now)) {
    const opensAt = awaitedOpening(facts, planned, now);
    await tellBreach(ports, job.value, replica.value, { ...planned, opensAt }, now);
  }
  if (!isIdle || now < beginsAt(facts, planned, now)) return;
  remembered.plans.delete(replica.value.id);
  await begin(ports, replica.value, options);
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

/** Sends the sweeper to every replica that has something left over; where it could do nothing, ever more rarely. */
export async function sweepAll(ports: ControllerPorts, options: CallOptions): Promise<void> {
  const toCleanUp = await replicasToCleanUp(ports, options);
  const toSweep = await replicasToSweep(ports, ports.durable);
  for (const id of new Set([...toCleanUp, ...toSweep])) {
    // Somebody waits for a host that is back, and it answers: then it is tried again soon.
    const pauseMsMax = toCleanUp.includes(id) ? CLEAN_UP_PAUSE_MS_MAX : undefined;
    const found = await ports.catalog.replica(id);
    const filter = { subject: id, kind: 'sweep', limit: SWEEPS_REMEMBERED } as const;
    const now = ports.clock.now();
    const againAt = sweepAgainAt(await ports.durable.operations(filter), now, pauseMsMax);
    if (found !== null && againAt === null) await beginSweep(ports, found.value, options);
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
