/**
 * From a partial point to a restore point. In this order, so that dying between any two lines leaves either
 * a partial that can be sealed again, or the point:
 *
 *   server gone → same kernel as when they were opened → layer files durable → hash tables durable → layers hold what the tables say
 *   → layers read-only and recorded → state files beside the point → points/<id>.json renamed into place = the point exists
 */
import { chmod, rm } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import type { PointDisk, RestorePoint } from '../../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Sidecar } from '../../ports/hypervisor.ts';
import type { StoreCommand, UnsealedPoint } from '../../ports/replica-store.ts';
import { sealTable } from '../hash-table/seal-table.ts';
import { pointRoot } from '../hash-table/tree.ts';
import { admit, layoutOf, type StoreContext, sessionName } from './context.ts';
import { checkChains } from './drift.ts';
import { copyDurably, syncFile, syncFolder } from './durable-file.ts';
import { isNoSpace } from './errors.ts';
import { identityOf, imageProblem, readImageHeader } from './identity.ts';
import { requireContent } from './image-content.ts';
import {
  backingOfLayer,
  type LayerPlace,
  type ReplicaLayout,
  SEALED_MODE,
  SIDECAR_MODE,
} from './layout.ts';
import { writePoint } from './point-file.ts';
import {
  type PartialPoint,
  type RecordedLayer,
  type ReplicaRecord,
  requireRecord,
  type SealedLayer,
  writeRecord,
} from './record.ts';
import { isSeeded, sealSeededTable } from './seeds.ts';
import { chainOf, loadState } from './state.ts';

type SealCommand = StoreCommand & {
  readonly point: UnsealedPoint;
  readonly sidecars: readonly Sidecar[];
};

export async function sealPartial(
  context: StoreContext,
  command: SealCommand,
  options: CallOptions,
): Promise<RestorePoint> {
  const layout = layoutOf(context, command.replicaId);
  await admit(layout, command);
  const { record, points } = await loadState(layout);
  const existing = points.find(({ point }) => point.id === command.point.id);
  if (existing !== undefined) {
    const sealed = existing.point.disks.map(({ key, layerId }) => ({ id: layerId, disk: key }));
    await removeSpools(layout, sealed);
    return existing.point;
  }
  const partial = partialOf(record, command);
  requireSameBoot(partial, await context.bootId());
  await context.server.stop(sessionName.ofPartial(layout.replicaId, partial.pointId), options);
  context.crashPoint('seal: server gone');
  const parents = partial.layers.flatMap(({ parentId }) => (parentId === null ? [] : [parentId]));
  await checkChains(layout, record, parents);
  const sealed = await Promise.all(partial.layers.map((layer) => sealLayer(layout, record, layer)));
  context.crashPoint('seal: layers durable');
  await recordLayers(layout, record, sealed);
  context.crashPoint('seal: layers recorded');
  const point = completePoint(command, sealed);
  await publish(context, layout, { point, sidecars: command.sidecars });
  await forgetPartial(layout, point.id);
  await removeSpools(layout, partial.layers);
  return point;
}

type StageCommand = StoreCommand & {
  readonly pointId: RestorePoint['id'];
  readonly sidecars: readonly Sidecar[];
};

/** They get the place that they will have: until the point's file is there, nobody reads them. Throws `point-missing`. */
export async function stageSidecars(
  context: StoreContext,
  command: StageCommand,
): Promise<readonly Sidecar[]> {
  const { replicaId, pointId, sidecars } = command;
  const layout = layoutOf(context, replicaId);
  await admit(layout, command);
  const { record, points } = await loadState(layout);
  const staged = sidecars.map(({ name }) => ({ name, path: layout.pointSidecar(pointId, name) }));
  if (points.some(({ point }) => point.id === pointId)) return staged;
  if (!record.partials.some((partial) => partial.pointId === pointId)) {
    throw new UnderstudyError('point-missing', { replica: replicaId, point: pointId });
  }
  for (const { name, path } of sidecars) {
    await copyDurably(path, layout.pointSidecar(pointId, name), SIDECAR_MODE);
  }
  context.crashPoint('stage: sidecars copied');
  return staged;
}

/** Throws `point-missing`, `invalid-request`. */
function partialOf(record: ReplicaRecord, command: SealCommand): PartialPoint {
  const { replicaId, point } = command;
  const partial = record.partials.find(({ pointId }) => pointId === point.id);
  if (partial === undefined) {
    throw new UnderstudyError('point-missing', { replica: replicaId, point: point.id });
  }
  const opened = partial.layers.map(({ disk, sizeBytes }) => `${disk} of ${sizeBytes} bytes`);
  const given = point.disks.map(({ key, sizeBytes }) => `${key} of ${sizeBytes} bytes`);
  if (opened.toSorted().join() === given.toSorted().join()) return partial;
  const reason = `Point ${point.id} has other disks than were opened: ${given.join()}`;
  throw new UnderstudyError('invalid-request', { reason });
}

