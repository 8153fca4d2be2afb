/** What a takeover is asked to start from: a restore point, or an archived branch of one that may be gone. */
import { UnderstudyError } from '../../domain/error.ts';
import type { BranchId, PointId } from '../../domain/ids.ts';
import type { ArchivedBranch, Replica } from '../../domain/replica/replica.ts';
import type { RestorePoint } from '../../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { FailoverOrder, Reference } from '../../ports/controller.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { findPoint, resolve } from './references.ts';

type Order = Pick<FailoverOrder, 'point' | 'archive'>;

/** Throws `branch-missing`, `ambiguous-reference`. */
export function findArchive(replica: Replica, reference: Reference): ArchivedBranch {
  const named = replica.archives.map((archive) => ({
    id: archive.branchId,
    name: archive.branchId,
    archive,
  }));
  const missing = () =>
    new UnderstudyError('branch-missing', { replica: replica.name, branch: reference });
  return resolve(named, reference, missing).archive;
}

export async function chosenBasis(
  { catalog }: ControllerPorts,
  replica: Replica,
  { point, archive = null }: Order,
): Promise<{ readonly pointId: PointId; readonly archiveId: BranchId | null }> {
  if (archive !== null) {
    const { pointId, branchId } = findArchive(replica, archive);
    return { pointId, archiveId: branchId };
  }
  const found = findPoint(await catalog.points(replica.id), point, replica);
  return { pointId: found.id, archiveId: null };
}

/** The point as a preview tells it. Of an archive whose point is gone, its host may know the instant. */
export async function pointOfBasis(
  ports: ControllerPorts,
  replica: Replica,
  points: readonly RestorePoint[],
  { point, archive = null }: Order,
  options: CallOptions,
): Promise<Pick<RestorePoint, 'id' | 'takenAt' | 'consistency'>> {
  if (archive === null) return findPoint(points, point, replica);
  const { branchId, pointId, archivedAt } = findArchive(replica, archive);
  const known = points.find(({ id }) => id === pointId);
  if (known !== undefined) return known;
  const { store } = await ports.hosts.ports(replica.targetHostId);
  const stored = (await store.branches(replica.id, options)).find(({ id }) => id === branchId);
  return { id: pointId, takenAt: stored?.takenAt ?? archivedAt, consistency: 'crash' };
}
