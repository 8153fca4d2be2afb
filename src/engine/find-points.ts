/**
 * Restore points that the target has and the catalogue has not: sealed by a run that never heard so, and gave up. They
 * are complete, so they count; without them the next run would start from a point that is not the newest.
 */
import { apply } from '../domain/replica/phase.ts';
import { comparePoints, type RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { HostViews } from '../ports/host-directory.ts';
import { type ReplicaFacts, savedReplica } from './replica-facts.ts';

/** The facts as they are with those points; all of them are newer than what the catalogue knows. */
export async function findPoints(
  context: OperationContext,
  facts: ReplicaFacts,
  { store }: HostViews,
): Promise<ReplicaFacts> {
  const { replica, version, newest } = facts;
  const found = await context.step<readonly RestorePoint[]>('find-points', {
    do: async ({ signal }) => {
      const there = await store.points(replica.id, { signal });
      return there.filter((point) => newest === null || comparePoints(point, newest) > 0);
    },
    undo: 'nothing',
  });
  const last = found.at(-1);
  if (last === undefined) return facts;
  const known = apply({ ...replica, newestPointId: last.id, seed: null }, 'point-sealed');
  const saved = found.map((point) => ({ type: 'point-saved', point }) as const);
  await context.record('record-found-points', [savedReplica(known, version), ...saved], {
    undo: 'nothing',
  });
  return { replica: known, version: version + 1, newest: last };
}
