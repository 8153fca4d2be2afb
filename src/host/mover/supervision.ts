/**
 * What must happen while blocks move and needs a clock: deadlines, progress, the pace of a bounded transfer,
 * and noticing that nothing moves any more. One loop, four times a second.
 */
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import type { TransferProgress, TransferTarget } from '../../ports/mover.ts';
import type { PlanTotals } from './batches.ts';
import type { Counters } from './counters.ts';

export type Supervision = {
  readonly clock: Clock;
  readonly counters: Counters;
  readonly totals: PlanTotals;
  readonly sizeBytes: number;
  readonly bytesPerSecondMax: number | null;
  readonly onProgress: ((progress: TransferProgress) => void) | undefined;
  readonly stage: () => Stage;
  /** Called when the stage stood still for longer than it may. */
  readonly stalled: (stage: Stage) => void;
};

/** What is going on, and how long it may stand still: a peer that hangs must not hang us. */
export type Stage = {
  readonly what: 'opening' | 'moving' | 'flushing';
  readonly endpoint: TransferTarget;
  readonly stallLimitMs: number;
};

const TICK_MS = 250;
/** A bounded transfer is topped up this often, so that it flows evenly. */
const THROTTLED_TICK_MS = 50;
/** Time constant of the smoothed rate. */
const SMOOTHING_MS = 3000;

/** Runs until the signal is aborted, then reports once more. Never rejects for that. */
export async function supervise(supervision: Supervision, { signal }: CallOptions): Promise<void> {
  const { clock, bytesPerSecondMax } = supervision;
  const tickMs = bytesPerSecondMax === null ? TICK_MS : THROTTLED_TICK_MS;
  const startedMs = clock.monotonicMs();
  const rate = new SmoothedRate(startedMs);
  const stall = new StallWatch(startedMs);
  let reportedMs = startedMs;
  let tickedMs = startedMs;
  while (await slept(clock, tickMs, signal)) {
    const nowMs = clock.monotonicMs();
    raiseAllowance(supervision, nowMs - tickedMs);
    tickedMs = nowMs;
    stall.look(supervision, nowMs);
    if (nowMs - reportedMs < TICK_MS) continue;
    reportedMs = nowMs;
    rate.update(supervision.counters.get('done'), nowMs);
    supervision.onProgress?.(progressOf(supervision, rate.bytesPerSecond));
  }
  rate.update(supervision.counters.get('done'), clock.monotonicMs());
  supervision.onProgress?.(progressOf(supervision, rate.bytesPerSecond));
}

class SmoothedRate {
  bytesPerSecond = 0;
  #bytes = 0;
  #atMs: number;
  #isFirst = true;

  constructor(startedMs: number) {
    this.#atMs = startedMs;
  }

  update(bytes: number, nowMs: number): void {
    const elapsedMs = nowMs - this.#atMs;
    if (elapsedMs <= 0) return;
    const current = ((bytes - this.#bytes) / elapsedMs) * 1000;
    const weight = this.#isFirst ? 1 : 1 - Math.exp(-elapsedMs / SMOOTHING_MS);
    this.bytesPerSecond += weight * (current - this.bytesPerSecond);
    this.#isFirst = false;
    this.#bytes = bytes;
    this.#atMs = nowMs;
  }
}

class StallWatch {
  #seen = -1;
  #stage: Stage | null = null;
  #sinceMs: number;

  constructor(startedMs: number) {
    this.#sinceMs = startedMs;
  }

  look({ counters, totals, stalled, ...rest }: Supervision, nowMs: number): void {
    const stage = rest.stage();
    const isThrottled = rest.bytesPerSecondMax !== null && counters.get('allowance') <= 0;
    // Each of these only ever grows, so their sum stands still only when all of them do.
    const seen = counters.get('read') + counters.get('done') + totals.mappedBytes;
    if (isThrottled || seen !== this.#seen || stage !== this.#stage) {
      this.#seen = seen;
      this.#stage = stage;
      this.#sinceMs = nowMs;
    } else if (nowMs - this.#sinceMs > stage.stallLimitMs) stalled(stage);
  }
}

function progressOf(
  { counters, totals, sizeBytes }: Supervision,
  bytesPerSecond: number,
): TransferProgress {
  const doneBytes = counters.get('done');
  const totalBytes = Math.max(doneBytes, expectedBytes(totals, sizeBytes));
  const isTold = bytesPerSecond > 0 && (totals.isComplete || totals.mappedBytes > 0);
  const remainingMs = isTold
    ? Math.round(((totalBytes - doneBytes) / bytesPerSecond) * 1000)
    : null;
  return {
    doneBytes,
    totalBytes,
    sentBytes: counters.get('sent'),
    bytesPerSecond: Math.round(bytesPerSecond),
    remainingMs,
  };
}

/** Exact once all is mapped; until then the rest of the disk is taken to be like what is known of it. */
function expectedBytes(totals: PlanTotals, sizeBytes: number): number {
  if (totals.isComplete || totals.mappedBytes === 0) return totals.selectedBytes;
  return Math.round(totals.selectedBytes * Math.max(1, sizeBytes / totals.mappedBytes));
}

/** Never more than a quarter of a second's worth in advance: a pause must not be followed by a burst. */
function raiseAllowance({ counters, bytesPerSecondMax }: Supervision, elapsedMs: number): void {
  if (bytesPerSecondMax === null) return;
  counters.raiseAllowance(
    (bytesPerSecondMax * elapsedMs) / 1000,
    Math.max(1, bytesPerSecondMax / 4),
  );
}

async function slept(clock: Clock, ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await clock.sleep(ms, { signal });
    return true;
  } catch {
    return false; // A sleep fails only when it is aborted.
  }
}
