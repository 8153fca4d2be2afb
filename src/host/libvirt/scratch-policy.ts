/**
 * When a freeze must end for the guest's sake. Pure.
 *
 * A full scratch pauses the production VM within a second, and QEMU offers no other choice through libvirt. So the freeze
 * is given up early: at 80 % of what is allowed, or when the guest, at the pace it writes now, would pass a
 * limit before we can look twice and end the job.
 */
import { formatBytes } from '../../domain/bytes.ts';
import type { ScratchPolicy } from '../../domain/job/job.ts';

export const WATCH_POLL_MS = 200;

/** Two looks, and the ending of the job, with a wide margin for a busy host. */
const LOOKAHEAD_MS = 2000;
const QUOTA_SHARE = 0.8;

/** Less than this is not worth beginning with. */
const ROOM_BYTES_MIN = 16 * 1024 * 1024;

export type ScratchReading = {
  /** Really occupied by old blocks. */
  readonly usedBytes: number;
  readonly freeBytes: number;
  /** How long ago the instant was. */
  readonly ageMs: number;
  /** By how much `usedBytes` grew lately. */
  readonly growthBytesPerMs: number;
};

export type ScratchLimits = {
  readonly quotaBytes: number;
  readonly reserveBytes: number;
  readonly deadlineMs: number;
};

/** How much may be used by a freeze that begins now; null when there is no room for one. */
export function quotaAtBegin(
  { quotaBytes, reserveBytes }: ScratchPolicy,
  freeBytes: number,
): number | null {
  const room = freeBytes - reserveBytes;
  const quota = Math.min(quotaBytes ?? freeBytes / 2, room);
  if (room < ROOM_BYTES_MIN || quota <= 0) return null;
  return Math.floor(quota);
}

/** Why the freeze must end now, for people; null while it may go on. */
export function scratchVerdict(reading: ScratchReading, limits: ScratchLimits): string | null {
  const { usedBytes, freeBytes, ageMs, growthBytesPerMs } = reading;
  const soonBytes = Math.max(0, growthBytesPerMs) * LOOKAHEAD_MS;
  if (ageMs >= limits.deadlineMs) {
    return `it was held for ${Math.round(ageMs / 1000)} s, its deadline`;
  }
  if (usedBytes >= limits.quotaBytes * QUOTA_SHARE || usedBytes + soonBytes >= limits.quotaBytes) {
    return `old blocks fill ${formatBytes(usedBytes)} of the ${formatBytes(limits.quotaBytes)} allowed`;
  }
  if (freeBytes - soonBytes <= limits.reserveBytes) {
    return `only ${formatBytes(freeBytes)} are free for old blocks, and ${formatBytes(limits.reserveBytes)} are kept in reserve`;
  }
  return null;
}

/** Smooths over a few looks; a burst counts at once, a pause slowly. */
export function growth(
  previous: ScratchReading | null,
  usedBytes: number,
  passedMs: number,
): number {
  if (previous === null || passedMs <= 0) return 0;
  const now = Math.max(0, usedBytes - previous.usedBytes) / passedMs;
  return Math.max(now, previous.growthBytesPerMs * 0.8);
}
