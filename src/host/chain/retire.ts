/**
 * Taking points away, and then the layers that only they needed. What may go is decided in
 * domain/replica/chain.ts; here and in merge.ts it is done.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { LayerId, PointId } from '../../domain/ids.ts';
import { nextChainStep } from '../../domain/replica/chain.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { StoreCommand } from '../../ports/replica-store.ts';
import { admit, layoutOf, type StoreContext, sessionName } from './context.ts';
import { writeOrRemoveFirst } from './durable-file.ts';
import { removeLayerFolder } from './layer-folder.ts';
import type { ReplicaLayout } from './layout.ts';
import { beginMerge, finishMerges } from './merge.ts';
import { namesIn, removePoint } from './point-file.ts';
import { writeRecord } from './record.ts';
import { loadState, type ReplicaState, treeOf } from './state.ts';

export async function retirePoint(
  context: StoreContext,
  command: StoreCommand & { readonly pointId: PointId },
  options: CallOptions,
): Promise<void> {
  const layout = layoutOf(context, command.replicaId);
  const { partials } = await admit(layout, command);
  // Loaded strictly first: taking a point away beside one that cannot be read could free its layers.
  const { record } = await loadState(layout);
  // A partial whose point goes at once must be forgotten before, or the point would turn into a partial again.
  if (record.partials.length < partials.length) await writeRecord(layout, record);
  context.crashPoint('retire: admitted');
  await removePoint(layout, command.pointId);
  context.crashPoint('retire: unlisted');
  await tidyChains(context, layout, options);
}

export async function tidy(
  context: StoreContext,
  command: StoreCommand,
  options: CallOptions,
): Promise<void> {
  const layout = layoutOf(context, command.replicaId);
  await admit(layout, command);
  await tidyChains(context, layout, options);
}

/**
 * Finishes what was begun, then does every step that is safe now. A layer that somebody changed is merged nowhere, which would pass
 * its damage off as sound: `replica-drifted` is thrown once everything else is done.
 */
export async function tidyChains(
  context: StoreContext,
  layout: ReplicaLayout,
  options: CallOptions,
): Promise<void> {
  await finishMerges(context, layout, options);
  await sweepDebris(layout);
  await sweepReadings(context, layout);
  const drifted = new Map<LayerId, UnderstudyError>();
  // Each step takes one layer away, or is not tried again, so this ends.
  for (;;) {
    const state = await loadState(layout);
    const pending = state.record.merges.flatMap(({ layerId, intoId }) => [layerId, intoId]);
    const tree = treeOf(context, state);
    const openTops = [...tree.openTops, ...pending, ...drifted.keys()];
    const step = nextChainStep({ ...tree, openTops });
    if (step === null) break;
    if (step.type === 'remove') {
      await removeLayer(context, state, step.layerId);
      continue;
    }
    try {
      if (!(await beginMerge(context, state, step, options))) break;
    } catch (error) {
      if (!isDrift(error)) throw error;
      drifted.set(step.layerId, error);
    }
  }
  for (const error of drifted.values()) throw error;
}

export function isDrift(error: unknown): error is UnderstudyError {
  return error instanceof UnderstudyError && error.code === 'replica-drifted';
}

async function removeLayer(
  context: StoreContext,
  { layout, record }: ReplicaState,
  layerId: LayerId,
): Promise<void> {
  const without = {
    ...record,
    layers: record.layers.filter(({ id }) => id !== layerId),
    debris: [...record.debris, layerId],
  };
  // Nothing reads it, so that it may also be missing while it is still recorded.
  const remove = () => removeLayerFolder(layout, layerId);
  await writeOrRemoveFirst(() => writeRecord(layout, without), remove);
  context.crashPoint('remove: forgotten');
  await remove();
}

/** Folders that the record gave up, and files that only sealing needed. */
async function sweepDebris(layout: ReplicaLayout): Promise<void> {
  const { record } = await loadState(layout);
  for (const id of record.debris) await removeLayerFolder(layout, id);
  if (record.debris.length > 0) await writeRecord(layout, { ...record, debris: [] });
  const partial = new Set(record.partials.flatMap(({ layers }) => layers.map(({ id }) => id)));
  for (const layer of record.layers) {
    if (partial.has(layer.id)) continue;
    for (const path of layout.spools(layer)) await rm(path, { force: true });
  }
  await sweepUnnamed(layout.layers);
  await sweepUnnamed(layout.branches);
}

/** Tables of readings that ended without us. A command's turn begins after their servers were ended. */
async function sweepReadings({ server }: StoreContext, layout: ReplicaLayout): Promise<void> {
  if (server.sessions(sessionName.ofReading(layout.replicaId, '')).length > 0) return;
  await rm(layout.readings, { recursive: true, force: true });
}

/** What was being made or removed when its command died: it never had its name, or has it no more. */
async function sweepUnnamed(folder: string): Promise<void> {
  for (const name of await namesIn(folder)) {
    if (!name.startsWith('.new-') && !name.startsWith('.gone-')) continue;
    await rm(join(folder, name), { recursive: true, force: true });
  }
}