/** What was written under another kernel was never flushed. Throws `verification-failed`; the next run makes it anew. */
function requireSameBoot({ bootId, pointId }: PartialPoint, now: string): void {
  if (bootId === null || bootId === now) return;
  const what = `Partial point ${pointId}`;
  const reason = 'the host was started anew before it was sealed, and it was not flushed yet';
  throw new UnderstudyError('verification-failed', { what, reason });
}

type SealedWithRoot = SealedLayer & { readonly rootHash: string };

async function sealLayer(
  layout: ReplicaLayout,
  record: ReplicaRecord,
  layer: RecordedLayer,
): Promise<SealedWithRoot> {
  const path = layout.image(layer);
  await requirePlanned(layout, layer);
  const below = layer.parentId === null ? [] : chainOf(record, layer.parentId);
  const table = {
    recordsPath: layout.records(layer),
    below: below.map((each) => layout.table(each)),
    virtualSizeBytes: layer.sizeBytes,
    path: layout.table(layer),
  };
  const isOverSeed = await isSeeded(layout, layer);
  const [rootHash] = await Promise.all([
    isOverSeed ? sealSeededTable(layout, layer) : sealTable(table),
    syncFile(path),
  ]);
  // The server may have been killed, and then nobody saw whether its last write came through.
  await requireContent({ what: nameOf(layer), path, tables: [layout.table(layer)] });
  await chmod(path, SEALED_MODE);
  await syncFolder(layout.layerFolder(layer.id));
  return { ...layer, identity: await identityOf(path), isDamaged: false, rootHash };
}

/** The image is the one that was opened. Throws `verification-failed`. */
async function requirePlanned(layout: ReplicaLayout, layer: RecordedLayer): Promise<void> {
  const { disk, parentId, sizeBytes } = layer;
  const backingNames = [parentId === null ? null : backingOfLayer(parentId, disk)];
  const expected = { path: layout.image(layer), identity: undefined, backingNames };
  const problem = await imageProblem(expected);
  const size = (await readImageHeader(expected.path))?.virtualSizeBytes;
  const reason =
    problem?.reason ??
    (size === sizeBytes ? null : `it is a disk of ${size}, not ${sizeBytes} bytes`);
  if (reason === null) return;
  throw new UnderstudyError('verification-failed', { what: nameOf(layer), reason });
}

function nameOf({ id, disk }: RecordedLayer): string {
  return `The new layer ${id}/${disk}.qcow2`;
}

/** The partial stays in the record: only the point's file says that it is one no more. */
async function recordLayers(
  layout: ReplicaLayout,
  record: ReplicaRecord,
  sealed: readonly SealedWithRoot[],
): Promise<void> {
  const ids = new Set(sealed.map(({ id }) => id));
  const others = record.layers.filter(({ id }) => !ids.has(id));
  const layers = sealed.map(({ rootHash: _, ...layer }) => layer);
  await writeRecord(layout, { ...record, layers: [...others, ...layers] });
}

function completePoint(command: SealCommand, sealed: readonly SealedWithRoot[]): RestorePoint {
  const disks = command.point.disks.map((disk): PointDisk => {
    const layer = sealed.find((each) => each.disk === disk.key);
    if (layer === undefined) throw new RangeError(`disk ${disk.key} was not sealed`);
    return { ...disk, layerId: layer.id, rootHash: layer.rootHash };
  });
  return { ...command.point, replicaId: command.replicaId, disks, rootHash: pointRoot(disks) };
}

async function publish(
  context: StoreContext,
  layout: ReplicaLayout,
  { point, sidecars }: { readonly point: RestorePoint; readonly sidecars: readonly Sidecar[] },
): Promise<void> {
  for (const { name, path } of sidecars) {
    await copyDurably(path, layout.pointSidecar(point.id, name), SIDECAR_MODE);
  }
  context.crashPoint('seal: sidecars copied');
  await writePoint(layout, { point, sidecars: sidecars.map(({ name }) => name) });
  context.crashPoint('seal: published');
}

/** From here on retiring the point needs no write before. Where there is no room for this one, the point's file says enough. */
async function forgetPartial(layout: ReplicaLayout, id: RestorePoint['id']): Promise<void> {
  const record = await requireRecord(layout);
  const partials = record.partials.filter(({ pointId }) => pointId !== id);
  await writeRecord(layout, { ...record, partials }).catch((error: unknown) => {
    if (!isNoSpace(error)) throw error;
  });
}

/** Only needed to seal again. Sealing again, or `tidy`, removes what a crash leaves. */
async function removeSpools(layout: ReplicaLayout, layers: readonly LayerPlace[]): Promise<void> {
  for (const layer of layers) {
    for (const path of layout.spools(layer)) await rm(path, { force: true });
  }
}
