import { MIB } from '../domain/bytes.ts';
import type { DiskKey, VmId } from '../domain/ids.ts';
import type { VmNic } from '../domain/vm/vm.ts';
import { writeDefinition } from './define-replica.ts';
import { createGuest, type GuestSpec } from './guest.ts';
import type { SimulatedHost, Surroundings } from './host.ts';
import { createImage, type Image, type Room } from './image.ts';
import { type DiskSlot, SimulatedVm } from './vm.ts';

export type DiskSpec = {
  readonly key: DiskKey;
  readonly sizeBytes: number;
  readonly format?: 'qcow2' | 'raw';
  readonly unsupportedBecause?: string | null;
};

export type VmSpec = {
  readonly id?: VmId;
  readonly name: string;
  readonly disks: readonly DiskSpec[];
  readonly nics?: readonly VmNic[];
  readonly guest?: GuestSpec;
  readonly sidecars?: ReadonlyMap<'nvram' | 'tpm', string>;
  readonly memoryBytes?: number;
  readonly cpuCount?: number;
  /** Whose copy it is; without it, its own. */
  readonly identity?: VmId;
};

/** A VM of its own, off, with empty disks in the host's pool. */
export function createVm(
  place: {
    readonly host: SimulatedHost;
    readonly around: Surroundings;
    readonly newVmId: () => VmId;
  },
  spec: VmSpec,
): SimulatedVm {
  const { host, around } = place;
  const id = spec.id ?? place.newVmId();
  const guest = spec.guest ?? {};
  const identity = spec.identity ?? id;
  const nic: VmNic = { mac: macOf(id), network: 'network:default', isConnected: true };
  const vm = new SimulatedVm({
    host,
    around,
    state: {
      id,
      name: spec.name,
      memoryBytes: spec.memoryBytes ?? 512 * MIB,
      cpuCount: spec.cpuCount ?? 1,
      disks: spec.disks.map((disk) => createDisk(place, id, disk)),
      nics: spec.nics ?? [nic],
      definition: writeDefinition({ identity, guest, note: `the definition of ${spec.name}` }),
      hasSavedState: false,
      sidecars: new Map(spec.sidecars ?? []),
      guest: createGuest(guest),
      replicaId: null,
      identity,
    },
  });
  host.vms.set(id, vm);
  return vm;
}

/** Adds an empty disk to a VM. */
export function createDisk(
  { host, around }: { readonly host: SimulatedHost; readonly around: Surroundings },
  id: VmId,
  spec: DiskSpec,
): DiskSlot {
  const format = spec.format ?? 'qcow2';
  const path = `${host.pool.path}/${id}/${spec.key}.${format}`;
  const image = poolImage(host.pool, path, { ...spec, format });
  around.files.set(path, { type: 'disk', image });
  const { key, sizeBytes, unsupportedBecause } = spec;
  return { key, path, format, sizeBytes, unsupportedBecause: unsupportedBecause ?? null };
}

function poolImage(
  room: Room,
  path: string,
  { format, sizeBytes }: { readonly format: 'qcow2' | 'raw'; readonly sizeBytes: number },
): Image {
  return createImage({ path, format, sizeBytes, backing: null, room });
}

/** Locally administered, and the same for the same VM. */
function macOf(id: VmId): string {
  const digits = id.replaceAll('-', '').slice(-10);
  return `02:${digits.match(/../g)?.join(':') ?? ''}`;
}
