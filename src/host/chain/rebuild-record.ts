/**
 * Makes a new replica.json when the old one is lost: from the images themselves, which name what they lie
 * over. No layer is believed to be unchanged: each has to be read again before anything is built on it.
 */
import type { DiskKey, LayerId } from '../../domain/ids.ts';
import { diskKey, layerId } from '../../domain/ids.ts';
import { chainTo } from '../../domain/replica/chain.ts';
import { readBranches } from './branch-file.ts';
import { readImageHeader } from './identity.ts';
import type { ReplicaLayout } from './layout.ts';
import { namesIn, readPoints } from './point-file.ts';
import { type MergeIntent, newRecord, type SealedLayer, writeRecord } from './record.ts';

/** Throws `invalid-file` when a point or branch cannot be read: what it needs cannot be told then. */
export async function rebuildRecord(
  layout: ReplicaLayout,
  { epoch }: { readonly epoch: number },
): Promise<void> {
  const points = await readPoints(layout);
  const branches = await readBranches(layout);
  const pointTops = points.flatMap(({ point }) => point.disks.map(({ layerId }) => layerId));
  const branchTops = branches.flatMap(({ disks }) => disks.map(({ layerId }) => layerId));
  const images = await layersOnDisk(layout);
  // What lies over a layer that is gone cannot be read; its points become findings of their own.
  const found = images.filter(({ id }) => chainTo(images, id)[0]?.parentId === null);
  const needed = new Set(
    [...pointTops, ...branchTops].flatMap((top) => chainTo(found, top).map(({ id }) => id)),
  );
  const layers = found.filter(({ id }) => needed.has(id));
  const name = points.at(-1)?.point.vm.name ?? layout.replicaId;
  await writeRecord(layout, {
    ...newRecord({ id: layout.replicaId, name, epoch }),
    layers,
    merges: possibleMerges(layers, new Set([...pointTops, ...branchTops])),
    promotedBranchId: branches.find(({ state }) => state === 'promoted')?.id ?? null,
  });
}

async function layersOnDisk(layout: ReplicaLayout): Promise<readonly SealedLayer[]> {
  const layers: SealedLayer[] = [];
  for (const folder of await namesIn(layout.layers)) {
    const id = parsedOrNull(layerId, folder);
    if (id === null) continue;
    for (const file of await namesIn(layout.layerFolder(id))) {
      if (!file.endsWith('.qcow2')) continue;
      const disk = parsedOrNull(diskKey, file.slice(0, -'.qcow2'.length));
      const layer = disk === null ? null : await layerOnDisk(layout, { id, disk });
      if (layer !== null) layers.push(layer);
    }
  }
  return layers;
}

async function layerOnDisk(
  layout: ReplicaLayout,
  place: { readonly id: LayerId; readonly disk: DiskKey },
): Promise<SealedLayer | null> {
  const header = await readImageHeader(layout.image(place));
  if (header === null) return null;
  const parentName = header.backingName?.split('/')[1] ?? '';
  return {
    ...place,
    parentId: header.backingName === null ? null : parsedOrNull(layerId, parentName),
    sizeBytes: header.virtualSizeBytes,
    identity: null,
    isDamaged: false,
  };
}

/**
 * A hidden layer with one child may be half merged: nobody knows any more. Merging that child again is right in
 * either case, and afterwards the layer can be compared with its table. Of several in a row any may be the one, so that
 * all are merged; in which order does not matter, because each still hides what is half written below it.
 */
function possibleMerges(
  layers: readonly SealedLayer[],
  tops: ReadonlySet<LayerId>,
): readonly MergeIntent[] {
  return layers.flatMap(({ id, parentId }) => {
    if (parentId === null || tops.has(parentId)) return [];
    const siblings = layers.filter((each) => each.parentId === parentId);
    return siblings.length === 1 ? [{ layerId: id, intoId: parentId }] : [];
  });
}

function parsedOrNull<Id>(parse: (text: string) => Id, text: string): Id | null {
  try {
    return parse(text);
  } catch {
    return null;
  }
}
