/** The `PointSource` port of a simulated host. */
import { BLOCK_BYTES } from '../domain/bytes.ts';
import { UnderstudyError } from '../domain/error.ts';
import type { DiskKey } from '../domain/ids.ts';
import type { ScratchPolicy } from '../domain/job/job.ts';
import type { Consistency } from '../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../ports/call.ts';
import type {
  FreezeCommand,
  FreezeRequest,
  FrozenDisk,
  PointSource,
} from '../ports/point-source.ts';
import type { CallGate, Passing } from './call-gate.ts';
import { type Freeze, type FrozenView, readFrozen } from './freeze.ts';
import { hostNow, requireVm, type SimulatedHost, type Surroundings } from './host.ts';
import { allocatedBlocks, contentOf, freeBytes, type Image, isDamaged } from './image.ts';
import type { SimulatedVm } from './vm.ts';

/** The freeze is given up at this share of its quota: what is written until it has ended must still fit. */
const THRESHOLD = 0.9;

type Parts = { readonly host: SimulatedHost; readonly around: Surroundings };

export function createSimulatedPointSource(
  parts: Parts & { readonly gate: CallGate },
): PointSource {
  const { host, gate } = parts;
  const call = <T>(
    method: keyof PointSource,
    options: CallOptions,
    body: (passing: Passing) => T | Promise<T>,
  ): Promise<T> => gate.call({ host, port: 'pointSource', method }, options, body);

  return {
    freeze: (request, options) =>
      call('freeze', options, () => {
        const vm = requireVm(host, request.vmId);
        const held = heldFreeze(vm, request);
        return (held ?? beginFreeze(parts, vm, request)).answer;
      }),
    watch: (command, options) =>
      call('watch', options, (passing) => watch(parts, command, passing)).catch((error) => {
        // An abort is how a watch is meant to end, even one that had not begun.
        if (!options.signal.aborted || !isCancelled(error)) throw error;
      }),
    check: (command, options) =>
      call('check', options, () => {
        const freeze = freezeOf(host, command);
        const because = freeze === null ? 'the freeze is gone' : freeze.spoiledBecause;
        return { isIntact: because === null, because };
      }),
    end: (command, options) =>
      call('end', options, () => {
        const vm = host.vms.get(command.vmId);
        if (vm?.freeze?.key === command.key) endFreeze(parts, vm);
      }),
    endAll: (vmId, options) =>
      call('endAll', options, () => {
        const vm = host.vms.get(vmId);
        if (vm !== undefined && vm.freeze !== null) endFreeze(parts, vm);
      }),
    sweepMarks: ({ vmId, keep }, options) =>
      call('sweepMarks', options, () => {
        const vm = requireVm(host, vmId);
        for (const { key } of vm.state.disks) sweep(imageIfThere(vm, key), keep);
      }),
  };
}

function isCancelled(error: unknown): boolean {
  return error instanceof UnderstudyError && error.code === 'cancelled';
}

/** Every mark records all writes since it was set, so that removing one takes nothing from another. */
function sweep(image: Image | null, keep: readonly string[]): void {
  for (const [name, mark] of [...(image?.marks ?? [])]) {
    if (mark.isOurs && !keep.includes(name)) image?.marks.delete(name);
  }
}

/** A replica at rest has disks that are not there. */
function imageIfThere(vm: SimulatedVm, key: DiskKey): Image | null {
  try {
    return vm.image(key);
  } catch (error) {
    if (error instanceof UnderstudyError && error.code === 'hypervisor-refused') return null;
    throw error;
  }
}

function freezeOf(host: SimulatedHost, { vmId, key }: FreezeCommand): Freeze | null {
  const freeze = host.vms.get(vmId)?.freeze ?? null;
  return freeze?.key === key ? freeze : null;
}

/** The freeze of the same key while it holds; one of another key is left over, and `beginFreeze` ends it. */
function heldFreeze(vm: SimulatedVm, { key }: FreezeRequest): Freeze | null {
  const { freeze } = vm;
  return freeze?.key === key && freeze.spoiledBecause === null ? freeze : null;
}

