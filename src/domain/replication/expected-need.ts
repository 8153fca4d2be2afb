/** How much room a run will take at the target, as far as earlier ones tell. */
import type { RestorePoint } from '../restore-point/restore-point.ts';

const POINTS_CONSIDERED = 5;
const POINTS_MIN = 3;

/**
 * The middle one of the last few runs that moved only what had changed, and nothing before there are three. A modest guess on
 * purpose: a run refused for it makes no point that would correct it, so that one large run must not bar all
 * later ones. What a run really writes is watched while it does.
 */
export function expectedBytes(points: readonly Pick<RestorePoint, 'disks'>[]): number {
  const moved = points
    .slice(-POINTS_CONSIDERED)
    .filter(({ disks }) => disks.every(({ transfer }) => transfer !== 'full'))
    .map(({ disks }) => disks.reduce((sum, { sentBytes }) => sum + sentBytes, 0))
    .sort((a, b) => a - b);
  return moved.length < POINTS_MIN ? 0 : (moved[Math.floor((moved.length - 1) / 2)] ?? 0);
}
