/** Layers of a point to come: made, found again after a crash, opened for writing, and discarded. */
import { chmod, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { PointId } from '../../domain/ids.ts';
import type { RestorePoint } from '../../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { TransferTarget } from '../../ports/mover.ts';
import type {
  OpenPartialDisk,
  OpenPartialRequest,
  StoreCommand,
} from '../../ports/replica-store.ts';
import { flattenChain } from '../hash-table/layered.ts';
import { isThere } from '../is-there.ts';
import { admit, layoutOf, type StoreContext, sessionName } from './context.ts';
import { checkChains } from './drift.ts';
import { makeFolder, writeOrRemoveFirst } from './durable-file.ts';
import { removeLayerFolder } from './layer-folder.ts';
import {
  backingOfLayer,
  FOLDER_MODE,
  layerIdOf,
  PARTIAL_MODE,
  type ReplicaLayout,
} from './layout.ts';
import { finishMerges } from './merge.ts';
import {
  type PartialPoint,
  type RecordedLayer,
  type ReplicaRecord,
  writeRecord,
} from './record.ts';
import { isSeeded } from './seeds.ts';
import { chainOf, loadState, type ReplicaState } from './state.ts';
import { transferTargets } from './transfer-targets.ts';

export async function openPartial(
  context: StoreContext,
  request: OpenPartialRequest,
  options: CallOptions,
): Promise<readonly OpenPartialDisk[]> {
  const layout = layoutOf(context, request.replicaId);
  const { merges } = await admit(layout, request);
  if (merges.length > 0) await finishMerges(context, layout, options);
  const state = await loadState(layout);
  const partial = plannedPartial(state, request, await context.bootId());
  const parents = partial.layers.flatMap(({ parentId }) => (parentId === null ? [] : [parentId]));
  await checkChains(layout, state.record, parents);
  const record = await registerPartial(context, state, partial, options);
  context.crashPoint('open: registered');
  await Promise.all(partial.layers.map((layer) => makeLayer(context, layout, layer, options)));
  context.crashPoint('open: layers made');
  await requireSeeds(layout, partial, request);
  const wanted = new Set(
    request.disks.flatMap(({ key, wantsKnownHashes }) => (wantsKnownHashes ? [key] : [])),
  );
  const [targets] = await Promise.all([
    targetsOf(context, layout, partial, request, options),
    ...partial.layers
      .filter(({ disk }) => wanted.has(disk))
      .map((layer) => writeKnownHashes(layout, record, layer)),
  ]);
  return partial.layers.map((layer, index) => {
    const target = targets[index];
    if (target === undefined) throw new RangeError(`layer ${layer.id} is no target`);
    return {
      key: layer.disk,
      layerId: layer.id,
      target,
      recordsPath: layout.records(layer),
      knownHashesPath: wanted.has(layer.disk) ? layout.known(layer) : null,
    };
  });
}

/** Throws `parent-not-newest`, `point-missing`, `name-taken`, `invalid-request`. */
function plannedPartial(
  state: ReplicaState,
  request: OpenPartialRequest,
  bootId: string,
): PartialPoint {
  const { pointId, parentPointId } = request;
  if (state.record.promotedBranchId !== null) {
    throw invalidRequest(`Replica ${request.replicaId} became an ordinary VM`);
  }
  if (state.points.some(({ point }) => point.id === pointId)) {
    throw new UnderstudyError('name-taken', { what: 'restore point', name: pointId });
  }
  if (new Set(request.disks.map(({ key }) => key)).size < request.disks.length) {
    throw invalidRequest('A disk is named twice');
  }
  const parent = parentPointId === null ? null : parentPoint(state, request, parentPointId);
  return {
    pointId,
    parentPointId,
    bootId,
    layers: request.disks.map(({ key, sizeBytes, base }) => ({
      id: layerIdOf(pointId, key),
      disk: key,
      parentId: base === 'parent' ? parentLayer(parent, { key, sizeBytes }) : null,
      sizeBytes,
    })),
  };
}

function parentPoint(
  state: ReplicaState,
  { replicaId, mayBranchOff }: OpenPartialRequest,
  id: PointId,
): RestorePoint {
  const newest = state.points.at(-1)?.point;
  if (newest?.id === id) return newest;
  if (mayBranchOff === true) {
    const older = state.points.find(({ point }) => point.id === id);
    if (older !== undefined) return older.point;
    throw new UnderstudyError('point-missing', { replica: replicaId, point: id });
  }
  throw new UnderstudyError('parent-not-newest', {
    replica: state.layout.replicaId,
    point: id,
    newest: newest?.id ?? 'none',
  });
}

function parentLayer(
  parent: RestorePoint | null,
  disk: { readonly key: string; readonly sizeBytes: number },
) {
  const below = parent?.disks.find(({ key }) => key === disk.key);
  if (below === undefined) throw invalidRequest(`Disk ${disk.key} has no older layer to lie over`);
  if (disk.sizeBytes < below.sizeBytes) {
    // A smaller layer would show old content of the larger one again when it is merged.
    throw invalidRequest(`Disk ${disk.key} shrank, so it needs a new base`);
  }
  return below.layerId;
}

function invalidRequest(reason: string): UnderstudyError {
  return new UnderstudyError('invalid-request', { reason });
}

/** Names the layers in the record before any of them exists. One of another plan is thrown away first. */
async function registerPartial(
  context: StoreContext,
  state: ReplicaState,
  partial: PartialPoint,
  options: CallOptions,
): Promise<ReplicaRecord> {
  const { layout, record } = state;
  const known = record.partials.find(({ pointId }) => pointId === partial.pointId);
  const isSame = JSON.stringify(known) === JSON.stringify(partial);
  const ids = new Set(partial.layers.map(({ id }) => id));
  const isUntouched = !record.layers.some(({ id }) => ids.has(id));
  if (isSame && isUntouched) return record;
  let base = record;
  if (known !== undefined && !isSame) {
    base = await dropPartial(context, layout, { record, partial: known }, options);
  }
  const registered = {
    ...base,
    // Layers that were about to be published are written to again.
    layers: base.layers.filter(({ id }) => !ids.has(id)),
    partials: [...base.partials.filter(({ pointId }) => pointId !== partial.pointId), partial],
    debris: base.debris.filter((id) => !ids.has(id)),
  };
  // A folder left from an earlier life under the same name must not be taken for ours.
  if (known === undefined || !isSame) for (const id of ids) await removeLayerFolder(layout, id);
  await writeRecord(layout, registered);
  return registered;
}

async function makeLayer(
  context: StoreContext,
  layout: ReplicaLayout,
  layer: RecordedLayer,
  options: CallOptions,
): Promise<void> {
  await makeFolder(layout.layerFolder(layer.id), FOLDER_MODE);
  const path = layout.image(layer);
  if (await isThere(path)) {
    await chmod(path, PARTIAL_MODE);
    return;
  }
  const { disk, parentId, sizeBytes } = layer;
  const backing = parentId === null ? null : backingOfLayer(parentId, disk);
  await context.images.create({ path, sizeBytes, backing, mode: PARTIAL_MODE }, options);
}

/** A partial that had to be made anew, as after the host was, has lost what was settled. Throws `verification-failed`. */
async function requireSeeds(
  layout: ReplicaLayout,
  { layers }: PartialPoint,
  { disks }: OpenPartialRequest,
): Promise<void> {
  for (const { key, base } of disks) {
    const layer = layers.find(({ disk }) => disk === key);
    if (base !== 'seed' || layer === undefined || (await isSeeded(layout, layer))) continue;
    const reason =
      'the copy is gone: the disk changed its size meanwhile, or the host was restarted';
    throw new UnderstudyError('verification-failed', { what: `The seed of disk ${key}`, reason });
  }
}

function targetsOf(
  context: StoreContext,
  layout: ReplicaLayout,
  { pointId, layers }: PartialPoint,
  { disks }: OpenPartialRequest,
  options: CallOptions,
): Promise<readonly TransferTarget[]> {
  const images = layers.map((layer) => ({
    exportName: layer.disk,
    path: layout.image(layer),
    sizeBytes: layer.sizeBytes,
    isFilled: disks.some(({ key, base }) => key === layer.disk && base === 'none'),
    isFlushedAtEnd: true,
  }));
  const session = sessionName.ofPartial(layout.replicaId, pointId);
  return transferTargets(context, session, images, options);
}

async function writeKnownHashes(
  layout: ReplicaLayout,
  record: ReplicaRecord,
  layer: RecordedLayer,
): Promise<void> {
  const below = layer.parentId === null ? [] : chainOf(record, layer.parentId);
  const seed = (await isSeeded(layout, layer)) ? [layout.seed(layer)] : [];
  await flattenChain({
    chain: [...below.map((each) => layout.table(each)), ...seed],
    virtualSizeBytes: layer.sizeBytes,
    path: layout.known(layer),
  });
}

export async function discardPartial(
  context: StoreContext,
  command: StoreCommand & { readonly pointId: PointId },
  options: CallOptions,
): Promise<RestorePoint | null> {
  const layout = layoutOf(context, command.replicaId);
  await admit(layout, command);
  const { record, points } = await loadState(layout);
  const sealed = points.find(({ point }) => point.id === command.pointId);
  if (sealed !== undefined) return sealed.point;
  const partial = record.partials.find(({ pointId }) => pointId === command.pointId);
  if (partial !== undefined) await dropPartial(context, layout, { record, partial }, options);
  return null;
}

/**
 * Stops serving the partial and removes it. Its layers are debris in the record until their folders are gone. On a full
 * disk they go first: a partial that is recorded and has no files is made anew when it is opened again.
 */
export async function dropPartial(
  context: StoreContext,
  layout: ReplicaLayout,
  { record, partial }: { readonly record: ReplicaRecord; readonly partial: PartialPoint },
  options: CallOptions,
): Promise<ReplicaRecord> {
  await context.server.stop(sessionName.ofPartial(layout.replicaId, partial.pointId), options);
  const ids = partial.layers.map(({ id }) => id);
  const dropped = {
    ...record,
    layers: record.layers.filter(({ id }) => !ids.includes(id)),
    partials: record.partials.filter(({ pointId }) => pointId !== partial.pointId),
    debris: [...record.debris.filter((id) => !ids.includes(id)), ...ids],
  };
  const removeFolders = async () => {
    for (const id of ids) await removeLayerFolder(layout, id);
  };
  await writeOrRemoveFirst(() => writeRecord(layout, dropped), removeFolders);
  context.crashPoint('discard: forgotten');
  await removeFolders();
  await rm(join(layout.points, `${partial.pointId}.json.new`), { force: true });
  for (const name of ['nvram', 'tpm'] as const) {
    await rm(layout.pointSidecar(partial.pointId, name), { force: true });
  }
  return dropped;
}
