/**
 * Virtual time. It stands still while anything can still happen without it: only when all promises have run as far
 * as they can does it jump to the earliest sleeper. Code under test is ordinary `await` code and never
 * waits for real. "As far as they can" is known from the event loop: a `setImmediate` callback runs when the queue
 * of microtasks is empty. That holds as long as nothing waits for real I/O; what does takes a `hold`.
 *
 *   automatic   jumps whenever somebody sleeps and nobody holds (the default)
 *   manual      moves only by `advance` and `run`
 */
import { UnderstudyError } from '../domain/error.ts';
import { type Instant, instant } from '../domain/instant.ts';
import type { Clock } from '../ports/clock.ts';
import { createTimerQueue, type Timer } from './timer-queue.ts';

export type ClockMode = 'automatic' | 'manual';

export type VirtualClock = Clock & {
  setMode(mode: ClockMode): void;
  /** Lets this much time pass, with everything that falls due in it, in order. */
  advance(ms: number): Promise<void>;
  /** Lets time pass until the work settles. Rejects with a plain Error when nothing can happen any more. */
  run<T>(work: Promise<T>): Promise<T>;
  /** Lets everything run that needs no time. */
  settle(): Promise<void>;
  /** Calls back every `ms` as time passes, for what the world does by itself; never makes time pass. */
  every(ms: number, tick: () => void): Disposable;
  /** Moves the wall clock; the monotonic one goes on as ever. */
  jumpWall(ms: number): void;
  /** Keeps automatic time from jumping until disposed. */
  hold(): Disposable;
};

/** 2026-01-01T00:00:00Z: some fixed day, as virtual time has no relation to ours. */
const FIRST_INSTANT_MS = 1_767_225_600_000;

/** `run` gives up after so many idle rounds: real I/O that was not held would need more than one. */
const IDLE_ROUNDS_MAX = 50;

export function createVirtualClock({ mode: firstMode }: { mode: ClockMode }): VirtualClock {
  const timers = createTimerQueue();
  let mode = firstMode;
  let nowMs = 0;
  let wallOffsetMs = 0;
  let sequence = 0;
  let sleepers = 0;
  let holds = 0;
  let drivers = 0;
  let isDriven = false;

  function add(dueMs: number, isBackground: boolean, fire: () => void): Timer {
    sequence += 1;
    const timer = { dueMs, sequence, isBackground, fire, isCancelled: false, isTaken: false };
    timers.add(timer);
    if (!isBackground) sleepers += 1;
    wake();
    return timer;
  }

  function cancel(timer: Timer): void {
    if (timer.isCancelled || timer.isTaken) return;
    timers.cancel(timer);
    if (!timer.isBackground) sleepers -= 1;
  }

  /** False when there was nothing due up to the limit. */
  function fireNext(untilMs: number): boolean {
    const next = timers.peek();
    if (next === null || next.dueMs > untilMs) return false;
    timers.take();
    if (!next.isBackground) sleepers -= 1;
    nowMs = Math.max(nowMs, next.dueMs);
    next.fire();
    return true;
  }

  function mayJump(): boolean {
    return mode === 'automatic' && sleepers > 0 && holds === 0 && drivers === 0;
  }

  function wake(): void {
    if (isDriven || !mayJump()) return;
    isDriven = true;
    setImmediate(drive);
  }

  function drive(): void {
    isDriven = false;
    if (!mayJump()) return;
    fireNext(Number.POSITIVE_INFINITY);
    wake();
  }

  /** Takes the wheel, so that automatic time does not move beneath the caller. */
  async function driving<T>(body: () => Promise<T>): Promise<T> {
    drivers += 1;
    try {
      return await body();
    } finally {
      drivers -= 1;
      wake();
    }
  }

  async function runUntil(isDone: () => boolean): Promise<void> {
    let idleRounds = 0;
    for (;;) {
      await emptyMicrotasks();
      if (isDone()) return;
      idleRounds = holds > 0 || sleepers > 0 ? 0 : idleRounds + 1;
      if (idleRounds > IDLE_ROUNDS_MAX) throw new Error('stalled: nothing can happen any more');
      if (holds === 0 && sleepers > 0) fireNext(Number.POSITIVE_INFINITY);
    }
  }

  return {
    now: (): Instant => instant(FIRST_INSTANT_MS + Math.floor(nowMs) + wallOffsetMs),
    monotonicMs: () => nowMs,
    sleep: (ms, { signal }) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(new UnderstudyError('cancelled'));
        const timer = add(nowMs + Math.max(0, ms), false, () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        });
        function onAbort(): void {
          cancel(timer);
          reject(new UnderstudyError('cancelled'));
        }
        signal.addEventListener('abort', onAbort, { once: true });
      }),
    setMode: (next) => {
      mode = next;
      wake();
    },
    advance: (ms) =>
      driving(async () => {
        const untilMs = nowMs + ms;
        do await emptyMicrotasks();
        while (holds > 0 || fireNext(untilMs));
        nowMs = untilMs;
      }),
    run: (work) =>
      driving(async () => {
        let isSettled = false;
        const settled = () => {
          isSettled = true;
        };
        work.then(settled, settled);
        await runUntil(() => isSettled);
        return work;
      }),
    settle: () => driving(emptyMicrotasks),
    every: (ms, tick) => {
      let timer = add(nowMs + ms, true, beat);
      function beat(): void {
        timer = add(timer.dueMs + ms, true, beat);
        tick();
      }
      return { [Symbol.dispose]: () => cancel(timer) };
    },
    jumpWall: (ms) => {
      wallOffsetMs += ms;
    },
    hold: () => {
      let isHeld = true;
      holds += 1;
      return {
        [Symbol.dispose]: () => {
          if (!isHeld) return;
          isHeld = false;
          holds -= 1;
          wake();
        },
      };
    },
  };
}

function emptyMicrotasks(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
