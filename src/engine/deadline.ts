import type { CallOptions } from '../ports/call.ts';
import type { Clock } from '../ports/clock.ts';

/** Runs the work with a signal that is also aborted after `ms`: what then happens is up to the work. */
export async function withDeadline<T>(
  clock: Clock,
  ms: number,
  { signal }: CallOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const expired = new AbortController();
  const finished = new AbortController();
  const timer = clock.sleep(ms, { signal: AbortSignal.any([signal, finished.signal]) }).then(
    () => expired.abort(),
    () => undefined, // the work was quicker, or the caller gave up
  );
  try {
    return await work(AbortSignal.any([signal, expired.signal]));
  } finally {
    finished.abort();
    await timer;
  }
}
