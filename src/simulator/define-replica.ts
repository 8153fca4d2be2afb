import { UnderstudyError } from '../domain/error.ts';
import type { VmId } from '../domain/ids.ts';
import type { VmNic } from '../domain/vm/vm.ts';
import type { DefineReplicaRequest } from '../ports/hypervisor.ts';
import { diskAt, sidecarAt } from './files.ts';
import { createGuest, type GuestSpec } from './guest.ts';
import { admitEpoch, type SimulatedHost, type Surroundings } from './host.ts';
import { type DiskSlot, SimulatedVm } from './vm.ts';

type Definer = {
  readonly host: SimulatedHost;
  readonly around: Surroundings;
  readonly newVmId: () => VmId;
};

/** Throws `epoch-refused`, `vm-not-off`, `name-taken`. */
export function defineReplicaVm(definer: Definer, request: DefineReplicaRequest): VmId {
  const { host, around } = definer;
  const present = presentReplica(host, request);
  if (present !== null && present.power !== 'off') {
    throw new UnderstudyError('vm-not-off', { vm: present.state.name });
  }
  requireFreeName(host, request, present);
  admitEpoch(host.epochs, request.replicaId, request.epoch);
  const id = present?.id ?? request.vmId ?? freshIdentity(definer, request.source.id);
  const { text } = request.source.configuration;
  const { identity, guest } = readDefinition(text);
  const sidecars = request.sidecars.map(
    ({ name, path }) => [name, sidecarAt(around.files, path)] as const,
  );
  const vm = new SimulatedVm({
    host,
    around,
    state: {
      id,
      name: request.name,
      memoryBytes: request.source.memoryBytes,
      cpuCount: request.source.cpuCount,
      disks: request.disks.map((disk) => slotOf(around, request, disk)),
      nics: request.source.nics.map((nic) => replicaNic(host, request, nic)),
      definition: text,
      hasSavedState: false,
      sidecars: new Map(sidecars),
      guest: createGuest(guest),
      replicaId: request.replicaId,
      identity: identity ?? request.source.id,
    },
  });
  // It is held by the VM's identity, whatever its definition is.
  vm.freeze = present?.freeze ?? null;
  host.vms.set(id, vm);
  return id;
}

function presentReplica(host: SimulatedHost, request: DefineReplicaRequest): SimulatedVm | null {
  for (const vm of host.vms.values()) if (vm.state.replicaId === request.replicaId) return vm;
  return null;
}

function requireFreeName(
  host: SimulatedHost,
  { name, vmId }: DefineReplicaRequest,
  present: SimulatedVm | null,
): void {
  for (const vm of host.vms.values()) {
    if (vm === present || (vm.state.name !== name && vm.id !== vmId)) continue;
    throw new UnderstudyError('name-taken', { what: 'VM', name });
  }
}

function freshIdentity({ host, newVmId }: Definer, source: VmId): VmId {
  return host.vms.has(source) ? newVmId() : source;
}

function slotOf(
  around: Surroundings,
  { source }: DefineReplicaRequest,
  disk: DefineReplicaRequest['disks'][number],
): DiskSlot {
  const there = diskAt(around.files, disk.path);
  const template = source.disks.find(({ key }) => key === disk.key);
  const sizeBytes = there?.sizeBytes ?? template?.sizeBytes ?? 0;
  return { ...disk, sizeBytes, unsupportedBecause: null };
}

function replicaNic(
  host: SimulatedHost,
  { networkMap, connectNics, fencedNics = [] }: DefineReplicaRequest,
  nic: VmNic,
): VmNic {
  const { isConnected, ...rest } = connectedNic(host, networkMap, nic);
  const isFenced = fencedNics === null || (nic.mac !== null && fencedNics.includes(nic.mac));
  return { ...rest, isConnected: connectNics && isConnected && (nic.isConnected || isFenced) };
}

/** A NIC as it is on this host, connected wherever the host has its network. */
export function connectedNic(
  host: SimulatedHost,
  networkMap: DefineReplicaRequest['networkMap'],
  nic: VmNic,
): VmNic {
  const mapped = Object.hasOwn(networkMap, nic.network) ? networkMap[nic.network] : nic.network;
  const network = mapped ?? nic.network;
  const isThere = mapped !== null && host.networks.includes(network);
  return { mac: nic.mac, network, isConnected: isThere };
}

type Definition = { readonly identity: VmId | null; readonly guest: GuestSpec };

/** The guest is on the disks, not in the definition; carrying it there spares the world a boot sector. */
export function writeDefinition(definition: Definition & { readonly note: string }): string {
  return JSON.stringify(definition);
}

/** A definition from elsewhere runs a plain guest. */
export function readDefinition(text: string): Definition {
  try {
    const { identity, guest } = JSON.parse(text) as Partial<Definition>;
    return { identity: identity ?? null, guest: guest ?? {} };
  } catch {
    return { identity: null, guest: {} };
  }
}
