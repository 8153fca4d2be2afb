import { UnderstudyError } from '../domain/error.ts';
import { instant } from '../domain/instant.ts';
import type { Clock, SleepOptions } from '../ports/clock.ts';

/** A longer delay overflows a timer of the platform, which then fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export function systemClock(): Clock {
  return {
    now: () => instant(Date.now()),
    monotonicMs: () => performance.now(),
    async sleep(ms, { signal, isBackground = false }) {
      const until = performance.now() + ms;
      do {
        const restMs = Math.max(0, Math.ceil(until - performance.now()));
        await pause(Math.min(restMs, TIMER_MS_MAX), { signal, isBackground });
      } while (performance.now() < until);
    },
  };
}

function pause(ms: number, { signal, isBackground }: SleepOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new UnderstudyError('cancelled'));
    const abort = () => {
      clearTimeout(timer);
      reject(new UnderstudyError('cancelled'));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    }, ms);
    if (isBackground) timer.unref();
    signal.addEventListener('abort', abort, { once: true });
  });
}
