/**
 * A replica as its folder says it is, read anew for every command: nothing is remembered between commands
 * that a crash could lose. Where the files disagree after a crash, the rules are: a point exists exactly when its
 * file does, a branch when its folder does, and the record is ahead of both.
 */
import type { LayerId, PointId } from '../../domain/ids.ts';
import { type ChainTree, chainTo } from '../../domain/replica/chain.ts';
import { invalidFile } from '../file-parsing.ts';
import { type BranchFile, readBranches } from './branch-file.ts';
import { type StoreContext, sessionName } from './context.ts';
import type { ReplicaLayout } from './layout.ts';
import { readPoint, readPoints, type StoredPoint } from './point-file.ts';
import { type ReplicaRecord, requireRecord, type SealedLayer } from './record.ts';

export type ReplicaState = {
  readonly layout: ReplicaLayout;
  readonly record: ReplicaRecord;
  /** Oldest first. */
  readonly points: readonly StoredPoint[];
  readonly branches: readonly BranchFile[];
};

/**
 * Everything, or an error: what cannot be read might need any layer, so nothing may be changed beside it.
 * Throws `invalid-file`, `replica-missing`.
 */
export async function loadState(layout: ReplicaLayout): Promise<ReplicaState> {
  const record = await requireRecord(layout);
  const points = await readPoints(layout);
  for (const { point } of points) checkLayersOf(layout, record, point);
  return {
    layout,
    record: withoutPublished(record, new Set(points.map(({ point }) => point.id))),
    points,
    branches: await readBranches(layout),
  };
}

/** One point with its layers checked against the record; null when there is none. Throws `invalid-file`. */
export async function loadPoint(
  layout: ReplicaLayout,
  record: ReplicaRecord,
  id: PointId,
): Promise<StoredPoint | null> {
  const stored = await readPoint(layout, id);
  if (stored !== null) checkLayersOf(layout, record, stored.point);
  return stored;
}

export function checkLayersOf(
  layout: ReplicaLayout,
  record: ReplicaRecord,
  point: StoredPoint['point'],
): void {
  for (const { key, layerId } of point.disks) {
    const layer = record.layers.find(({ id }) => id === layerId);
    if (layer?.disk === key) continue;
    throw invalidFile(
      layout.pointFile(point.id),
      `layer ${layerId} of disk ${key} is not recorded`,
    );
  }
}

/** A partial point whose file appeared is a point, whatever the record had no time to say. */
function withoutPublished(record: ReplicaRecord, points: ReadonlySet<PointId>): ReplicaRecord {
  return { ...record, partials: record.partials.filter(({ pointId }) => !points.has(pointId)) };
}

/** Layers from the base to `top`. */
export function chainOf(record: ReplicaRecord, top: LayerId): readonly SealedLayer[] {
  return chainTo(record.layers, top);
}

/** What stands on what, for the rules of domain/replica/chain.ts. */
export function treeOf(context: StoreContext, state: ReplicaState): ChainTree {
  const { record, points, branches, layout } = state;
  const tops = (branch: BranchFile) => branch.disks.map((disk) => disk.layerId);
  const isAnythingRead =
    context.server.sessions(sessionName.ofReading(layout.replicaId, '')).length > 0;
  return {
    layers: record.layers,
    pointTops: points.flatMap(({ point }) => point.disks.map((disk) => disk.layerId)),
    archiveTops: branches.filter(({ state }) => state === 'archived').flatMap(tops),
    openTops: [
      ...branches.filter(({ state }) => state !== 'archived').flatMap(tops),
      ...record.partials.flatMap(({ layers }) =>
        layers.flatMap(({ id, parentId }) => [id, ...(parentId === null ? [] : [parentId])]),
      ),
      // Readings are short and rare: while there is one, no layer of the replica is merged.
      ...(isAnythingRead ? record.layers.map(({ id }) => id) : []),
    ],
  };
}
