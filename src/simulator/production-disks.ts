/** The `ProductionDisks` port of a simulated host. */
import { UnderstudyError } from '../domain/error.ts';
import { markName, type VmId } from '../domain/ids.ts';
import type { ConfigurationChange } from '../domain/vm/configuration-change.ts';
import type { CallOptions } from '../ports/call.ts';
import type {
  AttachRequest,
  FailbackCommand,
  LayRequest,
  ProductionDisks,
  WorkingDisk,
} from '../ports/production-disks.ts';
import type { CallGate, Passing } from './call-gate.ts';
import { sidecarAt } from './files.ts';
import { foundLayers } from './found-layers.ts';
import { admitEpoch, requireVm, type SimulatedHost, type Surroundings } from './host.ts';
import { commitInto, createImage, type Image, releaseImage } from './image.ts';
import { invalid, serveImage } from './partial-point.ts';
import { newVmOver } from './restored-vm.ts';
import { changesSince } from './store.ts';
import type { DiskSlot, SimulatedVm } from './vm.ts';
import type { LaidLayers, OriginalVm, WorkingLayer } from './working-layers.ts';

type Parts = {
  readonly host: SimulatedHost;
  readonly around: Surroundings;
  readonly newVmId: () => VmId;
};

export function createSimulatedProductionDisks(
  parts: Parts & { readonly gate: CallGate },
): ProductionDisks {
  const { host, gate } = parts;
  /** A command of a failback, admitted by its epoch. */
  const call = <T>(
    method: keyof ProductionDisks,
    command: FailbackCommand,
    options: CallOptions,
    body: (passing: Passing) => T | Promise<T>,
  ): Promise<T> =>
    gate.call({ host, port: 'productionDisks', method }, options, (passing) => {
      admitEpoch(host.epochs, command.replicaId, command.epoch);
      return body(passing);
    });
  return {
    lay: (request, options) => call('lay', request, options, () => lay(parts, request)),
    settle: (command, options) =>
      call('settle', command, options, () => settle(parts, requireLaid(host, command))),
    attach: (request, options) => call('attach', request, options, () => attach(parts, request)),
    park: (command, options) =>
      call('park', command, options, () => park(parts, requireLaid(host, command))),
    commit: (command, options) =>
      call('commit', command, options, (passing) => commit(parts, command, options, passing)),
    drop: (command, options) =>
      call('drop', command, options, () => {
        const laid = host.failbacks.get(command.failbackId);
        if (laid !== undefined) drop(parts, laid);
        else host.committedFailbacks.delete(command.failbackId);
      }),
    found: (replicaId, options) =>
      gate.call({ host, port: 'productionDisks', method: 'found' }, options, () =>
        foundLayers(host, replicaId),
      ),
  };
}

/** Throws `failback-missing`. */
function requireLaid(host: SimulatedHost, { failbackId }: FailbackCommand): LaidLayers {
  const laid = host.failbacks.get(failbackId);
  if (laid !== undefined) return laid;
  throw new UnderstudyError('failback-missing', { failback: failbackId, host: host.id });
}

function lay(parts: Parts, request: LayRequest): readonly WorkingDisk[] {
  const { host } = parts;
  const known = host.failbacks.get(request.failbackId);
  if (known !== undefined) takeUp(parts, known, request);
  const laid = known ?? layAnew(parts, request);
  if (laid.isAttached) park(parts, laid);
  settle(parts, laid);
  return laid.layers.map((layer) => serve(parts, laid, layer));
}

/** Disks that were not laid before, and larger sizes. */
function takeUp(parts: Parts, { layers }: LaidLayers, request: LayRequest): void {
  for (const disk of request.disks) {
    const layer = layers.find(({ key }) => key === disk.key);
    if (layer !== undefined) {
      layer.image.sizeBytes = Math.max(layer.image.sizeBytes, disk.sizeBytes);
      continue;
    }
    const added = makeLayer(parts, request, null, disk);
    parts.around.files.set(added.image.path, { type: 'disk', image: added.image });
    layers.push(added);
  }
}

function layAnew(parts: Parts, request: LayRequest): LaidLayers {
  const { host } = parts;
  const vm = request.vmId === null ? null : requireVm(host, request.vmId);
  if (vm !== null) requireStill(vm);
  const layers = request.disks.map((disk) => makeLayer(parts, request, vm, disk));
  const laid: LaidLayers = {
    id: request.failbackId,
    replicaId: request.replicaId,
    vmId: request.vmId,
    original: vm === null ? null : originalOf(vm),
    layers,
    isAttached: false,
    tracked: null,
    isCommitting: false,
  };
  for (const { image } of layers) parts.around.files.set(image.path, { type: 'disk', image });
  host.failbacks.set(laid.id, laid);
  if (vm !== null) vm.state.disks = parkedDisks(host, vm.state.disks);
  return laid;
}

