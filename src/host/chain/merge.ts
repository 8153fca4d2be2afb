/**
 * One layer going down into its parent, so that dying at any line keeps every point and a repeated command goes
 * on. A merge of layer L into its parent P:
 *
 *   intent recorded → P writable → content of L written into P → children of L put over P → tables merged
 *   → the point of L names P → recorded without L → L removed
 *
 * Until the children are put over P they read L, which hides whatever half of P was written; repeating
 * any of it writes the same again. While the intent stands, P may look anyhow and that is no drift.
 */
import { chmod } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import type { LayerId } from '../../domain/ids.ts';
import { applyChainStep, mayContinueMerge } from '../../domain/replica/chain.ts';
import type { CallOptions } from '../../ports/call.ts';
import { mergeTables } from '../hash-table/layered.ts';
import { writeBranch } from './branch-file.ts';
import type { StoreContext } from './context.ts';
import { checkChains } from './drift.ts';
import { syncFile, syncFolder } from './durable-file.ts';
import { identityOf } from './identity.ts';
import { removeLayerFolder } from './layer-folder.ts';
import {
  backingOfBranch,
  backingOfLayer,
  PARTIAL_MODE,
  type ReplicaLayout,
  SEALED_MODE,
} from './layout.ts';
import { writePoint } from './point-file.ts';
import { type MergeIntent, type ReplicaRecord, type SealedLayer, writeRecord } from './record.ts';
import { loadState, type ReplicaState, treeOf } from './state.ts';

/** Goes on with every recorded merge that nothing stands in the way of. */
export async function finishMerges(
  context: StoreContext,
  layout: ReplicaLayout,
  options: CallOptions,
): Promise<void> {
  for (;;) {
    const state = await loadState(layout);
    const tree = treeOf(context, state);
    const merge = state.record.merges.find((each) => mayContinueMerge(tree, each));
    if (merge === undefined) return;
    if (!(await performMerge(context, state, merge, options))) return;
  }
}

/** False: the merge must wait, because someone has the files open. */
export async function beginMerge(
  context: StoreContext,
  state: ReplicaState,
  merge: MergeIntent,
  options: CallOptions,
): Promise<boolean> {
  const { layout } = state;
  const affected = [merge.layerId, ...childrenOf(state, merge.layerId).map(({ id }) => id)];
  await checkChains(layout, state.record, affected);
  const { layerId, intoId } = merge;
  const record = { ...state.record, merges: [...state.record.merges, { layerId, intoId }] };
  await writeRecord(layout, record);
  context.crashPoint('merge: intent recorded');
  return await performMerge(context, { ...state, record }, merge, options);
}

/** False as above. */
async function performMerge(
  context: StoreContext,
  state: ReplicaState,
  merge: MergeIntent,
  options: CallOptions,
): Promise<boolean> {
  try {
    await mergeNow(context, state, merge, options);
    return true;
  } catch (error) {
    if (!(error instanceof UnderstudyError) || error.code !== 'image-in-use') throw error;
    // QEMU's own locks stopped a command before its first write: the layer stays hidden until a later tidy.
    return false;
  }
}

/** Does, or does again, everything of a merge after its intent. */
async function mergeNow(
  context: StoreContext,
  state: ReplicaState,
  merge: MergeIntent,
  options: CallOptions,
): Promise<void> {
  const layer = layerOf(state.record, merge.layerId);
  const into = layerOf(state.record, merge.intoId);
  await commitInto(context, state.layout, { layer, into }, options);
  context.crashPoint('merge: committed');
  const children = await repointChildren(context, state, { layer, into }, options);
  context.crashPoint('merge: children repointed');
  await repointArchives(context, state, { layer, into }, options);
  context.crashPoint('merge: archives repointed');
  await mergeLayerTables(state.layout, { layer, into });
  context.crashPoint('merge: tables merged');
  await renameInPoints(state, merge);
  context.crashPoint('merge: points rewritten');
  await recordMerged(state, { merge, children });
  context.crashPoint('merge: recorded');
  await removeLayerFolder(state.layout, layer.id);
  context.crashPoint('merge: removed');
}

type Merging = { readonly layer: SealedLayer; readonly into: SealedLayer };

async function commitInto(
  context: StoreContext,
  layout: ReplicaLayout,
  { layer, into }: Merging,
  options: CallOptions,
): Promise<void> {
  const target = layout.image(into);
  await chmod(target, PARTIAL_MODE);
  try {
    await context.images.commit(layout.image(layer), options);
  } finally {
    await chmod(target, SEALED_MODE);
  }
  await syncFile(target);
}

