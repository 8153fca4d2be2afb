import { type BranchId, type MarkName, markName, type PointId } from '../domain/ids.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { Catalog } from '../ports/catalog.ts';

/** Ours are known by the prefix; the point's id makes them unique and traceable. */
export function markOfPoint(id: PointId): MarkName {
  return markName(`us-${id}`);
}

/** Set on a branch when it is made: what the replica has written since. */
export function markOfBranch(id: BranchId): MarkName {
  return markName(`us-${id}`);
}

/** The mark that a newest durable point names, on whichever disks track changes. */
export function markNamedBy(point: RestorePoint | null): MarkName | null {
  return point?.disks.find((disk) => disk.mark !== null)?.mark ?? null;
}

/**
 * The marks on a replica's source VM that must survive a sweep: that of its newest point, and those that other replicas
 * of the same VM need, for their newest points or for a run that is under way.
 */
export async function keptMarks(
  catalog: Catalog,
  { id, sourceHostId, sourceVmId }: Replica,
  newest: RestorePoint | null,
): Promise<readonly MarkName[]> {
  const kept = [markNamedBy(newest)];
  const others = (await catalog.replicas()).map(({ value }) => value);
  const running = await catalog.temporaries();
  for (const other of others) {
    if (other.id === id || other.sourceVmId !== sourceVmId) continue;
    if (other.sourceHostId !== sourceHostId || other.phase === 'Removed') continue;
    kept.push(markNamedBy((await catalog.points(other.id)).at(-1) ?? null));
    for (const { kind, identity } of running) {
      if (kind !== 'partial-point' || identity.replicaId !== other.id) continue;
      kept.push(markName(`us-${identity.pointId}`));
    }
  }
  return kept.filter((mark) => mark !== null);
}
