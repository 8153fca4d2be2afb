/** Branches: writable images over a restore point, which a started replica writes to. */
import { UnderstudyError } from '../domain/error.ts';
import type { BranchId, DiskKey, MarkName, PointId, ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Sidecar } from '../ports/hypervisor.ts';
import type { BranchDisk } from '../ports/replica-store.ts';
import { diskAt } from './files.ts';
import { isImageOpen, type SimulatedHost, type Surroundings } from './host.ts';
import { createImage, heldBytes, type Image, releaseImage } from './image.ts';
import { removeLayerFile } from './layer-merging.ts';
import { discardPartialPoint, type Folder, invalid } from './partial-point.ts';
import {
  type BranchImage,
  chainOf,
  type ReplicaFolder,
  requireBranch,
  requireLayer,
  requirePoint,
  requireSound,
  type StoredBranch,
} from './replica-folder.ts';

export type BranchAnswer = {
  readonly disks: readonly BranchDisk[];
  readonly sidecars: readonly Sidecar[];
};

type At = Omit<Folder, 'newLayerId'>;

export function createBranchOn(
  at: At,
  {
    branchId,
    pointId,
    mark,
  }: { readonly branchId: BranchId; readonly pointId: PointId; readonly mark?: MarkName },
): BranchAnswer {
  const { folder } = at;
  const present = folder.branches.get(branchId);
  if (present !== undefined) {
    if (present.pointId === pointId && present.keepUntil === null) return answer(folder, present);
    throw new UnderstudyError('name-taken', { what: 'branch', name: branchId });
  }
  const { point, sidecars } = requirePoint(folder, pointId);
  for (const disk of point.disks) {
    requireSound(at.around.files, folder, chainOf(folder, disk.layerId));
  }
  const disks = point.disks.map((disk): BranchImage => {
    const { image: backing } = requireLayer(folder, disk.layerId);
    const image = createImage({
      path: `${branchPath(folder, branchId)}/${disk.key}.qcow2`,
      format: 'qcow2',
      sizeBytes: disk.sizeBytes,
      backing,
      room: at.host.storage,
    });
    if (mark !== undefined) image.marks.set(mark, { isOurs: true, dirty: new Set() });
    at.around.files.set(image.path, { type: 'disk', image });
    return { key: disk.key, image, parentId: disk.layerId };
  });
  const branch: StoredBranch = {
    id: branchId,
    pointId,
    mark: mark ?? null,
    disks,
    sidecars,
    keepUntil: null,
  };
  for (const [name, content] of sidecars) {
    at.around.files.set(`${branchPath(folder, branchId)}/${name}`, { type: 'sidecar', content });
  }
  folder.branches.set(branchId, branch);
  return answer(folder, branch);
}

function answer(folder: ReplicaFolder, branch: StoredBranch): BranchAnswer {
  return {
    disks: branch.disks.map(({ key, image }) => ({ key, path: image.path, format: 'qcow2' })),
    sidecars: [...branch.sidecars.keys()].map((name) => ({
      name,
      path: `${branchPath(folder, branch.id)}/${name}`,
    })),
  };
}

function branchPath(folder: ReplicaFolder, id: BranchId): string {
  return `${folder.path}/branches/${id}`;
}

/** Files that never exist. */
export function restingPaths(
  host: SimulatedHost,
  replicaId: ReplicaId,
  disks: readonly DiskKey[],
): readonly BranchDisk[] {
  return disks.map((key) => ({
    key,
    path: `${host.storage.path}/${replicaId}/branches/none/${key}.qcow2`,
    format: 'qcow2',
  }));
}

/** The files move away from where a VM's definition may still point. */
export function archiveBranchUntil(at: At, id: BranchId, keepUntil: Instant): void {
  const branch = requireBranch(at.folder, id);
  if (branch.keepUntil !== null) return;
  requireUnused(at, branch);
  branch.keepUntil = keepUntil;
  for (const { key, image } of branch.disks) {
    moveFile(at.around, image, `${at.folder.path}/archives/${id}/${key}.qcow2`);
  }
}

function moveFile({ files }: Surroundings, image: Image, path: string): void {
  files.delete(image.path);
  image.path = path;
  files.set(path, { type: 'disk', image });
}

export function deleteBranchFiles(at: At, id: BranchId): void {
  const branch = at.folder.branches.get(id);
  if (branch === undefined) return;
  requireUnused(at, branch);
  at.folder.branches.delete(id);
  for (const { image } of branch.disks) {
    at.around.files.delete(image.path);
    releaseImage(image);
  }
  for (const name of branch.sidecars.keys()) {
    at.around.files.delete(`${branchPath(at.folder, id)}/${name}`);
  }
}

/** Throws `disk-in-use` while a VM or a reading has a disk of the branch open. */
export function requireUnused({ host, folder }: At, branch: StoredBranch): void {
  for (const { key, image } of branch.disks) {
    if (!isImageOpen(host, image)) continue;
    const reason = `branch ${branch.id} is open`;
    throw new UnderstudyError('disk-in-use', { disk: key, vm: folder.name, reason });
  }
}

export function branchHeldBytes(folder: ReplicaFolder, id: BranchId): number {
  return requireBranch(folder, id).disks.reduce((sum, { image }) => sum + heldBytes(image), 0);
}

/** Everything but the branch goes. A branch that still reads through a layer is refused. */
export function promoteBranchOf(at: At, id: BranchId): void {
  const { folder, around } = at;
  const branch = requireBranch(folder, id);
  const dependent = branch.disks.find(({ image }) => image.backing !== null);
  if (dependent !== undefined) {
    throw invalid(`disk ${dependent.key} of branch ${id} still reads through its restore point`);
  }
  for (const other of [...folder.branches.keys()]) if (other !== id) deleteBranchFiles(at, other);
  folder.points.clear();
  removePartialsAndLayers(at);
  folder.merging = null;
  for (const { image } of branch.disks) requireThere(around, image);
}

export function removePartialsAndLayers(at: At): void {
  const { folder, around } = at;
  const newLayerId = (): never => {
    throw new Error('no layer is made while a replica is taken apart');
  };
  for (const id of [...folder.partials.keys()]) discardPartialPoint({ ...at, newLayerId }, id);
  for (const id of [...folder.layers.keys()]) removeLayerFile(around.files, folder, id);
}

function requireThere({ files }: Surroundings, image: Image): void {
  if (diskAt(files, image.path) === image) return;
  throw new UnderstudyError('invalid-file', { path: image.path, reason: 'it is missing' });
}
