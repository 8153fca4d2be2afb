import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { BranchId, DiskKey, LayerId, PointId, ReplicaId } from '../../domain/ids.ts';
import type { Sidecar } from '../../ports/hypervisor.ts';

/** A layer and the disk that it is of: enough to find its files. */
export type LayerPlace = { readonly id: LayerId; readonly disk: DiskKey };

/** Where the files of one replica are (docs/formats/replica-folder.md). */
export type ReplicaLayout = ReturnType<typeof replicaLayout>;

/** The branch that a replica at rest points at. No branch may have this name, so its files never exist. */
export const RESTING_BRANCH = 'only-in-failover';

/** Others may pass through to the disks (QEMU runs as its own user) but not list what is there. */
export const FOLDER_MODE = 0o711;
export const SEALED_MODE = 0o444;
/** They may hold keys, and no QEMU opens those of a point: a branch has copies of its own. */
export const SIDECAR_MODE = 0o400;
export const PARTIAL_MODE = 0o644;
export const BRANCH_MODE = 0o660;

export function replicaLayout(storageFolder: string, replicaId: ReplicaId) {
  const folder = join(storageFolder, replicaId);
  const layers = join(folder, 'layers');
  const points = join(folder, 'points');
  const branches = join(folder, 'branches');
  const inLayer = (suffix: string) => (layer: LayerPlace) =>
    join(layers, layer.id, `${layer.disk}${suffix}`);
  return {
    replicaId,
    folder,
    layers,
    points,
    branches,
    record: join(folder, 'replica.json'),
    layerFolder: (layerId: LayerId) => join(layers, layerId),
    image: inLayer('.qcow2'),
    table: inLayer('.hash'),
    records: inLayer('.records'),
    known: inLayer('.known'),
    /** Of a layer that began with a seed: what it held then, and what has come over that. */
    seed: inLayer('.seed'),
    overSeed: inLayer('.over-seed'),
    /** Files that only sealing needs. */
    spools: (layer: LayerPlace) =>
      ['.records', '.known', '.seed', '.over-seed'].map((suffix) => inLayer(suffix)(layer)),
    pointFile: (pointId: PointId) => join(points, `${pointId}.json`),
    pointSidecar: (pointId: PointId, name: Sidecar['name']) => join(points, `${pointId}.${name}`),
    branchFolder: (branchId: BranchId) => join(branches, branchId),
    branchFile: (branchId: BranchId) => join(branches, branchId, 'branch.json'),
    branchImage: (branchId: BranchId, disk: DiskKey) => join(branches, branchId, `${disk}.qcow2`),
    restingImage: (disk: DiskKey) => join(branches, RESTING_BRANCH, `${disk}.qcow2`),
    branchSidecar: (branchId: BranchId, name: Sidecar['name']) => join(branches, branchId, name),
    /** Whole-disk tables of points being read. */
    readings: join(folder, 'readings'),
  };
}

/**
 * The same point and disk always give the same layer, so that a repeated command finds what it made. A
 * hash, because joining two names could give one name to two layers.
 */
export function layerIdOf(pointId: PointId, disk: DiskKey): LayerId {
  const hash = createHash('sha256').update(`${pointId}\0${disk}`).digest('hex');
  return `l-${hash.slice(0, 20)}` as LayerId;
}

/** Copies that stand alone, beside the replicas: `<storage>/exports/<export>/<disk>.qcow2`. */
export function exportLayout(storageFolder: string, exportId: string) {
  const exports = join(storageFolder, 'exports');
  const folder = join(exports, exportId);
  const unfinished = join(exports, `.new-${exportId}`);
  return {
    exports,
    folder,
    unfinished,
    about: (of: string) => join(of, 'export.json'),
    image: (of: string, disk: DiskKey) => join(of, `${disk}.qcow2`),
    records: (disk: DiskKey) => join(unfinished, `${disk}.records`),
  };
}

/** What a layer's image says is below it: relative, so that the folder can be moved as a whole. */
export function backingOfLayer(parentId: LayerId, disk: DiskKey): string {
  return `../${parentId}/${disk}.qcow2`;
}

/** One that lies over an archived branch. */
export function backingOfArchive(branchId: BranchId, disk: DiskKey): string {
  return `../${branchId}/${disk}.qcow2`;
}

export function backingOfBranch(layerId: LayerId, disk: DiskKey): string {
  return `../../layers/${layerId}/${disk}.qcow2`;
}
