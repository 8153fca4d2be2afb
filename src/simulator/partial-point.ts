/** A restore point to come: opened for writing, then sealed or discarded. */
import { UnderstudyError } from '../domain/error.ts';
import type { LayerId, PointId } from '../domain/ids.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { Sidecar } from '../ports/hypervisor.ts';
import type {
  OpenPartialDisk,
  OpenPartialRequest,
  StoreCommand,
  UnsealedPoint,
} from '../ports/replica-store.ts';
import { recordsAt, sidecarAt } from './files.ts';
import { diskRoot, pointRoot } from './hashes.ts';
import type { SimulatedHost, Surroundings } from './host.ts';
import {
  allocatedBlocks,
  type Blocks,
  createImage,
  type Image,
  readBlock,
  writeBlock,
} from './image.ts';
import { removeLayerFile } from './layer-merging.ts';
import {
  chainOf,
  completeRecords,
  listedPoints,
  type PartialDisk,
  type PartialPoint,
  type ReplicaFolder,
  requireLayer,
  requirePoint,
  requireSound,
} from './replica-folder.ts';

export type Folder = {
  readonly host: SimulatedHost;
  readonly around: Surroundings;
  readonly folder: ReplicaFolder;
  readonly newLayerId: () => LayerId;
};

export function openPartialPoint(
  at: Folder,
  request: OpenPartialRequest,
): readonly OpenPartialDisk[] {
  const { folder, around } = at;
  requireParent(folder, request);
  for (const disk of request.disks) {
    if (disk.base !== 'parent') continue;
    requireSound(around.files, folder, chainOf(folder, parentLayer(folder, request, disk.key)));
  }
  const present = folder.partials.get(request.pointId);
  if (present !== undefined && canGoOn(present, request)) {
    for (const disk of present.disks) {
      around.endpoints.close(disk.target);
      disk.target = serveLayer(at, request.pointId, disk.key, disk.layerId);
      if (disk.seed !== null)
        disk.knownHashesPath = knownAt(at, request.pointId, disk.key, disk.seed);
    }
    return present.disks;
  }
  if (present !== undefined) discardPartialPoint(at, request.pointId);
  const lost = request.disks.find(({ base }) => base === 'seed');
  if (lost !== undefined) {
    const what = `The seed of disk ${lost.key}`;
    throw new UnderstudyError('verification-failed', { what, reason: 'the copy is gone' });
  }
  const disks = request.disks.map((disk) => openDisk(at, request, disk));
  folder.partials.set(request.pointId, { pointId: request.pointId, request, disks });
  return disks;
}

/** Layers lie over the newest point or over nothing, unless they may branch off. */
function requireParent(folder: ReplicaFolder, request: OpenPartialRequest): void {
  if (folder.points.has(request.pointId)) {
    throw invalid(`restore point ${request.pointId} is already sealed`);
  }
  const newest = listedPoints(folder).at(-1)?.id ?? null;
  if (request.mayBranchOff === true && request.parentPointId !== null) {
    requirePoint(folder, request.parentPointId);
  } else if (request.parentPointId !== newest) {
    throw new UnderstudyError('parent-not-newest', {
      replica: folder.id,
      point: request.parentPointId,
      newest,
    });
  }
}

function parentLayer(folder: ReplicaFolder, request: OpenPartialRequest, key: string): LayerId {
  const parent = request.parentPointId;
  const disk =
    parent === null
      ? undefined
      : requirePoint(folder, parent).point.disks.find((candidate) => candidate.key === key);
  if (disk === undefined) throw invalid(`the parent point has no disk ${key}`);
  return disk.layerId;
}

/**
 * A layer whose known hashes are wanted starts empty, else the records of what it has would be missing; unless they are
 * those of a seed, which are kept.
 */
function canGoOn(present: PartialPoint, request: OpenPartialRequest): boolean {
  const shape = ({ parentPointId, disks }: OpenPartialRequest) =>
    JSON.stringify([
      parentPointId,
      disks.map(({ key, sizeBytes, base }) => [key, sizeBytes, base === 'parent']),
    ]);
  const isReady = request.disks.every(({ key, base, wantsKnownHashes }) => {
    const seed = present.disks.find((disk) => disk.key === key)?.seed ?? null;
    return base === 'seed' ? seed !== null : !wantsKnownHashes;
  });
  return isReady && shape(present.request) === shape(request);
}

function knownAt(
  { folder, around }: Folder,
  pointId: PointId,
  key: string,
  records: Blocks,
): string {
  const path = `${folder.path}/partial/${pointId}/${key}.known`;
  around.files.set(path, { type: 'records', records });
  return path;
}

function openDisk(
  at: Folder,
  request: OpenPartialRequest,
  disk: OpenPartialRequest['disks'][number],
): PartialDisk {
  const { folder, around, host } = at;
  const id = at.newLayerId();
  const parentId = disk.base === 'parent' ? parentLayer(folder, request, disk.key) : null;
  const image = createImage({
    path: `${folder.path}/layers/${id}/${disk.key}.qcow2`,
    format: 'qcow2',
    sizeBytes: disk.sizeBytes,
    backing: parentId === null ? null : requireLayer(folder, parentId).image,
    room: host.storage,
  });
  around.files.set(image.path, { type: 'disk', image });
  folder.layers.set(id, {
    id,
    key: disk.key,
    image,
    parentId,
    isSealed: false,
    records: new Map(),
    recordedIdentity: 0,
    isCorrupt: false,
  });
  const path = `${folder.path}/partial/${request.pointId}/${disk.key}`;
  const knownHashesPath = disk.wantsKnownHashes
    ? knownAt(at, request.pointId, disk.key, completeRecords(folder, parentId))
    : null;
  const target = serveLayer(at, request.pointId, disk.key, id);
  const recordsPath = `${path}.spool`;
  return { key: disk.key, layerId: id, target, recordsPath, knownHashesPath, seed: null };
}

