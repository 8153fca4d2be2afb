/**
 * In which blocks two points may differ, from hash tables alone: what the layers hold that only one of them stands on.
 *
 *   base ◀── a ◀── b ◀── c     from c to e: what b, c, d and e hold; a and the base are common to both
 *            ▲
 *            └── d ◀── e
 *
 * Two layers may have written the same into a block, so it is a superset.
 */
import { addBlocks, allBlocks, type BlockSet, noBlocks } from '../../domain/disk/block-set.ts';
import { UnderstudyError } from '../../domain/error.ts';
import type { DiskKey, PointId, ReplicaId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import { openHashTable } from '../hash-table/reader.ts';
import { blockIndexAt, RECORD_BYTES } from '../hash-table/record.ts';
import { layoutOf, type StoreContext } from './context.ts';
import { throwIfCancelled } from './errors.ts';
import type { ReplicaLayout } from './layout.ts';
import { type ReplicaRecord, requireRecord, type SealedLayer } from './record.ts';
import { chainOf, loadPoint } from './state.ts';

type DifferingRequest = {
  readonly replicaId: ReplicaId;
  readonly fromPointId: PointId;
  readonly toPointId: PointId;
};

export async function differingBlocks(
  context: StoreContext,
  { replicaId, fromPointId, toPointId }: DifferingRequest,
  { signal }: CallOptions,
): Promise<readonly { readonly key: DiskKey; readonly blocks: BlockSet }[]> {
  const layout = layoutOf(context, replicaId);
  const record = await requireRecord(layout);
  const from = await disksOf(layout, record, fromPointId);
  const to = await disksOf(layout, record, toPointId);
  const differing: { key: DiskKey; blocks: BlockSet }[] = [];
  for (const { key, layerId, sizeBytes } of from) {
    const other = to.find((disk) => disk.key === key);
    if (other === undefined) continue;
    throwIfCancelled(signal);
    const largerBytes = Math.max(sizeBytes, other.sizeBytes);
    const apart = layersApart(chainOf(record, layerId), chainOf(record, other.layerId));
    const blocks =
      apart === null ? allBlocks(largerBytes) : await blocksHeld(layout, apart, largerBytes);
    differing.push({ key, blocks });
  }
  return differing;
}

async function disksOf(layout: ReplicaLayout, record: ReplicaRecord, id: PointId) {
  const stored = await loadPoint(layout, record, id);
  if (stored !== null) return stored.point.disks;
  throw new UnderstudyError('point-missing', { replica: layout.replicaId, point: id });
}

/** What is in one chain and not in the other; null when they have nothing in common. */
function layersApart(
  one: readonly SealedLayer[],
  two: readonly SealedLayer[],
): readonly SealedLayer[] | null {
  if (one[0]?.id !== two[0]?.id) return null;
  const isCommon = (_: SealedLayer, depth: number) => one[depth]?.id === two[depth]?.id;
  return [one, two].flatMap((chain) => chain.filter((layer, depth) => !isCommon(layer, depth)));
}

/** Where a disk grew, the new part reads as zeros until a layer holds something there. */
async function blocksHeld(
  layout: ReplicaLayout,
  layers: readonly SealedLayer[],
  sizeBytes: number,
): Promise<BlockSet> {
  const blocks = noBlocks(sizeBytes);
  for (const layer of layers) {
    await using table = await openHashTable(layout.table(layer));
    for await (const page of table.pages()) addRecorded(blocks, page);
  }
  return blocks;
}

function addRecorded(blocks: BlockSet, records: Buffer): void {
  for (let at = 0; at < records.length; at += RECORD_BYTES) {
    addBlocks(blocks, { firstBlock: blockIndexAt(records, at), blockCount: 1 });
  }
}
