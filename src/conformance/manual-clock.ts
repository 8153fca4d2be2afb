import { UnderstudyError } from '../domain/error.ts';
import { type Instant, instant } from '../domain/instant.ts';
import type { Clock } from '../ports/clock.ts';

export type ManualClock = Clock & {
  /** Moves time on, waking sleepers at their exact moments, and lets what they started run before it goes on. */
  advance(ms: number): Promise<void>;
  /** How many sleep now. */
  readonly sleepers: () => number;
  /** Resolves when at least that many sleep. */
  whenSleeping(count: number): Promise<void>;
  /** Moves the wall clock only, as an administrator or a bad NTP server would. */
  jumpWallClock(ms: number): void;
};

type Sleeper = { readonly atMs: number; readonly order: number; readonly wake: () => void };

/** Virtual time: stands still until a test moves it. */
export function manualClock(start: Instant = instant(Date.UTC(2026, 0, 1))): ManualClock {
  let monotonicMs = 0;
  let wallOffset = start as number;
  let order = 0;
  const sleepers = new Set<Sleeper>();
  const watchers = new Set<{ readonly count: number; readonly resolve: () => void }>();

  function sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(new UnderstudyError('cancelled'));
      if (ms <= 0) return resolve();
      const abort = () => {
        sleepers.delete(sleeper);
        reject(new UnderstudyError('cancelled'));
      };
      const wake = () => {
        signal.removeEventListener('abort', abort);
        sleepers.delete(sleeper);
        resolve();
      };
      const sleeper: Sleeper = { atMs: monotonicMs + ms, order, wake };
      order += 1;
      sleepers.add(sleeper);
      signal.addEventListener('abort', abort, { once: true });
      for (const watcher of watchers) if (sleepers.size >= watcher.count) watcher.resolve();
    });
  }

  function nextUntil(untilMs: number): Sleeper | undefined {
    const due = [...sleepers].filter(({ atMs }) => atMs <= untilMs);
    return due.sort((a, b) => a.atMs - b.atMs || a.order - b.order)[0];
  }

  return {
    now: () => instant(Math.round(wallOffset + monotonicMs)),
    monotonicMs: () => monotonicMs,
    sleep: (ms, { signal }) => sleep(ms, signal),
    async advance(ms) {
      const untilMs = monotonicMs + ms;
      for (let next = nextUntil(untilMs); next !== undefined; next = nextUntil(untilMs)) {
        monotonicMs = Math.max(monotonicMs, next.atMs);
        next.wake();
        await turns();
      }
      monotonicMs = untilMs;
      await turns();
    },
    sleepers: () => sleepers.size,
    whenSleeping(count) {
      if (sleepers.size >= count) return Promise.resolve();
      return new Promise((resolve) => watchers.add({ count, resolve }));
    },
    jumpWallClock(ms) {
      wallOffset += ms;
    },
  };
}

/** A few turns of the event loop: what was woken gets to its next wait, through any number of promises. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 4; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
