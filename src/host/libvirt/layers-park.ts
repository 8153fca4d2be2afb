/** A VM whose disks are elsewhere: it cannot be started, by hand or with its host, until it is attached or dropped. */
import { rm } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import { hasCode } from './errors.ts';
import { readFlags, unlessRefused } from './inspect.ts';
import { define, type Laid, type LayersContext, requireOff } from './layers-context.ts';
import { type LayersRecord, writeLayers } from './layers-record.ts';
import { parkedXml } from './layers-xml.ts';
import { restoreTpm } from './sidecars.ts';

/** The VM is parked, also one that was attached; one that `attach` made is gone. Throws `vm-not-off`. */
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
  const { vmId: id, originalXml: text, mark } = record;
  if (id === null) return record;
  const isThere = await requireOff(context, id, options);
  await restoreTpm(context, { vmId: id, text, path: places.keptTpmPath }, options);
  if (isThere && record.state !== 'laid') {
    // Memory of a run on the layers, which the VM's own disks know nothing of.
    const { hasSavedState } = await readFlags(context.virsh, id, options);
    if (hasSavedState) await context.virsh.run(['managedsave-remove', '--', id], options);
    if (mark !== null) await forgetMark(context, { id, mark }, options);
  }
  if (text === null) await undefine(context, id, options);
  else
    await defineParked(context, { places, record: { ...record, originalXml: text } }, id, options);
  context.crashPoint('park: defined');
  if (record.state === 'laid') return record;
  await rm(places.nvramPath, { force: true });
  const parked = { ...record, state: 'laid', mark: null, changes: [], hasNvram: false } as const;
  return writeLayers(places, { ...parked, vmId: text === null ? null : id });
}

async function defineParked(
  context: LayersContext,
  { places, record }: Laid & { readonly record: { readonly originalXml: string } },
  id: VmId,
  options: CallOptions,
): Promise<void> {
  const { originalXml, startsWithHost } = record;
  await define(context, parkedXml(originalXml, places.id, places.parkedPath), options);
  if (startsWithHost) await context.virsh.run(['autostart', '--disable', '--', id], options);
}

/** What libvirt believes of it; the bitmaps are in the layers and go with them. */
export async function forgetMark(
  { virsh }: LayersContext,
  { id, mark }: { readonly id: VmId; readonly mark: string },
  options: CallOptions,
): Promise<void> {
  await unlessRefused(virsh.run(['checkpoint-delete', '--metadata', '--', id, mark], options));
}

async function undefine({ virsh }: LayersContext, id: VmId, options: CallOptions): Promise<void> {
  const metadata = ['--snapshots-metadata', '--checkpoints-metadata'];
  const remains = ['--managed-save', '--keep-nvram', ...metadata];
  try {
    await virsh.run(['undefine', ...remains, '--', id], options);
  } catch (error) {
    if (!hasCode(error, 'vm-missing')) throw error;
  }
}
