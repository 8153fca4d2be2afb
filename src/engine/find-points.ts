/**
 * Restore points that the target has and the catalogue has not: sealed by a run that never heard so, and gave up. They
 * are complete, so they count; without them the next run would start from a point that is not the newest.
 */
import type { PointId } from '../domain/ids.ts';
import { apply } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { comparePoints, type RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { HostViews } from '../ports/host-directory.ts';
import { type ReplicaFacts, savedReplica } from './replica-facts.ts';

/** The facts as they are with those points; all of them are newer than what the catalogue knows. */
export async function findPoints(
  context: OperationContext,
  facts: ReplicaFacts,
  { store }: HostViews,
): Promise<ReplicaFacts> {
  const { replica, newest } = facts;
  const found = await context.step<readonly RestorePoint[]>('find-points', {
    do: async ({ signal }) => {
      const there = await store.points(replica.id, { signal });
      return there.filter((point) => newest === null || comparePoints(point, newest) > 0);
    },
    undo: 'nothing',
  });
  if (found.length === 0) return facts;
  const listed = listing(facts, found);
  await context.record('record-found-points', listed.changes, { undo: 'nothing' });
  return listed.facts;
}

export type Listing = { readonly facts: ReplicaFacts; readonly changes: readonly CatalogChange[] };

/** The facts once points that the target has are listed, and what lists them. */
export function listing(facts: ReplicaFacts, found: readonly RestorePoint[]): Listing {
  const { replica, version, newest } = facts;
  const saved = found.map((point) => ({ type: 'point-saved', point }) as const);
  const last = found.toSorted(comparePoints).at(-1);
  if (last === undefined || (newest !== null && comparePoints(last, newest) < 0)) {
    return { facts, changes: saved };
  }
  const known = following({ ...replica, seed: null }, last.id);
  return {
    facts: { ...facts, replica: known, version: version + 1, newest: last },
    changes: [savedReplica(known, version), ...saved],
  };
}

/** A first point that was sealed without the catalogue hearing of it makes the replica ready. */
export function following(replica: Replica, newestPointId: PointId | null): Replica {
  const followed = { ...replica, newestPointId };
  const isReady = replica.phase === 'Pending' && newestPointId !== null;
  return isReady ? apply(followed, 'point-sealed') : followed;
}
