import type { FoundLayers } from '../domain/failover/failback-evidence.ts';
import type {
  DiskKey,
  FailbackId,
  MarkName,
  OperationKey,
  ReplicaId,
  VmId,
} from '../domain/ids.ts';
import type { SourceDiskAtFreeze } from '../domain/replication/transfer.ts';
import type { ConfigurationChange } from '../domain/vm/configuration-change.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { CallOptions } from './call.ts';
import type { Sidecar } from './hypervisor.ts';
import type { BlockEndpoint, ExtentSelection } from './mover.ts';

/** Every command belongs to one failback. An epoch lower than the highest one seen for the replica: `epoch-refused`. */
export type FailbackCommand = {
  readonly key: OperationKey;
  readonly failbackId: FailbackId;
  readonly replicaId: ReplicaId;
  readonly epoch: number;
};

export type LayRequest = FailbackCommand & {
  /** The VM that takes over again; null: `attach` makes a new one, and every disk has the base `none`. */
  readonly vmId: VmId | null;
  readonly disks: readonly {
    readonly key: DiskKey;
    /** Of the layer; never smaller than the disk below it. */
    readonly sizeBytes: number;
    /** `disk`: over the VM's disk of that key. `none`: a disk of its own, which the VM has not got yet. */
    readonly base: 'disk' | 'none';
    /** The mark since which the changes of the disk below are wanted; null: none is known. */
    readonly since: MarkName | null;
  }[];
};

/** What lies below a working layer: production's disk as it was left. It stands still. */
export type DiskBelow = SourceDiskAtFreeze & {
  readonly endpoint: BlockEndpoint;
  readonly extents: ExtentSelection;
};

export type WorkingDisk = {
  readonly key: DiskKey;
  /** Reads as the disk below (or zeros) until it is written to. */
  readonly layer: BlockEndpoint;
  readonly below: DiskBelow | null;
};

export type AttachRequest = FailbackCommand & {
  /** Set on every layer that tracks changes, at this very state: the next replication begins at it. */
  readonly mark: MarkName;
  /** Made on request to the definition of a VM that was there before; none for a new one. */
  readonly changes: readonly ConfigurationChange[];
  /** Put in place of the VM's own, which `park` and `drop` bring back. */
  readonly sidecars: readonly Sidecar[];
  /** How a new VM is to be; null when there is one. Its identity is that of the template unless the host has it already. */
  readonly newVm: {
    readonly name: string;
    readonly template: VmDescription;
    readonly networkMap: Readonly<Record<string, string | null>>;
  } | null;
};

/**
 * Working layers over the disks of VMs in production: where a failback writes, so that nothing production has is touched
 * before a person commits.
 *
 *   lay ─▶ (served, VM parked) ─▶ settle ─▶ attach ─▶ VM runs on the layers ─▶ commit: merged into its disks
 *    ▲                                         │ park                    └────▶ drop: as if nothing had been
 *    └─────────────────────────────────────────┘
 *
 * A parked VM's definition points at files that do not exist, so that it cannot be started by hand. What the definition
 * was is kept beside the layers until the failback ends. All commands begin or continue, and may be repeated after
 * a crash; every one may throw `host-unreachable`, and all but `drop` throw `failback-missing` for an id that was not laid.
 */
export interface ProductionDisks {
  /**
   * Makes the layers that are not there yet (also of disks that an earlier call did not name; one that is asked for larger
   * grows), parks the VM, and serves layers for writing and the disks below read-only;
   * addresses change from call to call. Throws `vm-not-off`, `saved-state-present`, `vm-missing`, `disk-in-use`,
   * `unsupported-disk` (a disk the VM has not got, or larger than its layer would be), `target-full`, `access-denied`.
   */
  lay(request: LayRequest, options: CallOptions): Promise<readonly WorkingDisk[]>;

  /** Stops serving; resolves when everything written is durable. Nothing served is success. */
  settle(command: FailbackCommand, options: CallOptions): Promise<void>;

  /** Settles, sets the mark, and points the VM (or the new one) at the layers. It is not started. Throws `vm-not-off`. */
  attach(request: AttachRequest, options: CallOptions): Promise<VmId>;

  /** Undoes `attach`: the VM is parked again (a new one is gone), the layers keep what was moved into them. Throws `vm-not-off`. */
  park(command: FailbackCommand, options: CallOptions): Promise<void>;

  /**
   * Merges every layer into the disk below it, while the VM runs or is off, and gives the VM its own disks back with the
   * changes made at `attach`; disks of base `none` stay where they are as the VM's own. The mark of `attach` lives
   * on where the disk can hold it. Repeated after its end: success.
   */
  commit(
    command: FailbackCommand,
    options: CallOptions & { readonly onProgress?: (done: number, total: number) => void },
  ): Promise<void>;

  /** The layers go and the VM is defined as it was before; one made by `attach` goes. Nothing there is success. Throws `vm-not-off`. */
  drop(command: FailbackCommand, options: CallOptions): Promise<void>;

  /**
   * What is there of a replica's failbacks, and the highest epoch seen of it (0: none was). One that was dropped whole, or
   * committed and dropped, is not told. Changes nothing, and no epoch guards it.
   */
  found(
    replicaId: ReplicaId,
    options: CallOptions,
  ): Promise<{ readonly epoch: number; readonly failbacks: readonly FoundLayers[] }>;
}
