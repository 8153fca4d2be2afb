/** Waits for something that can be observed, by looking again and again. */
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * The first value other than undefined that `look` gives.
 *
 * @throws Error that names `what`, with the last error of `look` as its cause, after `deadlineMs` (default 60 s).
 */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined> | T | undefined,
  { deadlineMs = 60_000, pauseMs = 50 }: { deadlineMs?: number; pauseMs?: number } = {},
): Promise<T> {
  const end = performance.now() + deadlineMs;
  let cause: unknown;
  while (performance.now() < end) {
    try {
      const seen = await look();
      if (seen !== undefined) return seen;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    await sleep(pauseMs);
  }
  throw new Error(`Waited ${deadlineMs} ms in vain: ${what}`, { cause });
}

/** As `until`, for a condition. */
export async function untilTrue(
  what: string,
  look: () => Promise<boolean> | boolean,
  options: { deadlineMs?: number; pauseMs?: number } = {},
): Promise<void> {
  await until(what, async () => ((await look()) ? true : undefined), options);
}
