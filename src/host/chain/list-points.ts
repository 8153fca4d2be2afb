import type { RestorePoint } from '../../domain/restore-point/restore-point.ts';
import type { ReplicaLayout } from './layout.ts';
import { readPoints } from './point-file.ts';
import { requireRecord } from './record.ts';
import { checkLayersOf } from './state.ts';

/** More than one command can finish between two reads only if commands take no time at all. */
const ATTEMPTS = 3;

/**
 * Every point, oldest first, while commands may be at work. The record is read first: a merge rewrites the points
 * before it records itself, so points read later only name layers of a record read earlier. Only a point published
 * in between can disagree; reading again settles that. Throws `invalid-file`, `replica-missing`.
 */
export async function listPoints(layout: ReplicaLayout): Promise<readonly RestorePoint[]> {
  for (let attempt = 1; ; attempt += 1) {
    const record = await requireRecord(layout);
    const points = (await readPoints(layout)).map(({ point }) => point);
    try {
      for (const point of points) checkLayersOf(layout, record, point);
      return points;
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    }
  }
}
