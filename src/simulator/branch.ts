/** Branches: writable images over a restore point, which a started replica writes to. */
import { BLOCK_BYTES } from '../domain/bytes.ts';
import { UnderstudyError } from '../domain/error.ts';
import type { BranchId, DiskKey, MarkName, PointId, ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { Sidecar } from '../ports/hypervisor.ts';
import type {
  BranchDisk,
  BranchWrites,
  StoredBranch as ListedBranch,
} from '../ports/replica-store.ts';
import { diskAt, sidecarAt } from './files.ts';
import { isImageOpen, type SimulatedHost, type Surroundings } from './host.ts';
import { blockBytes, createImage, heldBytes, type Image, releaseImage } from './image.ts';
import { removeLayerFile } from './layer-merging.ts';
import { discardPartialPoint, type Folder, invalid } from './partial-point.ts';
import {
  type BranchImage,
  chainOf,
  type ReplicaFolder,
  requireAllThere,
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
  { branchId, pointId, archiveId = null, acceptsDrift = false, mark, about = null }: BranchOrder,
): BranchAnswer {
  const { folder } = at;
  const present = folder.branches.get(branchId);
  if (present !== undefined) {
    const isSame = present.pointId === pointId && present.overBranchId === archiveId;
    if (isSame && present.keepUntil === null) return answer(folder, present);
    throw new UnderstudyError('name-taken', { what: 'branch', name: branchId });
  }
  const base =
    archiveId === null ? pointBase(folder, pointId) : archiveBase(folder, pointId, archiveId);
  for (const { parentId } of base.disks) {
    const chain = chainOf(folder, parentId);
    if (acceptsDrift) requireAllThere(at.around.files, folder, chain);
    else requireSound(at.around.files, folder, chain);
  }
  const disks = base.disks.map(({ key, image: backing, parentId }): BranchImage => {
    const image = createImage({
      path: `${branchPath(folder, branchId)}/${key}.qcow2`,
      format: 'qcow2',
      sizeBytes: backing.sizeBytes,
      backing,
      room: at.host.storage,
    });
    const before = changedBelow(base, backing);
    if (mark !== undefined && before !== null) {
      image.marks.set(mark, { isOurs: true, dirty: new Set(before) });
    }
    at.around.files.set(image.path, { type: 'disk', image });
    return { key, image, parentId };
  });
  const { sidecars } = base;
  const made = { id: branchId, mark: mark ?? null, keepUntil: null, isPromoted: false, about };
  const branch: StoredBranch = { ...base, ...made, disks };
  for (const [name, content] of sidecars) {
    at.around.files.set(`${branchPath(folder, branchId)}/${name}`, { type: 'sidecar', content });
  }
  folder.branches.set(branchId, branch);
  return answer(folder, branch);
}

type BranchOrder = {
  readonly branchId: BranchId;
  readonly pointId: PointId;
  readonly archiveId?: BranchId | null;
  readonly acceptsDrift?: boolean;
  readonly mark?: MarkName;
  readonly about?: Json;
};

/** `mark`: that of the archive. */
type Base = Omit<StoredBranch, 'id' | 'keepUntil' | 'isPromoted' | 'about'>;

/** What an archived branch between the new one and its point has written; null: nobody knows any more. */
function changedBelow({ overBranchId, mark }: Base, below: Image): Iterable<number> | null {
  if (overBranchId === null) return [];
  return mark === null ? null : (below.marks.get(mark)?.dirty ?? null);
}

function pointBase(folder: ReplicaFolder, pointId: PointId): Base {
  const { point, sidecars } = requirePoint(folder, pointId);
  const { takenAt, vm } = point;
  const disks = point.disks.map(({ key, layerId }) => ({
    key,
    image: requireLayer(folder, layerId).image,
    parentId: layerId,
  }));
  return { pointId, mark: null, overBranchId: null, takenAt, vm, sidecars, disks };
}

function archiveBase(folder: ReplicaFolder, pointId: PointId, id: BranchId): Base {
  const archive = requireBranch(folder, id);
  if (archive.keepUntil === null || archive.pointId !== pointId) {
    throw invalid(`branch ${id} is no archived branch of restore point ${pointId}`);
  }
  const { mark, takenAt, vm, sidecars, disks } = archive;
  return { pointId, mark, overBranchId: id, takenAt, vm, sidecars, disks };
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
export function keepSidecarsOf(
  { folder, around }: At,
  id: BranchId,
  sidecars: readonly Sidecar[],
): void {
  const branch = requireBranch(folder, id);
  if (branch.keepUntil !== null) return;
  const kept = new Map(branch.sidecars);
  for (const { name, path } of sidecars) {
    const content = sidecarAt(around.files, path);
    kept.set(name, content);
    around.files.set(`${branchPath(folder, id)}/${name}`, { type: 'sidecar', content });
  }
  folder.branches.set(id, { ...branch, sidecars: kept });
}

export function archiveBranchUntil(at: At, id: BranchId, keepUntil: Instant): void {
  const branch = requireBranch(at.folder, id);
  const isArchived = branch.keepUntil !== null;
  if (!isArchived) requireUnused(at, branch);
  branch.keepUntil = keepUntil;
  if (isArchived) return;
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
  requireNoneOver(at.folder, id);
  at.folder.branches.delete(id);
  for (const { image } of branch.disks) {
    at.around.files.delete(image.path);
    releaseImage(image);
  }
  for (const name of branch.sidecars.keys()) {
    at.around.files.delete(`${branchPath(at.folder, id)}/${name}`);
  }
}

/** Throws `branch-needed`. */
function requireNoneOver({ id: replica, branches }: ReplicaFolder, id: BranchId): void {
  const over = [...branches.values()].find(
    ({ overBranchId, isPromoted }) => overBranchId === id && !isPromoted,
  );
  if (over === undefined) return;
  throw new UnderstudyError('branch-needed', { replica, branch: id, over: over.id });
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
  branch.isPromoted = true;
  for (const other of newestFirst(folder)) if (other !== id) deleteBranchFiles(at, other);
  folder.points.clear();
  removePartialsAndLayers(at);
  folder.merging = null;
  for (const { image } of branch.disks) requireThere(around, image);
}

/** What lies over another goes before it. */
export function newestFirst({ branches }: ReplicaFolder): readonly BranchId[] {
  return [...branches.keys()].reverse();
}

/** Images without the mark are left out. */
export function isUnwrittenSince(folder: ReplicaFolder, id: BranchId, mark: MarkName): boolean {
  const marks = requireBranch(folder, id).disks.flatMap(({ image }) => image.marks.get(mark) ?? []);
  return marks.length > 0 && marks.every(({ dirty }) => dirty.size === 0);
}

/** What the branch's own images hold, block by block. */
export function branchWritesOf(folder: ReplicaFolder, id: BranchId): readonly BranchWrites[] {
  return requireBranch(folder, id).disks.map(({ key, image }) => {
    const ranges: { offset: number; length: number; isZero: boolean }[] = [];
    for (const [index, token] of [...image.blocks].sort(([a], [b]) => a - b)) {
      const [offset, length] = [index * BLOCK_BYTES, blockBytes(image.sizeBytes, index)];
      const isZero = token === 0;
      const last = ranges.at(-1);
      if (last !== undefined && last.isZero === isZero && last.offset + last.length === offset) {
        last.length += length;
      } else ranges.push({ offset, length, isZero });
    }
    const sum = (wanted: boolean) =>
      ranges.reduce((bytes, { length, isZero }) => bytes + (isZero === wanted ? length : 0), 0);
    const { sizeBytes } = image;
    const bytes = { writtenBytes: sum(false), zeroedBytes: sum(true) };
    return { key, sizeBytes, ...bytes, rangeCount: ranges.length, ranges };
  });
}

export function listedBranches(folder: ReplicaFolder): readonly ListedBranch[] {
  return [...folder.branches.values()].map((branch) => ({
    id: branch.id,
    pointId: branch.pointId,
    overBranchId: branch.overBranchId,
    takenAt: branch.takenAt,
    vm: branch.vm,
    state: branch.isPromoted ? 'promoted' : branch.keepUntil === null ? 'active' : 'archived',
    keepUntil: branch.keepUntil,
    about: branch.about,
    disks: branch.disks.map(({ key, image }) => ({
      key,
      path: image.path,
      sizeBytes: image.sizeBytes,
    })),
  }));
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