function serveLayer(at: Folder, pointId: PointId, key: string, id: LayerId) {
  const { image } = requireLayer(at.folder, id);
  return serveImage(at, `partial/${at.folder.id}/${pointId}/${key}`, image, true);
}

export function serveImage(
  { around, host }: Pick<Folder, 'around' | 'host'>,
  label: string,
  image: Image,
  isWritable: boolean,
  changed: (metaContext: string) => readonly number[] | null = () => null,
) {
  return around.endpoints.serve(label, {
    hostId: host.id,
    sizeBytes: () => image.sizeBytes,
    read: (index) => readBlock(image, index),
    allocated: () => allocatedBlocks(image),
    changed,
    write: isWritable ? (index, token) => writeBlock(image, index, token) : null,
  });
}

export type SealRequest = StoreCommand & {
  readonly point: UnsealedPoint;
  readonly sidecars: readonly Sidecar[];
};

/** `moment` is between everything being durable and the point being published. */
export async function sealPartialPoint(
  at: Folder,
  { point, sidecars }: SealRequest,
  moment: (name: string) => Promise<void>,
): Promise<RestorePoint> {
  const { folder, around } = at;
  const present = folder.points.get(point.id);
  if (present !== undefined) return present.point;
  const partial = folder.partials.get(point.id);
  if (partial === undefined) {
    throw new UnderstudyError('point-missing', { replica: folder.id, point: point.id });
  }
  const copies = sidecars.map(({ name, path }) => [name, sidecarAt(around.files, path)] as const);
  for (const disk of partial.disks) sealLayer(at, disk);
  await moment('sealed');
  const sealed = completePoint(folder, partial, point);
  folder.points.set(point.id, { point: sealed, sidecars: new Map(copies) });
  folder.partials.delete(point.id);
  removeStaged(at, point.id);
  for (const disk of partial.disks) removeTables(at, disk);
  return sealed;
}

/** Repeatable until the spool is removed, after the point was published. */
function sealLayer({ folder, around }: Folder, disk: PartialDisk): void {
  const layer = requireLayer(folder, disk.layerId);
  const records = new Map([...(disk.seed ?? []), ...recordsAt(around.files, disk.recordsPath)]);
  requireSound(around.files, folder, chainOf(folder, layer.parentId));
  around.endpoints.close(disk.target);
  layer.records = records;
  layer.recordedIdentity = layer.image.identity;
}

function completePoint(
  folder: ReplicaFolder,
  partial: PartialPoint,
  unsealed: UnsealedPoint,
): RestorePoint {
  const disks = unsealed.disks.map((disk) => {
    const layerId = partial.disks.find(({ key }) => key === disk.key)?.layerId;
    if (layerId === undefined) throw invalid(`disk ${disk.key} was never opened`);
    const layer = requireLayer(folder, layerId);
    layer.isSealed = true;
    const rootHash = diskRoot(layer.image.sizeBytes, completeRecords(folder, layerId));
    return { ...disk, layerId, rootHash };
  });
  return { ...structuredClone(unsealed), replicaId: folder.id, disks, rootHash: pointRoot(disks) };
}

export function stageSidecarsOf(
  { folder, around }: Folder,
  pointId: PointId,
  sidecars: readonly Sidecar[],
): readonly Sidecar[] {
  const staged = sidecars.map(({ name }) => ({ name, path: stagedPath(folder, pointId, name) }));
  if (folder.points.has(pointId)) return staged;
  if (!folder.partials.has(pointId)) {
    throw new UnderstudyError('point-missing', { replica: folder.id, point: pointId });
  }
  for (const { name, path } of sidecars) {
    const content = sidecarAt(around.files, path);
    around.files.set(stagedPath(folder, pointId, name), { type: 'sidecar', content });
  }
  return staged;
}

function stagedPath(folder: ReplicaFolder, pointId: PointId, name: Sidecar['name']): string {
  return `${folder.path}/points/${pointId}.${name}`;
}

function removeStaged({ folder, around }: Folder, pointId: PointId): void {
  for (const name of ['nvram', 'tpm'] as const) {
    around.files.delete(stagedPath(folder, pointId, name));
  }
}

export function discardPartialPoint(at: Folder, pointId: PointId): void {
  const partial = at.folder.partials.get(pointId);
  if (partial === undefined) return;
  at.folder.partials.delete(pointId);
  removeStaged(at, pointId);
  for (const disk of partial.disks) {
    at.around.endpoints.close(disk.target);
    removeTables(at, disk);
    removeLayerFile(at.around.files, at.folder, disk.layerId);
  }
}

function removeTables({ around }: Folder, disk: PartialDisk): void {
  around.files.delete(disk.recordsPath);
  if (disk.knownHashesPath !== null) around.files.delete(disk.knownHashesPath);
}

export function invalid(reason: string): UnderstudyError {
  return new UnderstudyError('invalid-request', { reason });
}
