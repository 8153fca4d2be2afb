import type { MarkName } from '../domain/ids.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { Catalog } from '../ports/catalog.ts';

/** The mark that a newest durable point names, on whichever disks track changes. */
export function markNamedBy(point: RestorePoint | null): MarkName | null {
  return point?.disks.find((disk) => disk.mark !== null)?.mark ?? null;
}

/**
 * The mark that must survive a sweep for one replica: that of its newest point; where it names none (any more), that of
 * another replica of the same VM. With several replicas of a VM the others' marks go: they compare instead.
 */
export async function keptMark(
  catalog: Catalog,
  { id, sourceHostId, sourceVmId }: Replica,
  newest: RestorePoint | null,
): Promise<MarkName | null> {
  const own = markNamedBy(newest);
  if (own !== null) return own;
  for (const { value } of await catalog.replicas()) {
    if (value.id === id || value.sourceVmId !== sourceVmId) continue;
    if (value.sourceHostId !== sourceHostId || value.phase === 'Removed') continue;
    const mark = markNamedBy((await catalog.points(value.id)).at(-1) ?? null);
    if (mark !== null) return mark;
  }
  return null;
}
