/**
 * Removing change marks. Every mark of libvirt records on its own since the day it was set (libvirt ≥ 7), so that one
 * is removed without touching what another knows; older versions merge it into its predecessor. Either way the
 * marks that stay are exact.
 *
 * A mark is two things: what libvirt believes, and a bitmap per disk. After a crash they differ: a bitmap may
 * be broken or gone, a belief may be lost. Both kinds of debris are found and removed here.
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { MarkName, VmId } from '../../domain/ids.ts';
import type { VmDescription } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import { markXml, readMark } from './backup-xml.ts';
import { hasCode } from './errors.ts';
import type { FreezeContext } from './freeze-context.ts';
import { diskWithoutMark, saysMarkMissing, saysNotRunning } from './freeze-errors.ts';
import { unlessRefused } from './inspect.ts';
import { changeBitmap, readImageHeader } from './marks-offline.ts';

/** Ours are `us-…`; whatever else is there belongs to other people. */
const OURS = /^us-[a-z0-9-]{1,60}$/;

/** The VM may start or stop meanwhile, each time needing the other way. */
const TRIES = 3;

/** See `PointSource.sweepMarks`. */
export async function sweepMarks(
  context: FreezeContext,
  { vmId, keep }: { readonly vmId: VmId; readonly keep: readonly MarkName[] },
  options: CallOptions,
): Promise<void> {
  const [vm, known] = await Promise.all([
    context.describeVm(vmId, options),
    knownMarks(context, vmId, options),
  ]);
  const bitmaps = await bitmapsByMark(context, vm, options);
  const names = new Set([...known, ...bitmaps.keys()]);
  for (const name of names) {
    if (!isOurs(name) || keep.includes(name)) continue;
    const isSound = vm.power !== 'off' && known.includes(name);
    if (isSound && (await removeSoundMark(context, { vmId, mark: name }, options))) continue;
    await removeMark(context, { vmId, mark: name }, options);
  }
}

/** The ordinary case, without looking first: libvirt refuses what it cannot do whole. False then. */
async function removeSoundMark(
  { virsh }: FreezeContext,
  { vmId, mark }: { readonly vmId: VmId; readonly mark: MarkName },
  options: CallOptions,
): Promise<boolean> {
  const removed = await unlessRefused(virsh.run(['checkpoint-delete', '--', vmId, mark], options));
  return removed !== null;
}

/** Removes one mark from libvirt and from every disk; one that is nowhere is success. */
export async function removeMark(
  context: FreezeContext,
  { vmId, mark }: { readonly vmId: VmId; readonly mark: MarkName },
  options: CallOptions,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const vm = await context.describeVm(vmId, options);
    try {
      await (vm.power === 'off' ? removeWhileOff : removeWhileOn)(context, { vm, mark }, options);
      return;
    } catch (error) {
      const powerChanged = saysNotRunning(error) || hasCode(error, 'disk-in-use');
      if (!powerChanged || attempt === TRIES) throw error;
    }
  }
}

/** The marks that libvirt believes in, ours and others', oldest first. */
export async function knownMarks(
  { virsh }: FreezeContext,
  vmId: VmId,
  options: CallOptions,
): Promise<string[]> {
  const list = await virsh.run(['checkpoint-list', '--name', '--topological', '--', vmId], options);
  return list.split('\n').filter((line) => line !== '');
}

/** Tells libvirt about a mark whose bitmaps exist already. */
export async function redefineMark(
  { virsh }: FreezeContext,
  request: {
    readonly vmId: VmId;
    readonly mark: MarkName;
    readonly disks: readonly string[];
    readonly createdAtSeconds: number;
    readonly parent: string | null;
  },
  options: CallOptions,
): Promise<void> {
  const { vmId, mark, disks, createdAtSeconds, parent } = request;
  const file = markXml({ mark, disks, existing: { createdAtSeconds, parent } });
  await virsh.run(['checkpoint-create', '--redefine', '--', vmId, { file }], options);
}

/** Tells libvirt of a mark that lies in the VM's disks although it does not know it, as in those of a new branch. False: it is in none. */
export async function adoptMark(
  context: FreezeContext,
  { vm, mark }: OneMark,
  options: CallOptions,
): Promise<boolean> {
  const disks = (await bitmapsByMark(context, vm, options)).get(mark) ?? [];
  if (disks.length === 0) return false;
  await believe(context, { vmId: vm.id, mark, disks }, options);
  return true;
}

