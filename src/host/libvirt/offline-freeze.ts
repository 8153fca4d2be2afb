/**
 * One instant of a powered-off VM: nothing writes, so its disks as they lie are the instant, until it is started.
 *
 * The new mark is set first, as a bitmap in each qcow2, so that whatever is written from then on is recorded; then libvirt
 * is told; then the disks are served read-only. Whether the VM was started meanwhile is found out by
 * `offlineProblem` (offline-generation.ts says how) and never prevented.
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { MarkName } from '../../domain/ids.ts';
import type { FoundExtents } from '../../domain/replication/transfer.ts';
import type { VmDescription, VmDisk } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { FreezeRequest, FrozenDisk, FrozenPoint } from '../../ports/point-source.ts';
import { hasCode } from './errors.ts';
import type { FreezeContext } from './freeze-context.ts';
import { powerWithReason } from './freeze-job.ts';
import { type FreezePlaces, type FreezeRecord, writeRecord } from './freeze-record.ts';
import { knownMarks, redefineMark, removeMark } from './marks.ts';
import { changeBitmap, type ImageHeader, readImageHeader } from './marks-offline.ts';
import { startExport, waitForExport } from './offline-export.ts';
import { changedSince, type FileGeneration, fileGeneration } from './offline-generation.ts';
import { makeOwnedFolder } from './scratch-access.ts';

export type OfflineFreeze = {
  readonly request: FreezeRequest;
  readonly vm: VmDescription;
  readonly disks: readonly VmDisk[];
  readonly places: FreezePlaces;
  readonly record: FreezeRecord;
};

type Read = { readonly disk: VmDisk; readonly header: ImageHeader; readonly found: FoundExtents };

/** See `PointSource.freeze`. Gives the record too, which then names the server and the files. */
export async function freezeOff(
  context: FreezeContext,
  freeze: OfflineFreeze,
  options: CallOptions,
): Promise<{ readonly point: FrozenPoint; readonly record: FreezeRecord }> {
  const { request, vm, places } = freeze;
  const disks = await readDisks(context, freeze, options);
  await setMark(context, freeze, options);
  const generation = await generationsOf(disks);
  const takenAt = context.clock.now();
  const reason = await powerWithReason(context, vm.id, options);
  await makeOwnedFolder(places);
  const exported = disks.map(({ disk, found }) => ({
    disk,
    since: found.type === 'changed' ? found.since : null,
  }));
  const process = await startExport(context, places, exported);
  const record = { ...freeze.record, process, generation };
  await writeRecord(places, record);
  await waitForExport(context, { places, process, vm: vm.name }, options);
  const frozen = await context.describeVm(vm.id, options);
  const sidecars = await context.collectSidecars({ vm: frozen, folder: places.ownFolder }, options);
  const problem = await offlineProblem(context, record, options);
  if (problem !== null) {
    throw new UnderstudyError('freeze-failed', { vm: vm.name, reason: problem });
  }
  const frozenDisks = disks.map((read) => frozenDisk(freeze, read));
  const point = {
    takenAt,
    ...consistencyOf(reason, request),
    vm: frozen,
    disks: frozenDisks,
    sidecars,
  };
  return { point, record };
}

/** Why what is read is no longer the instant; null while it is. */
export async function offlineProblem(
  context: FreezeContext,
  { vmId, process, generation }: FreezeRecord,
  options: CallOptions,
): Promise<string | null> {
  const power = await powerWithReason(context, vmId, options);
  if (!power.startsWith('shut off')) return `it was started meanwhile (${power})`;
  const changed = await changedSince(generation);
  if (changed.length > 0) return `it was started, or ${changed[0]} was changed meanwhile`;
  if (process === null || !(await context.processes.isAlive(process)))
    return 'the export has ended';
  return null;
}

async function readDisks(
  { processes }: FreezeContext,
  { request, vm, disks }: OfflineFreeze,
  options: CallOptions,
): Promise<Read[]> {
  const reads: Read[] = [];
  for (const disk of disks) {
    const image = { path: disk.path, format: disk.format, vm: vm.name };
    const header = await readImageHeader(processes, image, options);
    reads.push({ disk, header, found: foundExtents(disk, header, request) });
  }
  return reads;
}

