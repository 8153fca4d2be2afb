/** When a scheduled test of a replica is due: a pure decision over the tests that ran by the clock before. */
import type { Instant } from '../instant.ts';

export type PastTest = {
  readonly createdAt: Instant;
  /** Null: it is under way. */
  readonly endedAt: Instant | null;
  /** Whether the point was booted and asked, whatever came of it. */
  readonly isCarriedOut: boolean;
};

/** One that could not be carried out is tried again sooner, but does not fill the history. */
const AGAIN_MS_MAX = 3_600_000;
/** A test of the future was written by a clock that was ahead. */
const TOLERATED_MS = 60_000;

/** `past`: newest first. The first one is due as soon as there is a point. */
export function isTestDue(everySeconds: number, past: readonly PastTest[], now: Instant): boolean {
  if (past.some(({ endedAt }) => endedAt === null)) return false;
  const last = past.find(({ createdAt }) => createdAt <= now + TOLERATED_MS);
  if (last === undefined) return true;
  const everyMs = everySeconds * 1000;
  const { createdAt, endedAt, isCarriedOut } = last;
  if (isCarriedOut) return now >= createdAt + everyMs;
  return now >= (endedAt ?? createdAt) + Math.min(everyMs, AGAIN_MS_MAX);
}
