import { isElsewhere } from '../domain/failover/watched-source.ts';
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

/** What production tracks since it took over from a replica: the restore point that the commit makes will name it. */
function markOfSwitchover({ failback }: Replica): MarkName | null {
  const { switched } = failback ?? { switched: null };
  return switched === null ? null : markOfPoint(switched.pointId);
}

/**
 * The marks on a replica's source VM that must survive a sweep: that of its newest point, and those that other replicas
 * of the same VM need, for their newest points; those of points of which nobody knows yet whether they are sealed, of any of
 * these; and that of a failback to this VM which may still be kept.
 */
export async function keptMarks(
  catalog: Catalog,
  replica: Replica,
  newest: RestorePoint | null,
): Promise<readonly MarkName[]> {
  const kept = [markNamedBy(newest), markOfSwitchover(replica)];
  const replicas = (await catalog.replicas()).map(({ value }) => value);
  const running = await catalog.temporaries();
  for (const other of replicas) {
    if (other.phase === 'Removed') continue;
    const isOther = other.id !== replica.id;
    if (isOther && comesHome(other, replica)) kept.push(markOfSwitchover(other));
    if (other.sourceVmId !== replica.sourceVmId) continue;
    if (other.sourceHostId !== replica.sourceHostId) continue;
    if (isOther) kept.push(markNamedBy((await catalog.points(other.id)).at(-1) ?? null));
    for (const { kind, identity } of running) {
      if (kind !== 'partial-point' || identity.replicaId !== other.id) continue;
      kept.push(markName(`us-${identity.pointId}`));
    }
  }
  return kept.filter((mark) => mark !== null);
}

function comesHome({ failback }: Replica, replica: Replica): boolean {
  return failback !== null && !isElsewhere(replica, failback.home);
}