function beginFreeze(parts: Parts, vm: SimulatedVm, request: FreezeRequest): Freeze {
  const { host, around } = parts;
  if (vm.foreignJob !== null) {
    throw new UnderstudyError('vm-busy', { vm: vm.state.name, reason: vm.foreignJob });
  }
  if (vm.freeze !== null) endFreeze(parts, vm);
  requireSupported(vm, request.disks);
  const quotaBytes = scratchQuota(host, vm, request.scratch);
  const quiesced = quiesce(vm, request);
  const isLive = vm.power !== 'off';
  const views: FrozenView[] = [];
  const disks: FrozenDisk[] = [];
  for (const key of request.disks) {
    const { view, disk } = freezeDisk(parts, vm, request, key);
    views.push(view);
    disks.push(disk);
  }
  const folder = `/${host.id}/scratch/${vm.id}`;
  const sidecars = [...vm.state.sidecars].map(([name, content]) => {
    around.files.set(`${folder}/${name}`, { type: 'sidecar', content });
    return { name, path: `${folder}/${name}` };
  });
  const takenAt = hostNow(host, around.clock);
  const freeze: Freeze = {
    key: request.key,
    mark: request.mark,
    isLive,
    views,
    answer: { takenAt, ...quiesced, vm: vm.describe(), disks, sidecars },
    sidecarPaths: sidecars.map(({ path }) => path),
    scratch: host.scratch,
    quotaBytes,
    scratchUsedBytes: 0,
    spoiledBecause: null,
    listeners: new Set(),
  };
  freeze.listeners.add(() => closeIfGone(around, freeze));
  vm.freeze = freeze;
  rememberInstant(parts, vm, freeze);
  return freeze;
}

function requireSupported(vm: SimulatedVm, disks: readonly DiskKey[]): void {
  for (const disk of vm.state.disks) {
    if (!disks.includes(disk.key) || disk.unsupportedBecause === null) continue;
    const reason = disk.unsupportedBecause;
    throw new UnderstudyError('unsupported-disk', { disk: disk.key, vm: vm.state.name, reason });
  }
}

function scratchQuota(host: SimulatedHost, vm: SimulatedVm, policy: ScratchPolicy): number {
  const free = freeBytes(host.scratch);
  const quotaBytes = policy.quotaBytes ?? Math.floor(free / 2);
  if (free > policy.reserveBytes && quotaBytes > 0) return quotaBytes;
  const reason = `only ${free} bytes are free`;
  throw new UnderstudyError('scratch-exhausted', { vm: vm.state.name, reason });
}

type Quiesced = { readonly consistency: Consistency; readonly consistencyNote: string | null };

function quiesce(vm: SimulatedVm, { quiesce: policy }: FreezeRequest): Quiesced {
  if (policy === 'never') return { consistency: 'crash', consistencyNote: null };
  if (vm.power === 'off' || vm.answersInMs() === 0) {
    return { consistency: 'application', consistencyNote: null };
  }
  const reason = 'its agent does not answer';
  if (policy === 'required') {
    throw new UnderstudyError('guest-not-answering', { vm: vm.state.name, reason });
  }
  return { consistency: 'crash', consistencyNote: reason };
}

function freezeDisk(
  { host, around }: Parts,
  vm: SimulatedVm,
  request: FreezeRequest,
  key: DiskKey,
): { readonly view: FrozenView; readonly disk: FrozenDisk } {
  const image = vm.image(key);
  const tracksChanges = image.format === 'qcow2';
  const since = request.since[key] ?? null;
  const known = since === null ? undefined : image.marks.get(since);
  const dirty = known === undefined ? null : [...known.dirty].sort((a, b) => a - b);
  if (tracksChanges) image.marks.set(request.mark, { isOurs: true, dirty: new Set() });
  const { sizeBytes } = image;
  const frozen = {
    key,
    image,
    sizeBytes,
    saved: new Map(),
    allocated: allocatedBlocks(image),
    dirty,
  };
  const metaContext = `qemu:dirty-bitmap:${request.mark}`;
  const endpoint = around.endpoints.serve(`freeze/${vm.id}/${key}`, {
    hostId: host.id,
    sizeBytes: () => sizeBytes,
    read: (index) => readFrozen(frozen, index),
    allocated: () => frozen.allocated,
    changed: (context) => (context === metaContext ? dirty : null),
    write: null,
  });
  const isIncremental = dirty !== null && since !== null;
  const disk: FrozenDisk = {
    key,
    sizeBytes,
    tracksChanges,
    found: isIncremental
      ? { type: 'changed', since }
      : { type: 'allocated', markLostBecause: lostBecause(since, tracksChanges) },
    endpoint,
    extents: isIncremental ? { type: 'changed', metaContext } : { type: 'allocated' },
    mark: tracksChanges ? request.mark : null,
  };
  return { view: { ...frozen, endpoint }, disk };
}

