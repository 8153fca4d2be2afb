/**
 * Instants of VMs under libvirt, see ports/point-source.ts.
 *
 *   running VM   one pull backup: QEMU keeps old blocks in scratch and serves the frozen view   freeze-running.ts
 *   VM off       its files as they lie, served by us                                            offline-freeze.ts
 *
 * A record written first (freeze-record.ts) makes each call repeatable and each leftover findable, whatever died when.
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { VmDescription, VmDisk } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { FreezeRequest, FrozenPoint, PointSource } from '../../ports/point-source.ts';
import { hasCode } from './errors.ts';
import {
  createFreezeContext,
  type FreezeContext,
  type PointSourceParts,
  UNABORTED,
} from './freeze-context.ts';
import { endFreeze, endFreezeAfterError } from './freeze-end.ts';
import {
  type FreezePlaces,
  type FreezeRecord,
  freezePlaces,
  hasFolders,
  makeOwnFolder,
  readRecord,
  recordsOf,
  writeRecord,
} from './freeze-record.ts';
import { freezeRunning } from './freeze-running.ts';
import { freezeProblem, watchFreeze } from './freeze-watch.ts';
import { createGatePerKey } from './gate.ts';
import { removeMark, sweepMarks } from './marks.ts';
import { freezeOff } from './offline-freeze.ts';
import { makeScratchFolder } from './scratch-access.ts';
import { quotaAtBegin } from './scratch-policy.ts';
import { freeBytes } from './scratch-usage.ts';

export function createLibvirtPointSource(parts: PointSourceParts): PointSource {
  const context = createFreezeContext(parts);
  // A repeated command may arrive while the first still works: per VM they take turns.
  const gate = createGatePerKey<VmId>();
  const inTurn = <Result>(
    vmId: VmId,
    options: CallOptions,
    task: () => Promise<Result>,
  ): Promise<Result> => gate.enter(vmId, task, options);
  return {
    freeze: (request, options) =>
      inTurn(request.vmId, options, () => freeze(context, request, options)),
    watch: (command, options) => watchFreeze(context, command, options),
    async check(command, options) {
      const places = freezePlaces(context.scratchFolder, command.key);
      const record = await readRecord(places.recordPath);
      const because =
        record === null ? 'there is no such freeze' : await freezeProblem(context, record, options);
      return { isIntact: because === null, because };
    },
    end: ({ key, vmId }, options) =>
      inTurn(vmId, options, async () => {
        const places = freezePlaces(context.scratchFolder, key);
        const record = await readRecord(places.recordPath);
        await endFreeze(context, { places, vmId, record }, options);
      }),
    endAll: (vmId, options) =>
      inTurn(vmId, options, () => endLeftovers(context, { places: null, vmId }, options)),
    sweepMarks: (request, options) =>
      inTurn(request.vmId, options, () => sweepMarks(context, request, options)),
  };
}

async function freeze(
  context: FreezeContext,
  request: FreezeRequest,
  options: CallOptions,
): Promise<FrozenPoint> {
  const places = freezePlaces(context.scratchFolder, request.key);
  const earlier = await readRecord(places.recordPath);
  if (earlier?.point && (await freezeProblem(context, earlier, options)) === null) {
    return earlier.point;
  }
  await endLeftovers(context, { places, vmId: request.vmId }, options);
  const vm = await context.describeVm(request.vmId, options);
  const disks = requestedDisks(vm, request);
  if (vm.power === 'unknown') {
    const reason = `it does not tell whether VM ${vm.name} runs`;
    throw new UnderstudyError('host-unreachable', { host: context.hostName, reason });
  }
  const record = await registerFreeze(context, { request, vm, places });
  try {
    const begun = await beginFreeze(context, { request, vm, disks, places, record }, options);
    options.signal.throwIfAborted();
    await writeRecord(places, begun);
    return begun.point;
  } catch (error) {
    await endFreezeAfterError(context, record, error);
    await removeUselessMark(context, request, error);
    throw options.signal.aborted ? new UnderstudyError('cancelled', {}, error) : error;
  }
}

type Beginning = {
  readonly request: FreezeRequest;
  readonly vm: VmDescription;
  readonly disks: readonly VmDisk[];
  readonly places: FreezePlaces;
  readonly record: FreezeRecord;
};

async function beginFreeze(
  context: FreezeContext,
  beginning: Beginning,
  options: CallOptions,
): Promise<FreezeRecord & { readonly point: FrozenPoint }> {
  await makeOwnFolder(beginning.places);
  if (beginning.vm.power === 'off') {
    const { point, record } = await freezeOff(context, beginning, options);
    return { ...record, point };
  }
  const point = await freezeRunning(context, beginning, options);
  return { ...beginning.record, point };
}

/** Before anything is made. Throws `scratch-exhausted`, `access-denied`. */
async function registerFreeze(
  context: FreezeContext,
  { request, vm, places }: Pick<Beginning, 'request' | 'vm' | 'places'>,
): Promise<FreezeRecord> {
  await makeScratchFolder(context.scratchFolder);
  const free = await freeBytes(context.scratchFolder);
  const quotaBytes = quotaAtBegin(request.scratch, free);
  if (quotaBytes === null) {
    const reason = `there is no room for old blocks at ${context.scratchFolder}`;
    throw new UnderstudyError('scratch-exhausted', { vm: vm.name, reason });
  }
  const record: FreezeRecord = {
    format: 1,
    key: request.key,
    vmId: request.vmId,
    mark: request.mark,
    kind: vm.power === 'off' ? 'off' : 'running',
    isQuiesced: request.quiesce !== 'never',
    quotaBytes,
    process: null,
    generation: [],
    point: null,
  };
  await writeRecord(places, record);
  return record;
}

/** At most one freeze per VM: an earlier one, of any key, was left by somebody who died, or was cut off. */
async function endLeftovers(
  context: FreezeContext,
  { places: own, vmId }: { readonly places: FreezePlaces | null; readonly vmId: VmId },
  options: CallOptions,
): Promise<void> {
  for (const record of await recordsOf(context.scratchFolder, vmId)) {
    const places = freezePlaces(context.scratchFolder, record.key);
    await endFreeze(context, { places, vmId, record }, options);
  }
  // Folders without a record: somebody tidied up by hand, or removing them was cut off at its last step.
  if (own !== null && (await hasFolders(own)))
    await endFreeze(context, { places: own, vmId, record: null }, options);
}

/** A mark of a freeze that failed names nothing. If it cannot go now, the next sweep finds it by its name. */
async function removeUselessMark(
  context: FreezeContext,
  { vmId, mark }: FreezeRequest,
  cause: unknown,
): Promise<void> {
  if (hasCode(cause, 'host-unreachable', 'vm-missing', 'vm-busy')) return;
  await removeMark(context, { vmId, mark }, UNABORTED).catch(() => {});
}

function requestedDisks(vm: VmDescription, { disks }: FreezeRequest): VmDisk[] {
  return disks.map((key) => {
    const disk = vm.disks.find((candidate) => candidate.key === key);
    const reason =
      disk === undefined ? 'the VM has no such disk' : (disk.unsupportedBecause ?? null);
    if (disk === undefined || reason !== null) {
      throw new UnderstudyError('unsupported-disk', { disk: key, vm: vm.name, reason });
    }
    return disk;
  });
}
