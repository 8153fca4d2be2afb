/**
 * What a replica is on its target's disk: layers that name their parents, points that name one layer per disk,
 * branches and partial points over them. Only structure and questions about it; `store.ts` changes it.
 *
 *   base ◀── layer ◀── layer ◀── partial        a point names a layer per disk; a layer that no point
 *              ▲         ▲                      names any more is hidden: kept only because something
 *            branch    point "newest"           reads through it
 */
import { blockCount } from '../domain/bytes.ts';
import { UnderstudyError } from '../domain/error.ts';
import type { BranchId, DiskKey, LayerId, MarkName, PointId, ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Json } from '../domain/operation/operation.ts';
import { comparePoints, type RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { BlockEndpoint } from '../ports/mover.ts';
import type { OpenPartialRequest } from '../ports/replica-store.ts';
import { diskAt, type Files } from './files.ts';
import type { Blocks, Image } from './image.ts';

export type StoredLayer = {
  readonly id: LayerId;
  readonly key: DiskKey;
  readonly image: Image;
  parentId: LayerId | null;
  isSealed: boolean;
  /** The hash table of what the layer itself holds, as it was when it was sealed or merged. */
  records: Blocks;
  /** What the file's identity was when we last wrote to it. */
  recordedIdentity: number;
  /** It was read again after it had drifted, and its content is not what it was. */
  isCorrupt: boolean;
};

export type StoredPoint = {
  point: RestorePoint;
  readonly sidecars: ReadonlyMap<'nvram' | 'tpm', string>;
};

export type PartialPoint = {
  readonly pointId: PointId;
  readonly request: OpenPartialRequest;
  readonly disks: PartialDisk[];
};

export type PartialDisk = {
  readonly key: DiskKey;
  readonly layerId: LayerId;
  target: BlockEndpoint;
  readonly recordsPath: string;
  knownHashesPath: string | null;
  /** What it began with, once that is settled. */
  seed: Blocks | null;
};

export type StoredBranch = {
  readonly id: BranchId;
  readonly pointId: PointId;
  /** Set when it was made: what it has written since. */
  readonly mark: MarkName | null;
  readonly disks: readonly BranchImage[];
  readonly sidecars: ReadonlyMap<'nvram' | 'tpm', string>;
  /** The archived branch that it lies over; null: its point itself. */
  readonly overBranchId: BranchId | null;
  readonly takenAt: Instant;
  readonly vm: VmDescription;
  /** Only of an archived one. */
  keepUntil: Instant | null;
  isPromoted: boolean;
  about: Json;
};

export type BranchImage = { readonly key: DiskKey; readonly image: Image; parentId: LayerId };

export type ReplicaFolder = {
  readonly id: ReplicaId;
  readonly name: string;
  readonly path: string;
  epoch: number;
  about: Json;
  readonly layers: Map<LayerId, StoredLayer>;
  readonly points: Map<PointId, StoredPoint>;
  readonly partials: Map<PointId, PartialPoint>;
  readonly branches: Map<BranchId, StoredBranch>;
  /** A merge that was begun: the child's blocks go into the parent, then the child goes. */
  merging: { readonly layerId: LayerId; readonly intoId: LayerId } | null;
  /** Paths of files that somebody else put there. */
  readonly foreignFiles: Set<string>;
};

/** Oldest first. */
export function listedPoints(folder: ReplicaFolder): readonly RestorePoint[] {
  return [...folder.points.values()].map(({ point }) => point).sort(comparePoints);
}

/** Throws `point-missing`. */
export function requirePoint(folder: ReplicaFolder, id: PointId): StoredPoint {
  const stored = folder.points.get(id);
  if (stored === undefined) {
    throw new UnderstudyError('point-missing', { replica: folder.id, point: id });
  }
  return stored;
}

/** Throws `branch-missing`. */
export function requireBranch(folder: ReplicaFolder, id: BranchId): StoredBranch {
  const branch = folder.branches.get(id);
  if (branch === undefined) {
    throw new UnderstudyError('branch-missing', { replica: folder.id, branch: id });
  }
  return branch;
}

export function requireLayer(folder: ReplicaFolder, id: LayerId): StoredLayer {
  const layer = folder.layers.get(id);
  if (layer === undefined) throw new Error(`the simulated store lost layer ${id}`);
  return layer;
}

/** The layer and everything below it. */
export function chainOf(folder: ReplicaFolder, id: LayerId | null): readonly StoredLayer[] {
  const chain: StoredLayer[] = [];
  for (let at = id; at !== null; ) {
    const layer = requireLayer(folder, at);
    chain.push(layer);
    at = layer.parentId;
  }
  return chain;
}

/** Points that read through the layer. */
export function pointsOver(folder: ReplicaFolder, id: LayerId): readonly PointId[] {
  return listedPoints(folder)
    .filter((point) =>
      point.disks.some((disk) => chainOf(folder, disk.layerId).some((layer) => layer.id === id)),
    )
    .map((point) => point.id);
}

export function childLayers(folder: ReplicaFolder, id: LayerId): readonly StoredLayer[] {
  return [...folder.layers.values()].filter((layer) => layer.parentId === id);
}

export function branchImagesOver(folder: ReplicaFolder, id: LayerId): readonly BranchImage[] {
  return [...folder.branches.values()].flatMap((branch) =>
    branch.disks.filter((disk) => disk.parentId === id && disk.image.backing !== null),
  );
}

/** The hash table of the whole disk as the layer reads, without zero blocks. */
export function completeRecords(folder: ReplicaFolder, id: LayerId | null): Blocks {
  const complete: Blocks = new Map();
  for (const layer of [...chainOf(folder, id)].reverse()) {
    const limit = blockCount(layer.image.sizeBytes);
    for (const index of [...complete.keys()]) if (index >= limit) complete.delete(index);
    for (const [index, token] of layer.records) {
      if (token === 0) complete.delete(index);
      else complete.set(index, token);
    }
  }
  return complete;
}

/** Null when the layer's file is what it was when we last wrote to it; else what is the matter. */
export function driftOf(files: Files, folder: ReplicaFolder, layer: StoredLayer): string | null {
  const { merging } = folder;
  if (merging?.layerId === layer.id || merging?.intoId === layer.id) return null;
  const image = diskAt(files, layer.image.path);
  if (image === null) return `layer ${layer.id} of disk ${layer.key} is missing`;
  if (layer.isCorrupt) return `layer ${layer.id} of disk ${layer.key} has other content`;
  if (image === layer.image && image.identity === layer.recordedIdentity) return null;
  return `layer ${layer.id} of disk ${layer.key} was changed`;
}

/** Whatever they hold. Throws `replica-drifted`. */
export function requireAllThere(
  files: Files,
  folder: ReplicaFolder,
  layers: readonly StoredLayer[],
): void {
  requireSound(
    files,
    folder,
    layers.filter(({ image }) => diskAt(files, image.path) === null),
  );
}

/** Throws `replica-drifted`. */
export function requireSound(
  files: Files,
  folder: ReplicaFolder,
  layers: readonly StoredLayer[],
): void {
  for (const layer of layers) {
    const finding = layer.isSealed ? driftOf(files, folder, layer) : null;
    if (finding !== null) {
      throw new UnderstudyError('replica-drifted', { replica: folder.id, finding });
    }
  }
}