function lostBecause(since: string | null, tracksChanges: boolean): string | null {
  if (since === null) return null;
  return tracksChanges ? `change mark ${since} is gone` : 'the disk does not track changes';
}

/** A job ends with the VM's process; what it served is gone, while a powered-off VM's disks stay readable. */
function closeIfGone(around: Surroundings, freeze: Freeze): void {
  if (!freeze.isLive || freeze.spoiledBecause === null) return;
  for (const { endpoint } of freeze.views) around.endpoints.close(endpoint);
}

function endFreeze({ host, around }: Parts, vm: SimulatedVm): void {
  const { freeze } = vm;
  if (freeze === null) return;
  vm.freeze = null;
  host.scratch.usedBytes -= freeze.scratchUsedBytes;
  for (const { endpoint } of freeze.views) around.endpoints.close(endpoint);
  for (const path of freeze.sidecarPaths) around.files.delete(path);
  freeze.spoiledBecause ??= 'the freeze was ended';
  for (const listener of [...freeze.listeners]) listener();
}

/** What the checkers hold every restore point against. */
function rememberInstant({ host, around }: Parts, vm: SimulatedVm, freeze: Freeze): void {
  if (!around.isObserved) return;
  const { key, answer, views } = freeze;
  const disks = views.map(({ key: disk, image, sizeBytes }) => {
    const content = contentOf(image);
    const damaged = new Set(allocatedBlocks(image).filter((index) => isDamaged(image, index)));
    return [disk, { sizeBytes, content, damaged }] as const;
  });
  const { takenAt } = answer;
  const { id: vmId, powerLosses } = vm;
  const images = new Map(views.map(({ key: disk, image }) => [disk, image]));
  const common = { hostId: host.id, vmId, key, takenAt, powerLosses };
  const frozen = { ...common, disks: new Map(disks), images };
  around.instants.push(frozen);
}

type WatchCommand = Parameters<PointSource['watch']>[0];

/** Resolves on abort; rejects with `scratch-exhausted` or `freeze-failed`. */
function watch({ host, around }: Parts, command: WatchCommand, { signal }: Passing): Promise<void> {
  const vm = requireVm(host, command.vmId);
  const freeze = freezeOf(host, command);
  if (freeze === null) return Promise.reject(failed(vm, 'the freeze is gone'));
  const ageMs = hostNow(host, around.clock) - command.frozenAt;
  const deadline = new AbortController();
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void) => {
      freeze.listeners.delete(look);
      signal.removeEventListener('abort', onAbort);
      deadline.abort();
      settle();
    };
    const onAbort = () => finish(resolve);
    const exhausted = (reason: string) =>
      finish(() => reject(new UnderstudyError('scratch-exhausted', { vm: vm.state.name, reason })));
    function look(): void {
      const danger = scratchDanger(host, freeze as Freeze, command.scratch);
      if (freeze?.spoiledBecause != null) {
        const because = freeze.spoiledBecause;
        finish(() => reject(failed(vm, because)));
      } else if (danger !== null) exhausted(danger);
    }
    signal.addEventListener('abort', onAbort, { once: true });
    freeze.listeners.add(look);
    around.clock.sleep(command.scratch.deadlineMs - ageMs, { signal: deadline.signal }).then(
      () => exhausted(`it is older than ${command.scratch.deadlineMs} ms`),
      () => {},
    );
    if (signal.aborted) onAbort();
    else look();
  });
}

function scratchDanger(host: SimulatedHost, freeze: Freeze, policy: ScratchPolicy): string | null {
  if (freeze.scratchUsedBytes + BLOCK_BYTES > freeze.quotaBytes * THRESHOLD) {
    return `scratch holds ${freeze.scratchUsedBytes} of ${freeze.quotaBytes} bytes`;
  }
  if (freeBytes(host.scratch) < policy.reserveBytes + BLOCK_BYTES) {
    return `the scratch file system has only ${freeBytes(host.scratch)} bytes left`;
  }
  return null;
}

function failed(vm: SimulatedVm, reason: string): UnderstudyError {
  return new UnderstudyError('freeze-failed', { vm: vm.state.name, reason });
}
