/**
 * When to start the next run of a VM so that its newest point is never older than the RPO. A point's age
 * counts from its instant, which is close to the start of its run, and it helps nobody before the run's
 * end: hence a run must start a run's length before the deadline.
 *
 *     takenAt ──────────────── rpo ──────────────────▶ deadline
 *                        start ├── predicted ──┤ margin │
 *
 * With windows it starts in one of them; and where waiting for the next one would break the RPO, before the last one closes, so
 * that the point that has to last is as young as it can be.
 */
import { type Instant, instant } from '../instant.ts';
import { lastStretch, nextOpening, type Windows } from './openings.ts';

export type PastRun = {
  readonly startedAt: Instant;
  readonly endedAt: Instant;
  readonly succeeded: boolean;
};

export type ScheduleFacts = {
  /** Null: there is no point yet, so the first run is due at once. */
  readonly newestTakenAt: Instant | null;
  readonly protectedSince: Instant;
  readonly rpoSeconds: number;
  /** In which runs may begin; none: at any time. */
  readonly windows: Windows;
  /** Newest first. */
  readonly runs: readonly PastRun[];
  /** Start of the run in progress, null when there is none. */
  readonly runningSince: Instant | null;
};

export type Schedule = {
  /** When the next run should start, in a window; meaningless while one is running. */
  readonly startAt: Instant;
  /** When it should if there were no windows. */
  readonly wantedAt: Instant;
  /** When the newest point becomes older than the RPO. */
  readonly deadline: Instant;
  /** How long a run is expected to take. */
  readonly predictedMs: number;
};

/** Before anything was measured: an incremental of a quiet VM. */
const UNKNOWN_RUN_MS = 5_000;
const RUNS_CONSIDERED = 5;
const FIRST_BACKOFF_MS = 5_000;
const BACKOFF_MS_MAX = 10 * 60_000;

export function schedule(facts: ScheduleFacts): Schedule {
  const rpoMs = facts.rpoSeconds * 1000;
  const predictedMs = predictRunMs(facts.runs);
  const base = facts.newestTakenAt ?? facts.protectedSince;
  const deadline = instant(base + rpoMs);
  const due = facts.newestTakenAt === null ? base : dueAt(deadline, base, predictedMs, rpoMs);
  const retry = retryAt(facts.runs, rpoMs);
  const inWindow = inWindowAt(facts, {
    due,
    notBefore: soonestAt(base, rpoMs),
    deadline,
    predictedMs,
  });
  return {
    startAt: nextOpening(facts.windows, laterOf(inWindow, retry)),
    wantedAt: laterOf(due, retry),
    deadline,
    predictedMs,
  };
}

/** When the next run will begin as things are now: a start that was missed is made up for when a window is open. */
export function beginsAt({ windows }: ScheduleFacts, { startAt }: Schedule, now: Instant): Instant {
  const at = nextOpening(windows, laterOf(startAt, now));
  return at === now ? startAt : at;
}

/** A tick of the scheduler, and a busy moment, before a window closes. */
const CLOSING_MARGIN_MS = 60_000;

type Wanted = Pick<Schedule, 'deadline' | 'predictedMs'> & {
  readonly due: Instant;
  readonly notBefore: Instant;
};

function inWindowAt(
  { windows, rpoSeconds }: ScheduleFacts,
  { due, notBefore, deadline, predictedMs }: Wanted,
): Instant {
  const opening = nextOpening(windows, due);
  if (opening === due || opening + predictedMs <= deadline - inHandMs(rpoSeconds)) return opening;
  const last = lastStretch(windows, due);
  if (last === null) return opening;
  const lastChance = last.closesAt - predictedMs - CLOSING_MARGIN_MS;
  const at = Math.max(lastChance, last.opensAt, notBefore);
  return at < last.closesAt ? instant(at) : opening;
}

/**
 * The facts without what a clock that was ahead has written down, and is right again: a point of next year must not stop
 * replication until then. Its age is not known, so a run is due. A tenth of the RPO is no cause for doubt.
 */
export function withoutFuture(facts: ScheduleFacts, now: Instant): ScheduleFacts {
  const { newestTakenAt, protectedSince, runningSince, runs, rpoSeconds, windows } = facts;
  const isKnown = (at: Instant) => at <= now + rpoSeconds * 100;
  return {
    rpoSeconds,
    windows,
    newestTakenAt: newestTakenAt !== null && isKnown(newestTakenAt) ? newestTakenAt : null,
    protectedSince: isKnown(protectedSince) ? protectedSince : now,
    runningSince: runningSince === null || isKnown(runningSince) ? runningSince : now,
    runs: runs.filter((run) => isKnown(run.endedAt)),
  };
}

/**
 * Whether the deadline will be missed, as far as can be predicted. A tenth of the RPO is kept in hand, so that it
 * is told while there is still time to do something, and not late because of a coarse tick.
 */
export function isRpoAtRisk(facts: ScheduleFacts, planned: Schedule, now: Instant): boolean {
  const startsAt = facts.runningSince ?? laterOf(now, beginsAt(facts, planned, now));
  const endsAt = Math.max(now, startsAt + planned.predictedMs);
  return endsAt > planned.deadline - inHandMs(facts.rpoSeconds);
}

/** The next opening, while it is what the next run waits for; else null. */
export function awaitedOpening(
  facts: ScheduleFacts,
  planned: Schedule,
  now: Instant,
): Instant | null {
  const at = beginsAt(facts, planned, now);
  return facts.runningSince === null && at > laterOf(now, planned.wantedAt) ? at : null;
}

function inHandMs(rpoSeconds: number): number {
  return Math.round(rpoSeconds * 100);
}

/** The slowest of the last few successful runs: a prediction that is usually a little too long. */
export function predictRunMs(runs: readonly PastRun[]): number {
  const durations = runs
    .filter((run) => run.succeeded)
    .slice(0, RUNS_CONSIDERED)
    .map((run) => Math.max(0, run.endedAt - run.startedAt));
  return durations.length === 0 ? UNKNOWN_RUN_MS : Math.max(...durations);
}

/** A run's length and a fifth of the RPO before the deadline, but never sooner than a tenth of the RPO after the last. */
function dueAt(deadline: Instant, base: Instant, predictedMs: number, rpoMs: number): Instant {
  const latest = deadline - predictedMs - Math.round(rpoMs / 5);
  return instant(Math.max(latest, soonestAt(base, rpoMs)));
}

function soonestAt(base: Instant, rpoMs: number): Instant {
  return instant(base + Math.round(rpoMs / 10));
}

/** Failures in a row double the pause before the next attempt, up to half the RPO or ten minutes. */
function retryAt(runs: readonly PastRun[], rpoMs: number): Instant {
  const lastSuccess = runs.findIndex((run) => run.succeeded);
  const failures = lastSuccess === -1 ? runs.length : lastSuccess;
  const newest = runs[0];
  if (newest === undefined || failures === 0) return instant(0);
  const ceiling = Math.max(FIRST_BACKOFF_MS, Math.min(BACKOFF_MS_MAX, Math.round(rpoMs / 2)));
  const pause = Math.min(ceiling, FIRST_BACKOFF_MS * 2 ** Math.min(failures - 1, 20));
  return instant(newest.endedAt + pause);
}

function laterOf(a: Instant, b: Instant): Instant {
  return a > b ? a : b;
}
