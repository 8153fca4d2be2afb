/**
 * The end of a partial point that nobody goes on with. Its run may have sealed it without hearing so: cancelled, or failed,
 * while the answer was on its way. Then it is a restore point like any other, and is listed.
 */
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { ReplicaStore } from '../ports/replica-store.ts';

type Discarded = {
  readonly catalog: Catalog;
  readonly replica: Replica;
  readonly store: Pick<ReplicaStore, 'discardPartial'>;
};

/** The restore point that it had become, if the catalogue is to list it and does not yet; else null. */
export async function discardPartial(
  { catalog, replica, store }: Discarded,
  command: Parameters<ReplicaStore['discardPartial']>[0],
  options: CallOptions,
): Promise<RestorePoint | null> {
  const sealed = await store.discardPartial(command, options);
  if (sealed === null || isDecidedElsewhere(replica, sealed)) return null;
  const listed = await catalog.points(replica.id);
  return listed.some(({ id }) => id === sealed.id) ? null : sealed;
}

/** Nobody counts the points of a replica that is gone, or of a failback that may still be undone. */
function isDecidedElsewhere({ phase, failback }: Replica, { id }: RestorePoint): boolean {
  return phase === 'Removed' || phase === 'Permanent' || failback?.switched?.pointId === id;
}