type OneMark = { readonly vm: VmDescription; readonly mark: MarkName };

/**
 * libvirt removes a mark only if each disk that it believes to carry the mark really does. Where one does not,
 * its belief is corrected first: forgotten, and stated again for the disks that are left.
 */
async function removeWhileOn(
  context: FreezeContext,
  { vm, mark }: OneMark,
  options: CallOptions,
): Promise<void> {
  const { virsh } = context;
  let disks = await disksBelievedToCarry(context, vm.id, mark, options);
  if (disks === null) {
    disks = (await bitmapsByMark(context, vm, options)).get(mark) ?? [];
    if (disks.length > 0) await believe(context, { vmId: vm.id, mark, disks }, options);
  }
  while (disks.length > 0) {
    try {
      await virsh.run(['checkpoint-delete', '--', vm.id, mark], options);
      return;
    } catch (error) {
      if (saysMarkMissing(error)) return;
      const absent = diskWithoutMark(error);
      if (absent === null || !disks.includes(absent)) throw error;
      disks = disks.filter((disk) => disk !== absent);
    }
    await forget(context, vm.id, mark, options);
    if (disks.length > 0) await believe(context, { vmId: vm.id, mark, disks }, options);
  }
  await forget(context, vm.id, mark, options);
}

/** Bitmaps first: a belief without them is debris that is found again, and harmless. */
async function removeWhileOff(
  context: FreezeContext,
  { vm, mark }: OneMark,
  options: CallOptions,
): Promise<void> {
  const carriers = (await bitmapsByMark(context, vm, options)).get(mark) ?? [];
  for (const { key, path } of vm.disks) {
    if (!carriers.includes(key)) continue;
    const change = { action: 'remove', path, name: mark, vm: vm.name } as const;
    await changeBitmap(context.processes, change, options);
  }
  await forget(context, vm.id, mark, options);
}

async function disksBelievedToCarry(
  { virsh }: FreezeContext,
  vmId: VmId,
  mark: MarkName,
  options: CallOptions,
): Promise<string[] | null> {
  try {
    const command = ['checkpoint-dumpxml', '--no-domain', '--', vmId, mark];
    return readMark(await virsh.run(command, options), vmId).disks;
  } catch (error) {
    if (saysMarkMissing(error)) return null;
    throw error;
  }
}

async function believe(
  context: FreezeContext,
  request: { readonly vmId: VmId; readonly mark: MarkName; readonly disks: readonly string[] },
  options: CallOptions,
): Promise<void> {
  const createdAtSeconds = Math.floor(context.clock.now() / 1000);
  await redefineMark(context, { ...request, createdAtSeconds, parent: null }, options);
}

async function forget(
  { virsh }: FreezeContext,
  vmId: VmId,
  mark: MarkName,
  options: CallOptions,
): Promise<void> {
  try {
    await virsh.run(['checkpoint-delete', '--metadata', '--', vmId, mark], options);
  } catch (error) {
    if (!saysMarkMissing(error)) throw error;
  }
}

/** From the headers of the disks' files; while the VM runs those hold what was there when it started. */
async function bitmapsByMark(
  { processes }: FreezeContext,
  vm: VmDescription,
  options: CallOptions,
): Promise<ReadonlyMap<string, string[]>> {
  const headers = await Promise.all(
    vm.disks
      .filter(({ tracksChanges }) => tracksChanges)
      .map(async ({ key, path }) => {
        const image = { path, format: 'qcow2', vm: vm.name };
        const header = await readImageHeader(processes, image, options).catch(noneIfUnreadable);
        return { key, bitmaps: header?.bitmaps ?? [] };
      }),
  );
  const found = new Map<string, string[]>();
  for (const { key, bitmaps } of headers) {
    for (const { name } of bitmaps) found.set(name, [...(found.get(name) ?? []), key]);
  }
  return found;
}

/** A disk that cannot be read (its file is missing) has no marks that could be removed. */
function noneIfUnreadable(error: unknown): null {
  if (error instanceof UnderstudyError && error.code === 'freeze-failed') return null;
  throw error;
}

function isOurs(name: string): name is MarkName {
  return OURS.test(name);
}
