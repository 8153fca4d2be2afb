/**
 * Which restore points to retire. Keep the newest `keepLast`, and for each tier the newest point of every
 * full period back to the tier's length. The newest point and pinned points are always kept.
 */
import type { PointId } from '../ids.ts';
import type { Instant } from '../instant.ts';

export type RetentionTier = {
  /** One point per this many seconds… */
  readonly everySeconds: number;
  /** …for this many seconds back. */
  readonly forSeconds: number;
};

export type RetentionPolicy = {
  readonly keepLast: number;
  readonly tiers: readonly RetentionTier[];
};

export const DEFAULT_RETENTION: RetentionPolicy = { keepLast: 7, tiers: [] };

type Candidate = { readonly id: PointId; readonly takenAt: Instant; readonly isPinned: boolean };

/** The points to retire, oldest first. `points` is in chain order, oldest first. */
export function pointsToRetire(
  points: readonly Candidate[],
  policy: RetentionPolicy,
  now: Instant,
): readonly PointId[] {
  const kept = new Set<PointId>();
  for (const point of points.slice(-Math.max(1, policy.keepLast))) kept.add(point.id);
  for (const point of points) if (point.isPinned) kept.add(point.id);
  for (const tier of policy.tiers) for (const id of keptByTier(points, tier, now)) kept.add(id);
  return points.filter((point) => !kept.has(point.id)).map((point) => point.id);
}

/** Periods are counted from the epoch, so that a point does not move between periods as time passes. */
function keptByTier(
  points: readonly Candidate[],
  tier: RetentionTier,
  now: Instant,
): readonly PointId[] {
  const newestOfPeriod = new Map<number, PointId>();
  for (const point of points) {
    const ageMs = now - point.takenAt;
    if (ageMs > tier.forSeconds * 1000) continue;
    newestOfPeriod.set(Math.floor(point.takenAt / (tier.everySeconds * 1000)), point.id);
  }
  return [...newestOfPeriod.values()];
}
