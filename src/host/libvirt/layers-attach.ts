/** The VM in production on its working layers. */
import { UnderstudyError } from '../../domain/error.ts';
import { type MarkName, type VmId, vmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { AttachRequest } from '../../ports/production-disks.ts';
import { lines } from './inspect.ts';
import {
  define,
  type Laid,
  type LayersContext,
  markTools,
  requireLaid,
  requireOff,
} from './layers-context.ts';
import { forgetMark } from './layers-park.ts';
import {
  type LaidLayer,
  type LayersPlaces,
  type LayersRecord,
  layersPlaces,
  writeLayers,
} from './layers-record.ts';
import { endServer } from './layers-server.ts';
import { attachedXml } from './layers-xml.ts';
import { redefineMark } from './marks.ts';
import { changeBitmap, readImageHeader } from './marks-offline.ts';
import { dropReplicaMark } from './replica-mark.ts';
import { replicaXml } from './replica-xml.ts';
import { keepTpm, placeTpm, placeVariables } from './sidecars.ts';

export async function attach(
  context: LayersContext,
  request: AttachRequest,
  options: CallOptions,
): Promise<VmId> {
  const laid = await requireLaid(context, request);
  const { places } = laid;
  const { state, vmId: known, startsWithHost } = laid.record;
  const isUnderWay = state === 'laid' || state === 'attaching';
  if (!isUnderWay && known !== null) return known;
  if (known !== null) await requireOff(context, known, options);
  const settled = await endServer(context, laid, options);
  const id = known ?? (await freeIdentity(context, request, options));
  const { mark, changes } = request;
  const nvram = request.sidecars.find(({ name }) => name === 'nvram');
  const attaching = await writeLayers(places, {
    ...settled,
    state: 'attaching',
    vmId: id,
    mark,
    changes,
    hasNvram: nvram !== undefined,
  });
  context.crashPoint('attach: begun');
  await setMarks(context, attaching, mark, options);
  if (nvram !== undefined) await placeVariables(nvram.path, places.nvramPath);
  context.crashPoint('attach: marked');
  const text = await definitionOf(context, { places, record: attaching }, request, options);
  await keepTpm(context, { vmId: id, text, path: places.keptTpmPath }, options);
  await placeTpm(context, { sidecars: request.sidecars, vmId: id, text }, options);
  context.crashPoint('attach: sidecars placed');
  await define(context, text, options);
  context.crashPoint('attach: defined');
  if (startsWithHost) await context.virsh.run(['autostart', '--', id], options);
  await tellOfMark(context, { id, mark, layers: attaching.layers }, options);
  context.crashPoint('attach: told of the mark');
  await writeLayers(places, { ...attaching, state: 'attached' });
  return id;
}

/** A raw disk below cannot take it over when the layer is merged. */
function takesMark({ below }: LaidLayer): boolean {
  return below?.format !== 'raw';
}

async function tellOfMark(
  context: LayersContext,
  {
    id,
    mark,
    layers,
  }: { readonly id: VmId; readonly mark: MarkName; readonly layers: readonly LaidLayer[] },
  options: CallOptions,
): Promise<void> {
  const disks = layers.filter(takesMark).map(({ key }) => key);
  await forgetMark(context, { id, mark }, options);
  if (disks.length === 0) return;
  const createdAtSeconds = Math.floor(context.clock.now() / 1000);
  const marked = { vmId: id, mark, disks, createdAtSeconds, parent: null };
  await redefineMark(markTools(context), marked, options);
}

/** Whatever marks a layer has are of an attempt that was parked again. */
async function setMarks(
  { processes }: LayersContext,
  { layers }: LayersRecord,
  mark: string,
  options: CallOptions,
): Promise<void> {
  for (const layer of layers) {
    const { path, key } = layer;
    const image = { path, format: 'qcow2', vm: key };
    const { bitmaps } = await readImageHeader(processes, image, options);
    for (const { name } of bitmaps) {
      await changeBitmap(processes, { action: 'remove', path, name, vm: key }, options);
    }
    if (!takesMark(layer)) continue;
    await changeBitmap(processes, { action: 'add', path, name: mark, vm: key }, options);
  }
}

async function definitionOf(
  context: LayersContext,
  { places, record }: Laid,
  { newVm, replicaId, epoch, key }: AttachRequest,
  options: CallOptions,
): Promise<string> {
  const { layers, changes, hasNvram, originalXml, vmId: id } = record;
  const nvramPath = hasNvram ? places.nvramPath : null;
  if (originalXml !== null) return attachedXml(originalXml, { layers, changes, nvramPath });
  if (newVm === null || id === null) throw noNewVm(places);
  const { name, template, networkMap } = newVm;
  const request = {
    key,
    replicaId,
    epoch,
    name,
    source: template,
    vmId: id,
    disks: layers.map((layer) => ({ key: layer.key, path: layer.path, format: 'qcow2' as const })),
    networkMap,
    connectNics: true,
    sidecars: nvramPath === null ? [] : [{ name: 'nvram' as const, path: nvramPath }],
  };
  const target = await context.traits(options);
  return dropReplicaMark(replicaXml({ request, vmId: id, target }));
}

/** That of the template, unless the host has it already. Throws `name-taken`. */
async function freeIdentity(
  { virsh, ids, storageFolder }: LayersContext,
  { newVm, failbackId }: AttachRequest,
  options: CallOptions,
): Promise<VmId> {
  if (newVm === null) throw noNewVm(layersPlaces(storageFolder, failbackId));
  const { name, template } = newVm;
  const rows = lines(await virsh.run(['list', '--all', '--uuid', '--name'], options));
  if (rows.some((line) => line.slice(37) === name)) {
    throw new UnderstudyError('name-taken', { what: 'VM', name });
  }
  const isTaken = rows.some((line) => line.startsWith(template.id));
  return isTaken ? vmId(ids.uuid()) : template.id;
}

function noNewVm({ id }: LayersPlaces): UnderstudyError {
  const reason = `Failback ${id} has no VM, and none to be made was described`;
  return new UnderstudyError('invalid-request', { reason });
}