async function repointChildren(
  context: StoreContext,
  state: ReplicaState,
  { layer, into }: Merging,
  options: CallOptions,
): Promise<readonly SealedLayer[]> {
  const children = childrenOf(state, layer.id);
  for (const child of children) {
    const path = state.layout.image(child);
    await repointSealed(context, path, backingOfLayer(into.id, layer.disk), options);
  }
  return children;
}

async function repointSealed(
  context: StoreContext,
  path: string,
  backing: string,
  options: CallOptions,
): Promise<void> {
  await chmod(path, PARTIAL_MODE);
  try {
    await context.images.repoint(path, backing, options);
  } finally {
    await chmod(path, SEALED_MODE);
  }
  await syncFile(path);
}

/** Archived branches over the layer; those that an earlier attempt has moved already are over `into`. */
async function repointArchives(
  context: StoreContext,
  { layout, branches }: ReplicaState,
  { layer, into }: Merging,
  options: CallOptions,
): Promise<void> {
  for (const branch of branches) {
    if (!branch.disks.some(({ layerId }) => layerId === layer.id)) continue;
    const disks = [];
    for (const disk of branch.disks) {
      if (disk.layerId !== layer.id) {
        disks.push(disk);
        continue;
      }
      if (branch.overBranchId !== null) {
        // Its image names the archived branch below it, which follows by itself.
        disks.push({ ...disk, layerId: into.id });
        continue;
      }
      const path = layout.branchImage(branch.id, disk.key);
      await repointSealed(context, path, backingOfBranch(into.id, disk.key), options);
      disks.push({ ...disk, layerId: into.id, identity: await identityOf(path) });
    }
    context.crashPoint('merge: archive repointed');
    await writeBranch(layout, { ...branch, disks });
  }
}

async function mergeLayerTables(layout: ReplicaLayout, { layer, into }: Merging): Promise<void> {
  await mergeTables({
    older: layout.table(into),
    newer: layout.table(layer),
    isBase: into.parentId === null,
    path: layout.table(into),
  });
  await syncFolder(layout.layerFolder(into.id));
}

async function renameInPoints(state: ReplicaState, merge: MergeIntent): Promise<void> {
  for (const stored of state.points) {
    if (!stored.point.disks.some(({ layerId }) => layerId === merge.layerId)) continue;
    const disks = stored.point.disks.map((disk) =>
      disk.layerId === merge.layerId ? { ...disk, layerId: merge.intoId } : disk,
    );
    await writePoint(state.layout, { ...stored, point: { ...stored.point, disks } });
  }
}

async function recordMerged(
  { layout, record }: ReplicaState,
  { merge, children }: { readonly merge: MergeIntent; readonly children: readonly SealedLayer[] },
): Promise<void> {
  const merged = layerOf(record, merge.layerId);
  const changed = new Set([merge.intoId, ...children.map(({ id }) => id)]);
  const parents = applyChainStep(
    { layers: record.layers, pointTops: [], archiveTops: [], openTops: [] },
    { type: 'merge', ...merge },
  ).layers;
  const layers: SealedLayer[] = [];
  for (const layer of record.layers) {
    const moved = parents.find(({ id }) => id === layer.id);
    if (moved === undefined) continue;
    // What was never verified is not verified by having been merged.
    const isAccepted = changed.has(layer.id) && layer.identity !== null;
    const identity = isAccepted ? await identityOf(layout.image(layer)) : layer.identity;
    const { sizeBytes } = layer.id === merge.intoId ? merged : layer;
    layers.push({ ...layer, parentId: moved.parentId, sizeBytes, identity });
  }
  await writeRecord(layout, {
    ...record,
    layers,
    merges: record.merges
      .filter(({ layerId }) => layerId !== merge.layerId)
      .map((other) =>
        other.intoId === merge.layerId ? { ...other, intoId: merge.intoId } : other,
      ),
    debris: [...record.debris, merge.layerId],
  });
}

function childrenOf({ record }: ReplicaState, id: LayerId): readonly SealedLayer[] {
  return record.layers.filter(({ parentId }) => parentId === id);
}

function layerOf(record: ReplicaRecord, id: LayerId): SealedLayer {
  const layer = record.layers.find((each) => each.id === id);
  if (layer === undefined) throw new RangeError(`layer ${id} is not recorded`);
  return layer;
}
