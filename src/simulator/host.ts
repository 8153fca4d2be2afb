/** One simulated host: what lies on its disks and runs on it, whatever becomes of its controllers. */
import { GIB } from '../domain/bytes.ts';
import { UnderstudyError } from '../domain/error.ts';
import type { HeldVm } from '../domain/failover/start-guard.ts';
import type { FailbackId, HostId, OperationKey, ReplicaId, VmId } from '../domain/ids.ts';
import { type Instant, instant } from '../domain/instant.ts';
import type { HostEpochs } from '../ports/host-epochs.ts';
import type { BlockEndpoint } from '../ports/mover.ts';
import type { VirtualClock } from './clock.ts';
import type { Endpoints } from './endpoints.ts';
import type { SimulatedExport } from './exports.ts';
import type { Files } from './files.ts';
import type { Image, Room } from './image.ts';
import type { ReplicaFolder } from './replica-folder.ts';
import type { SimulatedVm } from './vm.ts';
import type { LaidLayers } from './working-layers.ts';

export type SimulatedHost = {
  readonly id: HostId;
  /** Every call to it fails with `host-unreachable`; what runs on it runs on. */
  isUnreachable: boolean;
  /** Its storage processes answer no request: transfers from and to it hang. */
  isStorageStalled: boolean;
  /** The storage folder lets no VM through to its disks: found by the preflights. */
  isStorageClosedToVms: boolean;
  readonly networks: string[];
  /** No VM with more can start here. */
  memoryBytes: number;
  /** Where replicas live. */
  readonly storage: Room;
  /** Where production disks live. */
  readonly pool: Room;
  /** Where old blocks of frozen VMs are kept. */
  readonly scratch: Room;
  readonly vms: Map<VmId, SimulatedVm>;
  /** The highest epoch that the hypervisor's agent has seen per replica. */
  readonly epochs: Map<ReplicaId, number>;
  readonly replicas: Map<ReplicaId, ReplicaFolder>;
  readonly readings: Map<OperationKey, Reading>;
  /** Working layers over production's disks. */
  readonly failbacks: Map<FailbackId, LaidLayers>;
  /** Failbacks whose layers were merged: asked again, they say so. */
  readonly committedFailbacks: Map<FailbackId, LaidLayers>;
  readonly exports: Map<string, SimulatedExport>;
  /** Isolated networks of test failovers, by test. */
  readonly testNetworks: Set<string>;
  /** What tests left to look at: by test, file name to content in base64. */
  readonly evidence: Map<string, ReadonlyMap<string, string>>;
  /** Why no isolated network can be made here; null: it can. */
  noTestNetworksBecause: string | null;
  clockOffsetMs: number;
  /** The start guard: whether it was put in, whether the host has noticed, and what it holds, by VM and replica. */
  guard: 'absent' | 'dormant' | 'active';
  readonly held: Map<string, HeldVm>;
};

/** A point or branch that is served until it is closed. */
export type Reading = {
  readonly replicaId: ReplicaId;
  readonly endpoints: readonly BlockEndpoint[];
  /** Hash tables made for it. */
  readonly paths: readonly string[];
  /** Images that are open. */
  readonly images: readonly Image[];
};

/** What the parts of a world share. */
export type Surroundings = {
  readonly clock: VirtualClock;
  readonly files: Files;
  readonly endpoints: Endpoints;
  /** Every instant that was ever frozen, with the content that a point of it must have. Empty in a world without observers. */
  readonly instants: FrozenInstant[];
  /** Whether anybody asks later what happened: what would be held against it grows for ever. */
  readonly isObserved: boolean;
};

export type FrozenInstant = {
  readonly hostId: HostId;
  readonly vmId: VmId;
  readonly key: OperationKey;
  readonly takenAt: Instant;
  /** How often the VM had lost its power, and its marks with it, by then. */
  readonly powerLosses: number;
  readonly disks: ReadonlyMap<string, FrozenContent>;
  /** Where the mark of the instant was made. */
  readonly images: ReadonlyMap<string, Image>;
};

export type FrozenContent = {
  readonly sizeBytes: number;
  readonly content: ReadonlyMap<number, number | string>;
  /** Blocks that were read through a layer into which somebody had written. */
  readonly damaged: ReadonlySet<number>;
};

export type HostSpec = {
  readonly id: HostId;
  readonly networks?: readonly string[];
  readonly storageBytes?: number;
  readonly poolBytes?: number;
  readonly scratchBytes?: number;
};

export function createSimulatedHost(spec: HostSpec): SimulatedHost {
  const room = (name: string, capacityBytes: number): Room => ({
    path: `/${spec.id}/${name}`,
    capacityBytes,
    usedBytes: 0,
  });
  return {
    id: spec.id,
    isUnreachable: false,
    isStorageStalled: false,
    isStorageClosedToVms: false,
    networks: [...(spec.networks ?? ['network:default'])],
    memoryBytes: 64 * GIB,
    storage: room('replicas', spec.storageBytes ?? 1024 * GIB),
    pool: room('pool', spec.poolBytes ?? 1024 * GIB),
    scratch: room('scratch', spec.scratchBytes ?? 64 * GIB),
    vms: new Map(),
    epochs: new Map(),
    replicas: new Map(),
    readings: new Map(),
    failbacks: new Map(),
    committedFailbacks: new Map(),
    exports: new Map(),
    testNetworks: new Set(),
    evidence: new Map(),
    noTestNetworksBecause: null,
    clockOffsetMs: 0,
    guard: 'absent',
    held: new Map(),
  };
}

/** The wall clock of the host, which need not agree with the controller's. */
export function hostNow(host: SimulatedHost, clock: VirtualClock): Instant {
  return instant(clock.now() + host.clockOffsetMs);
}

/** Throws `vm-missing`. */
export function requireVm(host: SimulatedHost, vmId: VmId): SimulatedVm {
  const vm = host.vms.get(vmId);
  if (vm === undefined) throw new UnderstudyError('vm-missing', { vm: vmId, host: host.id });
  return vm;
}

/** Throws `start-held`, whoever starts it. */
export function refuseHeld({ id: host, guard, held }: SimulatedHost, vm: VmId): void {
  if (guard !== 'active') return;
  const holding = [...held.values()].find(({ vmId }) => vmId === vm);
  if (holding === undefined) return;
  throw new UnderstudyError('start-held', { vm, host, reason: holding.reason });
}

/** Throws `epoch-refused` for an epoch below the highest seen, and remembers a higher one. */
export function admitEpoch(
  seen: { get(id: ReplicaId): number | undefined; set(id: ReplicaId, epoch: number): unknown },
  replica: ReplicaId,
  epoch: number,
): void {
  const current = seen.get(replica) ?? 0;
  if (epoch < current) throw new UnderstudyError('epoch-refused', { replica, current, epoch });
  seen.set(replica, epoch);
}

/** Asked before each command, so it costs nothing and meets no fault of its own: the command does. */
export function createSimulatedEpochs(host: SimulatedHost): HostEpochs {
  return {
    async admit({ replicaId, epoch }) {
      if (!host.isUnreachable) admitEpoch(host.epochs, replicaId, epoch);
    },
  };
}

/** Whether a VM or a reading has the image open, itself or by what lies over it. */
export function isImageOpen(host: SimulatedHost, image: Image): boolean {
  const open = [...host.readings.values()].flatMap((reading) => reading.images);
  for (const vm of host.vms.values()) open.push(...vm.openImages());
  return open.some((top) => reaches(top, image));
}

function reaches(top: Image, image: Image): boolean {
  for (let at: Image | null = top; at !== null; at = at.backing) if (at === image) return true;
  return false;
}
