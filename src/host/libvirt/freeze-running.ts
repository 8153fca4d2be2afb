/**
 * Freezes one instant of a running VM: one pull backup with a checkpoint over all disks.
 *
 * QEMU copies each old block to scratch before the guest overwrites it, and exports the frozen view together with what
 * changed since the last mark. A disk whose mark turns out lost is demoted to "read what is allocated", and
 * the backup is begun again; the others stay incremental.
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { DiskKey, MarkName } from '../../domain/ids.ts';
import type { FoundExtents } from '../../domain/replication/transfer.ts';
import type { VmDescription, VmDisk } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { FreezeRequest, FrozenDisk, FrozenPoint } from '../../ports/point-source.ts';
import { backupXml, CHANGES_BITMAP, markXml } from './backup-xml.ts';
import { type FreezeContext, UNABORTED } from './freeze-context.ts';
import {
  freezeFailure,
  lostMarkIn,
  refusalOf,
  saysMarkExists,
  saysNoAccess,
} from './freeze-errors.ts';
import { clearTheWay } from './freeze-job.ts';
import { beginQuiesced, type QuiesceNote } from './freeze-quiesce.ts';
import { type FreezePlaces, type FreezeRecord, scratchPath, writeRecord } from './freeze-record.ts';
import { adoptMark, removeMark } from './marks.ts';
import { accessDenied, makeQemuFolder } from './scratch-access.ts';

export type RunningFreeze = {
  readonly request: FreezeRequest;
  readonly vm: VmDescription;
  readonly disks: readonly VmDisk[];
  readonly places: FreezePlaces;
  /** As written before; its folder of ours exists. */
  readonly record: FreezeRecord;
};

/** libvirt waits up to 30 s for its turn with a busy VM. */
const BEGIN_TIMEOUT_MS = 60_000;

/** See `PointSource.freeze`. What it leaves after an error, `endFreeze` removes. */
export async function freezeRunning(
  context: FreezeContext,
  freeze: RunningFreeze,
  options: CallOptions,
): Promise<FrozenPoint> {
  const { request, vm, places } = freeze;
  await clearTheWay(context, vm.id, options);
  const identity = await context.qemuIdentity(options);
  const { scratchFolder, processes } = context;
  await makeQemuFolder({ places, identity, processes }, options);
  const takenAt = context.clock.now();
  const begun = await beginWithUsableMarks(context, freeze).catch((error: unknown) => {
    if (!saysNoAccess(error)) throw freezeFailure(vm.id, error);
    throw accessDenied(scratchFolder, identity, { reason: refusalOf(error), cause: error });
  });
  const { found, note } = begun;
  if (note !== null && request.quiesce === 'required') {
    throw new UnderstudyError('guest-not-answering', { vm: vm.name, reason: note });
  }
  // Sizes and definition as they are now: while the backup runs no disk can be resized.
  const frozen = await context.describeVm(vm.id, options);
  requireSameDisks(vm, frozen);
  const isApplication = request.quiesce !== 'never' && note === null;
  return {
    takenAt,
    consistency: isApplication ? 'application' : 'crash',
    consistencyNote: note,
    vm: frozen,
    disks: freeze.disks.map((disk) => frozenDisk(freeze, { disk, frozen, found })),
    sidecars: await context.collectSidecars({ vm: frozen, folder: places.ownFolder }, options),
  };
}

type Found = ReadonlyMap<DiskKey, FoundExtents>;
type Begun = { readonly found: Found; readonly note: QuiesceNote };