/** Pure. */
export function foundExtents(
  disk: Pick<VmDisk, 'key' | 'tracksChanges'>,
  header: ImageHeader,
  { since }: Pick<FreezeRequest, 'since'>,
): FoundExtents {
  const mark = since[disk.key];
  if (!disk.tracksChanges || mark === undefined)
    return { type: 'allocated', markLostBecause: null };
  const lost = (because: string): FoundExtents => ({ type: 'allocated', markLostBecause: because });
  const bitmap = header.bitmaps.find(({ name }) => name === mark);
  if (bitmap === undefined)
    return lost(`its change mark ${mark} is missing, as after a crash of the VM's process`);
  if (bitmap.isInUse)
    return lost(`its change mark ${mark} was not closed, as after a crash of the VM's process`);
  if (!bitmap.isRecording)
    return lost(`its change mark ${mark} was switched off by another program`);
  return { type: 'changed', since: mark };
}

/** A mark of that name is debris of an attempt that was cut off. */
async function setMark(
  context: FreezeContext,
  { request, vm, disks }: OfflineFreeze,
  options: CallOptions,
): Promise<void> {
  const { mark } = request;
  const tracking = disks.filter((disk) => disk.tracksChanges);
  if (tracking.length === 0) return;
  await removeMark(context, { vmId: vm.id, mark }, options);
  for (const { path } of tracking) {
    await addBitmap(context, { path, mark, vm: vm.name }, options);
  }
  const known = await knownMarks(context, vm.id, options);
  const definition = {
    vmId: vm.id,
    mark,
    disks: tracking.map(({ key }) => key),
    createdAtSeconds: Math.floor(context.clock.now() / 1000),
    parent: known.at(-1) ?? null,
  };
  await redefineMark(context, definition, options);
}

/** A start of the VM at this moment has the file; it goes first, and the next run freezes a running VM. */
async function addBitmap(
  { processes }: FreezeContext,
  { path, mark, vm }: { readonly path: string; readonly mark: MarkName; readonly vm: string },
  options: CallOptions,
): Promise<void> {
  try {
    await changeBitmap(processes, { action: 'add', path, name: mark, vm }, options);
  } catch (error) {
    if (!hasCode(error, 'disk-in-use')) throw error;
    const reason = 'it is being started, or another program writes to its disks';
    throw new UnderstudyError('freeze-failed', { vm, reason }, error);
  }
}

async function generationsOf(disks: readonly Read[]): Promise<FileGeneration[]> {
  const generations: FileGeneration[] = [];
  for (const { disk, header } of disks) {
    generations.push(await fileGeneration(disk.path, { isShared: false }));
    // Deeper layers are held by the one above; somebody who rewrites them breaks every VM on them anyway.
    if (header.backingPath !== null) {
      generations.push(await fileGeneration(header.backingPath, { isShared: true }));
    }
  }
  return generations;
}

function frozenDisk({ request, places }: OfflineFreeze, { disk, header, found }: Read): FrozenDisk {
  const { key, tracksChanges } = disk;
  return {
    key,
    tracksChanges,
    sizeBytes: header.sizeBytes,
    found,
    endpoint: { address: { type: 'unix', path: places.socketPath }, exportName: key },
    extents:
      found.type === 'changed'
        ? { type: 'changed', metaContext: `qemu:dirty-bitmap:${found.since}` }
        : { type: 'allocated' },
    mark: tracksChanges ? request.mark : null,
  };
}

/** A guest that shut itself down has closed everything: better than any freezing. One that was cut off has not. */
export function consistencyOf(
  power: string,
  { quiesce }: Pick<FreezeRequest, 'quiesce'>,
): Pick<FrozenPoint, 'consistency' | 'consistencyNote'> {
  if (power === 'shut off (shutdown)') return { consistency: 'application', consistencyNote: null };
  const note = `the VM is off, and it is not known that its guest shut it down: ${power}`;
  return { consistency: 'crash', consistencyNote: quiesce === 'never' ? null : note };
}
