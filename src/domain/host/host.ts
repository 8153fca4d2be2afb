import type { HostId } from '../ids.ts';
import type { Instant } from '../instant.ts';

/** Which driver speaks to the host. */
export type HostKind = 'libvirt' | 'simulated';

/** One hypervisor endpoint with what runs beside it. */
export type Host = {
  readonly id: HostId;
  readonly name: string;
  readonly kind: HostKind;
  /** For libvirt: a connection URI such as `qemu:///system`. */
  readonly address: string;
  /** Where replicas live on this host: an absolute folder. */
  readonly storageFolder: string;
  /** Where old blocks of frozen VMs are kept: an absolute folder beside the VMs' disks. */
  readonly scratchFolder: string;
  /** How many transfers from or to this host may run at once. */
  readonly transferSlots: number;
  /** How many test VMs may run on it at once. */
  readonly testSlots: number;
  /** What replication leaves free in the storage folder's file system; null: the smaller of 5 % and 1 GiB. */
  readonly storageReserveBytes: number | null;
  /** Where a person asked for VMs that failed over to be kept from starting on this host; null: nobody did. */
  readonly startGuard: { readonly hooksFolder: string } | null;
  readonly addedAt: Instant;
};

/** Two: a test takes as much memory and processor as the VM itself. */
export const DEFAULT_TEST_SLOTS = 2;

/** Where libvirt looks for hooks unless it was built otherwise. */
export const DEFAULT_HOOKS_FOLDER = '/etc/libvirt/hooks';

/** What a host says of itself. */
export type HostDescription = {
  readonly hypervisorVersion: string;
  readonly emulatorVersion: string;
  /** Proved by a test boot, not believed: which acceleration guests get. */
  readonly acceleration: 'hardware' | 'software' | 'unproved';
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly networks: readonly string[];
  /** Free bytes in the storage folder; null where it cannot be told. */
  readonly storageFreeBytes: number | null;
};