function requireStill(vm: SimulatedVm): void {
  const { name, hasSavedState } = vm.state;
  if (vm.power !== 'off') throw new UnderstudyError('vm-not-off', { vm: name });
  if (hasSavedState) throw new UnderstudyError('saved-state-present', { vm: name });
}

function originalOf({ state }: SimulatedVm): OriginalVm {
  const { disks, nics, memoryBytes, cpuCount, sidecars } = state;
  return { disks, nics, memoryBytes, cpuCount, sidecars: new Map(sidecars) };
}

/** Where nothing is, so that a start by hand fails. */
function parkedDisks({ pool }: SimulatedHost, disks: readonly DiskSlot[]): readonly DiskSlot[] {
  return disks.map((disk) => ({ ...disk, path: `${pool.path}/parked/${disk.key}.none` }));
}

function makeLayer(
  { host }: Parts,
  { failbackId }: LayRequest,
  vm: SimulatedVm | null,
  { key, sizeBytes, base, since }: LayRequest['disks'][number],
): WorkingLayer {
  const below = base === 'none' ? null : diskBelow(vm, key, sizeBytes);
  const image = createImage({
    path: `${host.storage.path}/failbacks/${failbackId}/${key}.qcow2`,
    format: 'qcow2',
    sizeBytes,
    backing: below,
    room: host.storage,
  });
  return { key, image, below, since, endpoints: [] };
}

function diskBelow(vm: SimulatedVm | null, key: WorkingLayer['key'], sizeBytes: number): Image {
  const slot = vm?.state.disks.find((disk) => disk.key === key);
  const refuse = (reason: string) =>
    new UnderstudyError('unsupported-disk', { disk: key, vm: vm?.state.name ?? 'none', reason });
  if (vm === null || slot === undefined) throw refuse('the VM has no such disk');
  const image = vm.image(key);
  if (image.sizeBytes > sizeBytes) throw refuse('it is larger than its replica');
  return image;
}

function serve(parts: Parts, { id }: LaidLayers, layer: WorkingLayer): WorkingDisk {
  const { key, image, below, since } = layer;
  const written = serveImage(parts, `failback/${id}/${key}`, image, true);
  layer.endpoints = [written];
  if (below === null) return { key, layer: written, below: null };
  const { extents, changed } = changesSince(below, since);
  const endpoint = serveImage(parts, `failback/${id}/${key}/below`, below, false, changed);
  layer.endpoints = [written, endpoint];
  const lost = since === null ? null : `change mark ${since} is gone`;
  return {
    key,
    layer: written,
    below: {
      key,
      sizeBytes: below.sizeBytes,
      tracksChanges: below.format === 'qcow2',
      found:
        extents.type === 'changed' && since !== null
          ? { type: 'changed', since: markName(since) }
          : { type: 'allocated', markLostBecause: lost },
      endpoint,
      extents,
    },
  };
}

function settle({ around }: Parts, { layers }: LaidLayers): void {
  for (const layer of layers) {
    for (const endpoint of layer.endpoints) around.endpoints.close(endpoint);
    layer.endpoints = [];
  }
}

function attach(parts: Parts, request: AttachRequest): VmId {
  const { host, around } = parts;
  const laid = requireLaid(host, request);
  if (laid.isAttached && laid.vmId !== null) return laid.vmId;
  settle(parts, laid);
  for (const { image } of laid.layers) {
    image.marks.clear();
    image.marks.set(request.mark, { isOurs: true, dirty: new Set() });
  }
  const vm = laid.vmId === null ? newVmOver(parts, laid, request) : requireVm(host, laid.vmId);
  if (vm.power !== 'off') throw new UnderstudyError('vm-not-off', { vm: vm.state.name });
  const { original } = laid;
  vm.state.disks = diskSlots(laid, original);
  if (original !== null) applyChanges(vm, original, request.changes);
  for (const { name, path } of request.sidecars) {
    vm.state.sidecars.set(name, sidecarAt(around.files, path));
  }
  laid.vmId = vm.id;
  laid.isAttached = true;
  laid.tracked = { mark: request.mark, powerLosses: vm.powerLosses };
  return vm.id;
}

