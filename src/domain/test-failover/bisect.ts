/**
 * Which restore points to boot next in search of the newest one that is healthy: a pure decision.
 *
 *   oldest ── good ── good ── ? ── ? ── ? ── bad ── newest
 *                      low └── untested ──┘  high
 *
 * What spoilt the VM is taken to have stayed: everything before a good point is good, everything after a bad one
 * bad. Where that is not so, the answer still is a point that passed whose next newer one failed.
 */
import type { PointId } from '../ids.ts';

export type Health = 'good' | 'bad';

export type BisectState = {
  /** Oldest first. */
  readonly points: readonly PointId[];
  readonly known: ReadonlyMap<PointId, Health>;
};

export type BisectStep =
  | { readonly type: 'boot'; readonly points: readonly PointId[] }
  /** `newestGood` null: none passed. `firstBad` null: the newest passed. */
  | {
      readonly type: 'found';
      readonly newestGood: PointId | null;
      readonly firstBad: PointId | null;
    };

/** `width`: how many may be booted at once. */
export function nextBisectStep({ points, known }: BisectState, width: number): BisectStep {
  const low = points.findLastIndex((point) => known.get(point) === 'good');
  const above = points.findIndex((point, index) => index > low && known.get(point) === 'bad');
  const high = above === -1 ? points.length : above;
  if (high - low === 1) {
    return { type: 'found', newestGood: points[low] ?? null, firstBad: points[high] ?? null };
  }
  return { type: 'boot', points: chosen(low, high, points, width) };
}

/** Evenly spread between what is known; the newest first of all, because it usually is the answer. */
function chosen(
  low: number,
  high: number,
  points: readonly PointId[],
  width: number,
): readonly PointId[] {
  const isNewestUnknown = high === points.length;
  const end = isNewestUnknown ? high - 1 : high;
  const wanted = Math.max(1, width) - (isNewestUnknown ? 1 : 0);
  const count = Math.min(wanted, end - low - 1);
  const indexes = Array.from(
    { length: count },
    (_, nth) => low + Math.round(((nth + 1) * (end - low)) / (count + 1)),
  );
  if (isNewestUnknown) indexes.push(high - 1);
  return indexes.flatMap((index) => points[index] ?? []);
}
