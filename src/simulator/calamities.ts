/** What the world does to hosts and disks, and people do to files, without asking any port. */
import { BLOCK_BYTES } from '../domain/bytes.ts';
import type { DiskKey, LayerId, ReplicaId } from '../domain/ids.ts';
import { readDefinition, writeDefinition } from './define-replica.ts';
import type { HostTrouble } from './faults.ts';
import { spoil } from './freeze.ts';
import type { SimulatedHost } from './host.ts';
import { type Token, writeBlock } from './image.ts';
import { requireLayer } from './replica-folder.ts';
import { reloadHost } from './start-guard.ts';
import { requireFolder } from './store.ts';
import type { SimulatedVm } from './vm.ts';
import { createDisk, type DiskSpec } from './vm-factory.ts';
import type { World } from './world.ts';

/** The host loses power and comes back: VMs are off, marks of running ones lost, nothing is served any more. */
export function losePower(world: World, host: SimulatedHost): void {
  for (const vm of host.vms.values()) {
    vm.losePower();
    if (vm.freeze !== null) spoil(vm.freeze, 'the host lost power');
  }
  forgetReadings(world, host);
  reloadHost(host);
  world.endpoints.closeHost(host.id);
}

/** What runs beside the hypervisor is started anew: all that it served is gone. A QEMU serves a frozen VM itself. */
export function restartAgent(world: World, host: SimulatedHost): void {
  for (const path of world.endpoints.addresses()) {
    const isOurs = path.startsWith(`sim:${host.id}/`) && !path.startsWith(`sim:${host.id}/freeze/`);
    if (isOurs) world.endpoints.close({ address: { type: 'unix', path }, exportName: 'disk' });
  }
  forgetReadings(world, host);
  for (const { freeze } of host.vms.values()) {
    if (freeze?.isLive === false) spoil(freeze, 'the agent was started anew');
  }
}

/** An agent that begins removes what an earlier life's readings had on the disk. */
function forgetReadings(world: World, { readings }: SimulatedHost): void {
  for (const { paths } of readings.values()) for (const path of paths) world.files.delete(path);
  readings.clear();
}

/** Longer than any step tries again. */
const AWAY_MS = 5 * 60_000;

/** Nobody reaches it for some minutes. */
function goAway(world: World, host: SimulatedHost): void {
  host.isUnreachable = true;
  const back = world.clock.every(AWAY_MS, () => {
    host.isUnreachable = false;
    back[Symbol.dispose]();
  });
}

export function strike(world: World, host: SimulatedHost, trouble: HostTrouble): void {
  if (trouble === 'away') goAway(world, host);
  else if (trouble === 'agent') restartAgent(world, host);
  else losePower(world, host);
}

/** Grows or shrinks a disk, as its hypervisor would; refused by a freeze. What marks knew of the lost end is lost, as with QEMU. */
export function resizeDisk(vm: SimulatedVm, key: DiskKey, sizeBytes: number): void {
  if (vm.freeze !== null) throw new Error(`disk ${key} is frozen`);
  const image = vm.image(key);
  for (const index of image.blocks.keys()) {
    if (index * BLOCK_BYTES >= sizeBytes) image.blocks.delete(index);
  }
  for (const { dirty } of image.marks.values()) {
    for (const index of dirty) if (index * BLOCK_BYTES >= sizeBytes) dirty.delete(index);
  }
  image.sizeBytes = sizeBytes;
}

/** Defines it with other memory: what runs has it from its next start on, here at once. */
export function changeMemory({ state }: SimulatedVm, memoryBytes: number): void {
  const { identity, guest } = readDefinition(state.definition);
  state.memoryBytes = memoryBytes;
  state.definition = writeDefinition({ identity, guest, note: `with ${memoryBytes} bytes` });
}

/** Plugs every NIC into another network. */
export function replug({ state }: SimulatedVm, network: string): void {
  const { identity, guest } = readDefinition(state.definition);
  state.nics = state.nics.map((nic) => ({ ...nic, network }));
  state.definition = writeDefinition({ identity, guest, note: `plugged into ${network}` });
}

/** Adds an empty disk to a VM that is off. */
export function addDisk(world: World, host: SimulatedHost, vm: SimulatedVm, spec: DiskSpec): void {
  const slot = createDisk({ host, around: world }, vm.id, spec);
  vm.state.disks = [...vm.state.disks, slot];
}

/** Takes a disk from a VM that is off; its file stays. */
export function removeDisk(vm: SimulatedVm, key: DiskKey): void {
  vm.state.disks = vm.state.disks.filter((disk) => disk.key !== key);
}

/** Somebody writes into a sealed layer; the file shows it. */
export function tamperLayer(
  host: SimulatedHost,
  at: { readonly replicaId: ReplicaId; readonly layerId: LayerId },
  index: number,
  token: Token,
): void {
  const { image } = requireLayer(requireFolder(host, at.replicaId), at.layerId);
  writeBlock(image, index, token);
  image.damaged.add(index);
}

/** Somebody touches a sealed layer without changing what it holds. */
export function touchLayer(
  host: SimulatedHost,
  at: { readonly replicaId: ReplicaId; readonly layerId: LayerId },
): void {
  requireLayer(requireFolder(host, at.replicaId), at.layerId).image.identity += 1;
}

/** The storage returns other content than was written, and the file does not show it. */
export function rotLayer(
  host: SimulatedHost,
  at: { readonly replicaId: ReplicaId; readonly layerId: LayerId },
  index: number,
  token: Token,
): void {
  requireLayer(requireFolder(host, at.replicaId), at.layerId).image.blocks.set(index, token);
}

/** Somebody removes a sealed layer's file. */
export function removeLayer(
  world: World,
  host: SimulatedHost,
  at: { readonly replicaId: ReplicaId; readonly layerId: LayerId },
): void {
  world.files.delete(requireLayer(requireFolder(host, at.replicaId), at.layerId).image.path);
}