/** Each try demotes one disk, or removes our own leftover mark once; so the tries end. */
async function beginWithUsableMarks(context: FreezeContext, freeze: RunningFreeze): Promise<Begun> {
  const { request, vm, disks } = freeze;
  const found = new Map(disks.map((disk) => [disk.key, wantedExtents(disk, request)]));
  let mayRemoveMark = true;
  const adopted = new Set<MarkName>();
  for (;;) {
    try {
      return { found, note: await begin(context, freeze, found) };
    } catch (error) {
      const lost = lostMarkIn(error);
      const disk = disks.find(({ key }) => key === lost?.disk);
      const extents = disk === undefined ? undefined : found.get(disk.key);
      if (lost !== null && disk !== undefined && extents?.type === 'changed') {
        const { since } = extents;
        if (lost.isUnknown && !adopted.has(since)) {
          adopted.add(since);
          if (await adoptMark(context, { vm, mark: since }, UNABORTED)) continue;
        }
        found.set(disk.key, { type: 'allocated', markLostBecause: lost.because });
      } else if (saysMarkExists(error) && mayRemoveMark) {
        mayRemoveMark = false;
        await removeMark(context, { vmId: vm.id, mark: request.mark }, UNABORTED);
      } else {
        throw error;
      }
    }
  }
}

function wantedExtents(disk: VmDisk, { since }: FreezeRequest): FoundExtents {
  const mark = since[disk.key];
  if (!disk.tracksChanges || mark === undefined)
    return { type: 'allocated', markLostBecause: null };
  return { type: 'changed', since: mark };
}

/** Not abortable: a client that goes away leaves the daemon beginning a backup that nobody waits for. */
async function begin(
  context: FreezeContext,
  freeze: RunningFreeze,
  found: Found,
): Promise<QuiesceNote> {
  const { request, vm, disks, places, record } = freeze;
  const backup = backupXml({
    socketPath: places.socketPath,
    disks: disks.map(({ key }) => {
      const extents = found.get(key);
      const since = extents?.type === 'changed' ? extents.since : null;
      return { key, scratchPath: scratchPath(places, key), since };
    }),
  });
  const marked = disks.filter((disk) => disk.tracksChanges).map(({ key }) => key);
  const mark = marked.length === 0 ? null : markXml({ mark: request.mark, disks: marked });
  let note: QuiesceNote = null;
  if (request.quiesce !== 'never') {
    const onProcess = (process: FreezeRecord['process']) =>
      writeRecord(places, { ...record, process });
    const { ownFolder } = places;
    const attempt = { vmId: vm.id, backup, mark, ownFolder, onProcess };
    const { hasBegun, note: quiesceNote } = await beginQuiesced(context, attempt);
    note = quiesceNote;
    if (hasBegun || request.quiesce === 'required') return note;
  }
  const files = mark === null ? [{ file: backup }] : [{ file: backup }, { file: mark }];
  const options = { ...UNABORTED, timeoutMs: BEGIN_TIMEOUT_MS };
  await context.virsh.run(['backup-begin', '--', vm.id, ...files], options);
  return note;
}

function frozenDisk(
  { request, places }: RunningFreeze,
  { disk, frozen, found }: { disk: VmDisk; frozen: VmDescription; found: Found },
): FrozenDisk {
  const { key, tracksChanges } = disk;
  const extents = found.get(key) ?? { type: 'allocated', markLostBecause: null };
  return {
    key,
    tracksChanges,
    sizeBytes: frozen.disks.find((other) => other.key === key)?.sizeBytes ?? disk.sizeBytes,
    found: extents,
    endpoint: { address: { type: 'unix', path: places.socketPath }, exportName: key },
    extents:
      extents.type === 'changed'
        ? { type: 'changed', metaContext: `qemu:dirty-bitmap:${CHANGES_BITMAP}` }
        : { type: 'allocated' },
    mark: tracksChanges ? request.mark : null,
  };
}

/** A disk plugged or replaced while we began would make the definition and the instant two different things. */
function requireSameDisks(before: VmDescription, after: VmDescription): void {
  const list = ({ disks }: VmDescription) =>
    disks.map(({ key, path, format }) => [key, path, format].join('\0')).join('\0');
  if (after.power !== 'off' && list(before) === list(after)) return;
  const reason =
    after.power === 'off' ? 'it was switched off meanwhile' : 'its disks were changed meanwhile';
  throw new UnderstudyError('freeze-failed', { vm: before.name, reason });
}
