/** The VM in production on its working layers, and off them again. */
import { copyFile, rm } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import { type VmId, vmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { AttachRequest } from '../../ports/production-disks.ts';
import { hasCode } from './errors.ts';
import { unlessRefused } from './inspect.ts';
import {
  define,
  type Laid,
  type LayersContext,
  markTools,
  requireLaid,
  requireOff,
} from './layers-context.ts';
import { park as parkVm } from './layers-lay.ts';
import { type LayersRecord, writeLayers } from './layers-record.ts';
import { endServer } from './layers-server.ts';
import { attachedXml } from './layers-xml.ts';
import { redefineMark } from './marks.ts';
import { changeBitmap, readImageHeader } from './marks-offline.ts';
import { dropReplicaMark } from './replica-mark.ts';
import { replicaXml } from './replica-xml.ts';
import { keepTpm, placeTpm, restoreTpm } from './sidecars.ts';

export async function attach(
  context: LayersContext,
  request: AttachRequest,
  options: CallOptions,
): Promise<VmId> {
  const laid = await requireLaid(context, request);
  const { places } = laid;
  if (laid.record.state !== 'laid') {
    if (laid.record.vmId !== null) return laid.record.vmId;
    throw new UnderstudyError('unexpected', { reason: `failback ${places.id} has no VM` });
  }
  if (laid.record.vmId !== null) await requireOff(context, laid.record.vmId, options);
  const settled = await endServer(context, laid, options);
  await setMarks(context, settled, request.mark, options);
  context.crashPoint('attach: marked');
  const nvram = request.sidecars.find(({ name }) => name === 'nvram');
  if (nvram !== undefined) await copyFile(nvram.path, places.nvramPath);
  const { mark, changes } = request;
  const ready = { ...settled, mark, changes, hasNvram: nvram !== undefined };
  const { id, text } = await definitionOf(context, { places, record: ready }, request, options);
  await keepTpm(context, { vmId: id, text, path: places.keptTpmPath }, options);
  await placeTpm(context, { sidecars: request.sidecars, vmId: id, text }, options);
  context.crashPoint('attach: sidecars placed');
  await define(context, text, options);
  await forgetMark(context, id, mark, options);
  await redefineMark(
    markTools(context),
    {
      vmId: id,
      mark,
      disks: ready.layers.map(({ key }) => key),
      createdAtSeconds: Math.floor(context.clock.now() / 1000),
      parent: null,
    },
    options,
  );
  context.crashPoint('attach: defined');
  await writeLayers(places, { ...ready, vmId: id, state: 'attached' });
  return id;
}

/** Whatever marks a layer has are of an attempt that was parked again. */
async function setMarks(
  { processes }: LayersContext,
  { layers }: LayersRecord,
  mark: string,
  options: CallOptions,
): Promise<void> {
  for (const { path, key } of layers) {
    const image = { path, format: 'qcow2', vm: key };
    const { bitmaps } = await readImageHeader(processes, image, options);
    for (const { name } of bitmaps) {
      await changeBitmap(processes, { action: 'remove', path, name, vm: key }, options);
    }
    await changeBitmap(processes, { action: 'add', path, name: mark, vm: key }, options);
  }
}

async function definitionOf(
  context: LayersContext,
  { places, record }: Laid,
  { newVm, replicaId, epoch }: AttachRequest,
  options: CallOptions,
): Promise<{ readonly id: VmId; readonly text: string }> {
  const { layers, changes, hasNvram, originalXml } = record;
  const nvramPath = hasNvram ? places.nvramPath : null;
  const shape = { layers, changes, isMerged: false, nvramPath };
  if (originalXml !== null && record.vmId !== null) {
    return { id: record.vmId, text: attachedXml(originalXml, shape) };
  }
  if (newVm === null) {
    const reason = `Failback ${places.id} has no VM, and none to be made was described`;
    throw new UnderstudyError('invalid-request', { reason });
  }
  const { name, template, networkMap } = newVm;
  const id = await freeIdentity(context, { name, wanted: template.id }, options);
  const text = replicaXml({
    request: {
      key: `${places.id}/attach` as AttachRequest['key'],
      replicaId,
      epoch,
      name,
      source: template,
      vmId: id,
      disks: layers.map(({ key, path }) => ({ key, path, format: 'qcow2' })),
      networkMap,
      connectNics: true,
      sidecars: hasNvram ? [{ name: 'nvram', path: places.nvramPath }] : [],
    },
    vmId: id,
    target: await context.traits(options),
  });
  return { id, text: dropReplicaMark(text) };
}

/** That of the template, unless the host has it already; a definition of an attempt that was cut off is found by its name. */
async function freeIdentity(
  { virsh, ids }: LayersContext,
  { name, wanted }: { readonly name: string; readonly wanted: VmId },
  options: CallOptions,
): Promise<VmId> {
  const list = await virsh.run(['list', '--all', '--uuid', '--name'], options);
  const rows = list.split('\n').filter((line) => line.trim() !== '');
  const namesake = rows.find((line) => line.slice(37) === name);
  if (namesake !== undefined) return vmId(namesake.slice(0, 36));
  return rows.some((line) => line.startsWith(wanted)) ? vmId(ids.uuid()) : wanted;
}

/** The VM is parked again, or gone if `attach` made it. Throws `vm-not-off`. */
export async function park(
  context: LayersContext,
  laid: Laid,
  options: CallOptions,
): Promise<LayersRecord> {
  const { places, record } = laid;
  if (record.state === 'committing' || record.state === 'committed') {
    const reason = `Failback ${places.id} is committed: its layers are part of the VM's disks`;
    throw new UnderstudyError('invalid-request', { reason });
  }
  const { vmId: id, originalXml, mark } = record;
  if (id === null) return record;
  await requireOff(context, id, options);
  await restoreTpm(context, { vmId: id, text: originalXml, path: places.keptTpmPath }, options);
  if (mark !== null) await forgetMark(context, id, mark, options);
  if (originalXml === null) await undefine(context, id, options);
  else await parkVm(context, laid, options);
  context.crashPoint('park: parked');
  await rm(places.nvramPath, { force: true });
  const parked = { ...record, state: 'laid', mark: null, changes: [], hasNvram: false } as const;
  return writeLayers(places, { ...parked, vmId: originalXml === null ? null : id });
}

/** What libvirt believes of it; the bitmaps are in the layers and go with them. */
async function forgetMark(
  { virsh }: LayersContext,
  id: VmId,
  mark: string,
  options: CallOptions,
): Promise<void> {
  await unlessRefused(virsh.run(['checkpoint-delete', '--metadata', '--', id, mark], options));
}

async function undefine({ virsh }: LayersContext, id: VmId, options: CallOptions): Promise<void> {
  const remains = [
    '--managed-save',
    '--keep-nvram',
    '--snapshots-metadata',
    '--checkpoints-metadata',
  ];
  try {
    await virsh.run(['undefine', ...remains, '--', id], options);
  } catch (error) {
    if (!hasCode(error, 'vm-missing')) throw error;
  }
}
