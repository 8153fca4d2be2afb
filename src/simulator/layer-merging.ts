/**
 * Takes hidden layers away, one real merge at a time: a merge at the wrong place corrupts what reads through it, here
 * as on a real disk. Every moment can be the last one before a crash; `tidyLayers` goes on from there.
 */
import type { LayerId } from '../domain/ids.ts';
import { type ChainTree, mayContinueMerge, nextChainStep } from '../domain/replica/chain.ts';
import type { Files } from './files.ts';
import type { SimulatedHost } from './host.ts';
import { commitInto, type Image, releaseImage } from './image.ts';
import {
  branchImagesOver,
  childLayers,
  listedPoints,
  type ReplicaFolder,
  requireLayer,
  requireSound,
  type StoredLayer,
} from './replica-folder.ts';

export type Merging = {
  readonly host: SimulatedHost;
  readonly files: Files;
  readonly folder: ReplicaFolder;
  /** Where faults can strike. */
  readonly moment: (name: string) => Promise<void>;
};

/**
 * Merges and removes until nothing more can go safely. A layer that somebody changed is merged nowhere: `replica-drifted` is thrown
 * once everything else is done. Throws `target-full`.
 */
export async function tidyLayers(merging: Merging): Promise<void> {
  const { folder } = merging;
  const drifted = new Map<LayerId, unknown>();
  for (;;) {
    const tree = chainTree(merging);
    if (folder.merging !== null) {
      if (!mayContinueMerge(tree, folder.merging)) break;
      await finishMerge(merging, folder.merging);
      continue;
    }
    const step = nextChainStep({ ...tree, openTops: [...tree.openTops, ...drifted.keys()] });
    if (step === null) break;
    if (step.type === 'remove') {
      removeLayerFile(merging.files, folder, step.layerId);
      continue;
    }
    try {
      const pair = [requireLayer(folder, step.intoId), requireLayer(folder, step.layerId)];
      requireSound(merging.files, folder, pair);
    } catch (error) {
      drifted.set(step.layerId, error);
      continue;
    }
    folder.merging = { layerId: step.layerId, intoId: step.intoId };
    await merging.moment('intended');
  }
  for (const error of drifted.values()) throw error;
}

/** The folder as the pure rules see it: partial layers are not part of it, but hold what they lie over. */
function chainTree({ host, folder }: Merging): ChainTree {
  const all = [...folder.layers.values()];
  const branches = [...folder.branches.values()];
  const below = (isArchived: boolean) =>
    branches
      .filter(({ keepUntil }) => (keepUntil !== null) === isArchived)
      .flatMap(({ disks }) => disks.filter(({ image }) => image.backing !== null))
      .map(({ parentId }) => parentId);
  const partialParents = all
    .filter((layer) => !layer.isSealed)
    .flatMap(({ parentId }) => (parentId === null ? [] : [parentId]));
  return {
    layers: all.filter((layer) => layer.isSealed),
    pointTops: listedPoints(folder).flatMap((point) => point.disks.map((disk) => disk.layerId)),
    archiveTops: below(true),
    openTops: [...below(false), ...partialParents, ...readLayers(host, all)],
  };
}

/** Layers that a reading has open, also below an archive. */
function readLayers(host: SimulatedHost, layers: readonly StoredLayer[]): readonly LayerId[] {
  const found: LayerId[] = [];
  for (const reading of host.readings.values()) {
    for (const top of reading.images) {
      for (let image: Image | null = top; image !== null; image = image.backing) {
        found.push(...layers.filter((layer) => layer.image === image).map(({ id }) => id));
      }
    }
  }
  return found;
}

/** Repeatable from its beginning: what is committed twice is the same. */
async function finishMerge(
  merging: Merging,
  { layerId, intoId }: { readonly layerId: LayerId; readonly intoId: LayerId },
): Promise<void> {
  const { folder } = merging;
  const parent = requireLayer(folder, intoId);
  const child = requireLayer(folder, layerId);
  commitInto(parent.image, child.image);
  for (const [index, token] of child.records) parent.records.set(index, token);
  parent.recordedIdentity = parent.image.identity;
  await merging.moment('committed');
  repoint(folder, child, parent);
  await merging.moment('repointed');
  removeLayerFile(merging.files, folder, layerId);
  folder.merging = null;
}

/** Everything that read through the child reads through the parent. */
function repoint(folder: ReplicaFolder, child: StoredLayer, parent: StoredLayer): void {
  for (const layer of childLayers(folder, child.id)) {
    layer.parentId = parent.id;
    layer.image.backing = parent.image;
  }
  for (const branch of branchImagesOver(folder, child.id)) {
    branch.parentId = parent.id;
    // One over an archived branch reads through that.
    if (branch.image.backing === child.image) branch.image.backing = parent.image;
  }
  for (const stored of folder.points.values()) {
    const disks = stored.point.disks.map((disk) =>
      disk.layerId === child.id ? { ...disk, layerId: parent.id } : disk,
    );
    stored.point = { ...stored.point, disks };
  }
}

export function removeLayerFile(files: Files, folder: ReplicaFolder, id: LayerId): void {
  const layer = folder.layers.get(id);
  if (layer === undefined) return;
  folder.layers.delete(id);
  files.delete(layer.image.path);
  releaseImage(layer.image);
}