/** The layers in place of the disks below them, the VM's other disks as they were, and disks that it had not got. */
function diskSlots({ layers }: LaidLayers, original: OriginalVm | null): readonly DiskSlot[] {
  const slot = ({ key, image }: WorkingLayer): DiskSlot => ({
    key,
    path: image.path,
    format: 'qcow2',
    sizeBytes: image.sizeBytes,
    unsupportedBecause: null,
  });
  const kept = (original?.disks ?? []).map((disk) => {
    const layer = layers.find(({ key }) => key === disk.key);
    return layer === undefined ? disk : slot(layer);
  });
  const added = layers.filter(({ key }) => !kept.some((disk) => disk.key === key));
  return [...kept, ...added.map(slot)];
}

function applyChanges(
  { state }: SimulatedVm,
  original: OriginalVm,
  changes: readonly ConfigurationChange[],
): void {
  state.nics = original.nics;
  for (const change of changes) {
    if (change.type === 'memory') state.memoryBytes = change.toBytes;
    if (change.type === 'cpus') state.cpuCount = change.to;
    if (change.type === 'nic-removed') {
      state.nics = state.nics.filter(({ mac }) => mac !== change.mac);
    }
    if (change.type === 'nic-added') {
      const { mac, network } = change;
      state.nics = [...state.nics, { mac, network, isConnected: true }];
    }
    if (change.type === 'disk-removed') {
      state.disks = state.disks.filter(({ key }) => key !== change.key);
    }
  }
}

/** Throws `vm-not-off`. */
function park({ host }: Parts, laid: LaidLayers): void {
  if (laid.isCommitting) throw invalid(`failback ${laid.id} is committed`);
  const vm = laid.vmId === null ? undefined : host.vms.get(laid.vmId);
  if (vm !== undefined && laid.isAttached) {
    if (vm.power !== 'off') throw new UnderstudyError('vm-not-off', { vm: vm.state.name });
    if (laid.original === null) {
      host.vms.delete(vm.id);
      laid.vmId = null;
    } else {
      restore(vm, laid.original);
      vm.state.disks = parkedDisks(host, vm.state.disks);
    }
  }
  laid.isAttached = false;
}

function restore({ state }: SimulatedVm, original: OriginalVm): void {
  Object.assign(state, original);
  state.sidecars = new Map(original.sidecars);
}

async function commit(
  parts: Parts,
  command: FailbackCommand,
  options: { readonly onProgress?: (done: number, total: number) => void },
  passing: Passing,
): Promise<void> {
  const { host, around } = parts;
  if (host.committedFailbacks.has(command.failbackId)) return;
  const laid = requireLaid(host, command);
  if (laid.vmId === null) throw new Error(`failback ${laid.id} has no VM to commit to`);
  const vm = requireVm(host, laid.vmId);
  if (!laid.isAttached) throw invalid(`failback ${laid.id} has not switched over`);
  requireNoFreeze(vm);
  laid.isCommitting = true;
  for (const [index, layer] of laid.layers.entries()) {
    if (layer.below !== null && !layer.image.isRemoved) {
      merge(vm, layer, layer.below, laid.original);
      await passing.moment('merged');
      around.files.delete(layer.image.path);
      releaseImage(layer.image);
    }
    options.onProgress?.(index + 1, laid.layers.length);
  }
  host.failbacks.delete(laid.id);
  host.committedFailbacks.set(laid.id, laid);
}

/** A hypervisor has one job of a disk at a time, and a freeze is one: refused as by libvirt's driver. */
function requireNoFreeze({ freeze, state }: SimulatedVm): void {
  if (freeze === null) return;
  throw new UnderstudyError('vm-busy', {
    vm: state.name,
    reason: 'a job works on its disks: Backup',
  });
}

/** The VM goes on with its own disk. Older marks of that disk see what was merged; the layer's own goes along. */
function merge(
  vm: SimulatedVm,
  { key, image }: WorkingLayer,
  below: Image,
  original: OriginalVm | null,
): void {
  if (vm.image(key) === below) return;
  commitInto(below, image);
  for (const mark of below.marks.values()) {
    for (const index of image.blocks.keys()) mark.dirty.add(index);
  }
  if (below.format === 'qcow2') for (const [name, mark] of image.marks) below.marks.set(name, mark);
  vm.pivot(key, below);
  const own = original?.disks.find((disk) => disk.key === key);
  vm.state.disks = vm.state.disks.map((disk) => (disk.key === key && own ? own : disk));
}

function drop(parts: Parts, laid: LaidLayers): void {
  const { host, around } = parts;
  park(parts, laid);
  settle(parts, laid);
  for (const { image } of laid.layers) {
    around.files.delete(image.path);
    releaseImage(image);
  }
  const vm = laid.vmId === null ? undefined : host.vms.get(laid.vmId);
  if (vm !== undefined && laid.original !== null) restore(vm, laid.original);
  host.failbacks.delete(laid.id);
}
