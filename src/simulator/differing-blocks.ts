/** In which blocks two points of a folder may differ: what their layers hold, down to the first that both stand on. */
import { BLOCK_BYTES } from '../domain/bytes.ts';
import { addBlocks, allBlocks, type BlockSet, noBlocks } from '../domain/disk/block-set.ts';
import type { DiskKey, PointId } from '../domain/ids.ts';
import { chainOf, type ReplicaFolder, requirePoint, type StoredLayer } from './replica-folder.ts';

export function differingBlocks(
  folder: ReplicaFolder,
  from: PointId,
  to: PointId,
): readonly { readonly key: DiskKey; readonly blocks: BlockSet }[] {
  const { point: target } = requirePoint(folder, to);
  return requirePoint(folder, from).point.disks.flatMap((disk) => {
    const other = target.disks.find(({ key }) => key === disk.key);
    if (other === undefined) return [];
    const sizeBytes = Math.max(disk.sizeBytes, other.sizeBytes);
    const chains = [chainOf(folder, disk.layerId), chainOf(folder, other.layerId)] as const;
    return [{ key: disk.key, blocks: difference(chains, sizeBytes) }];
  });
}

function difference(
  [one, two]: readonly [readonly StoredLayer[], readonly StoredLayer[]],
  sizeBytes: number,
): BlockSet {
  if (!one.some((layer) => two.includes(layer))) return allBlocks(sizeBytes);
  const blocks = noBlocks(sizeBytes);
  const apart = [...one, ...two].filter((layer) => !(one.includes(layer) && two.includes(layer)));
  for (const { records, image } of apart) {
    for (const firstBlock of records.keys()) addBlocks(blocks, { firstBlock, blockCount: 1 });
    // What a layer does not reach, the larger one reads as zeros or has of its own.
    const firstBlock = Math.floor(image.sizeBytes / BLOCK_BYTES);
    addBlocks(blocks, { firstBlock, blockCount: blocks.blockCount - firstBlock });
  }
  return blocks;
}
