import type { AddressProbe } from '../domain/failover/address-probe.ts';
import type { HostDescription } from '../domain/host/host.ts';
import type { DiskKey, OperationKey, ReplicaId, VmId } from '../domain/ids.ts';
import type { PreflightFinding } from '../domain/vm/preflight.ts';
import type { GuestReport, PowerState, VmDescription, VmSummary } from '../domain/vm/vm.ts';
import type { CallOptions } from './call.ts';
import type { ProbeAttempt } from './test-bench.ts';

/** State of a VM that lives outside its disks and definition, as a file: firmware variables, TPM contents. */
export type Sidecar = {
  readonly name: 'nvram' | 'tpm';
  /** A file on the machine of the port that takes or gives it. `tpm` is a tar of the state folder. */
  readonly path: string;
};

export type DefineReplicaRequest = {
  readonly key: OperationKey;
  readonly replicaId: ReplicaId;
  /** Refused with `epoch-refused` when the host has seen a higher one for this replica. */
  readonly epoch: number;
  readonly name: string;
  /** The source as it was at the restore point: its definition is the template. */
  readonly source: VmDescription;
  /**
   * The identity to define; null on the first definition: the source's UUID, unless this host already
   * has a VM with it, then a fresh one.
   */
  readonly vmId: VmId | null;
  /** Where each disk's file is, or would be: a replica at rest points at files that do not exist. */
  readonly disks: readonly {
    readonly key: DiskKey;
    readonly path: string;
    readonly format: 'qcow2';
  }[];
  /** Source network name → target network name, or null: leave the NIC disconnected. Unlisted: same name. */
  readonly networkMap: Readonly<Record<string, string | null>>;
  /** False: every NIC's link is down. True: it is as at the source. */
  readonly connectNics: boolean;
  /** MACs whose link is down at the source because a fence cut it off, so that theirs is up; null: all. Absent: none. */
  readonly fencedNics?: readonly string[] | null;
  /** Put in place before the definition is; empty for a replica at rest. */
  readonly sidecars: readonly Sidecar[];
};

export type PreflightRequest = {
  readonly source: VmDescription;
  /** The VM there that is its replica already, of an earlier job; absent: none. It may have the source's UUID. */
  readonly standInId?: VmId | null;
  readonly networkMap: Readonly<Record<string, string | null>>;
};

export type VmCommand = { readonly key: OperationKey; readonly vmId: VmId };

/** A hypervisor to look at: nothing here changes a VM. Errors as of `Hypervisor`. */
export interface HypervisorView {
  /** May take seconds the first time: proves acceleration by a test boot. */
  describe(options: CallOptions): Promise<HostDescription>;
  vms(options: CallOptions): Promise<readonly VmSummary[]>;
  vm(vmId: VmId, options: CallOptions): Promise<VmDescription>;
  /** Cheap and quick. `vm-missing` when the host answers that there is none. */
  power(vmId: VmId, options: CallOptions): Promise<PowerState>;

  /**
   * What the VM's disks that can be protected really hold, about: what a first restore point takes at the target. Null
   * where it cannot be told.
   */
  allocatedBytes(vmId: VmId, options: CallOptions): Promise<number | null>;

  /** What protecting this VM would disturb or miss at its own host. */
  preflightSource(vmId: VmId, options: CallOptions): Promise<readonly PreflightFinding[]>;
  /** Every element of the definition that this host, as a target, cannot honour, and what `preflightStorage` finds. */
  preflightTarget(
    request: PreflightRequest,
    options: CallOptions,
  ): Promise<readonly PreflightFinding[]>;
  /** What keeps VMs of this host from opening files in the storage folder, with the exact fix. Changes nothing. */
  preflightStorage(options: CallOptions): Promise<readonly PreflightFinding[]>;

  /** Asks the guest agent once; not answering within `deadlineMs` is a result, not an error. */
  guest(vmId: VmId, options: CallOptions & { readonly deadlineMs: number }): Promise<GuestReport>;

  /**
   * Asks the address once, from this host's network; no answer within `deadlineMs` is an attempt that did not pass. Who
   * answered is not known: whoever has the address.
   */
  askAddress(
    probe: AddressProbe,
    options: CallOptions & { readonly deadlineMs: number },
  ): Promise<ProbeAttempt>;
}

/**
 * One hypervisor. Commands are idempotent ("begins or continues"); every method may throw
 * `host-unreachable`, and those that take a VM `vm-missing`. No answer is `host-unreachable` or power
 * `unknown`, never `off`.
 */
export interface Hypervisor extends HypervisorView {
  /**
   * Defines or redefines the replica VM: no autostart, MACs kept. Never touches a running VM
   * (`vm-not-off`), nor one that is not this replica (`name-taken`).
   */
  defineReplica(request: DefineReplicaRequest, options: CallOptions): Promise<VmId>;
  /**
   * The VM, which is off, has its disks at these paths from now on, whether or not anything is there; nothing else of
   * its definition changes. Disks that it does not have are left out. Throws `vm-not-off`, unless all is so already.
   */
  placeDisks(
    command: VmCommand & {
      readonly disks: readonly { readonly key: DiskKey; readonly path: string }[];
    },
    options: CallOptions,
  ): Promise<void>;
  /** Removes the definition and our sidecars, never a disk. A VM that is not there is success. */
  undefine(command: VmCommand, options: CallOptions): Promise<void>;

  /** Resolves when the hypervisor calls it running; already running is success. */
  start(command: VmCommand, options: CallOptions): Promise<void>;
  /** Asks the guest to shut down and waits. False: still running at the deadline. */
  shutdown(
    command: VmCommand & { readonly deadlineMs: number },
    options: CallOptions,
  ): Promise<boolean>;
  /** Resolves only with positive evidence that the VM is off. */
  powerOff(command: VmCommand, options: CallOptions): Promise<void>;
  /** Removes a saved memory image, which a start would resume over disks that have changed. None is success. */
  discardSavedState(command: VmCommand, options: CallOptions): Promise<void>;
  /**
   * Sets the links of the NICs with these MACs, in the running VM and in its definition; null: of every NIC. A MAC that
   * the VM does not have is left out. What came of it is seen by `vm`.
   */
  setNicsConnected(
    command: VmCommand & { readonly connected: boolean; readonly macs: readonly string[] | null },
    options: CallOptions,
  ): Promise<void>;

  /**
   * Makes the VM's disks independent of the layers below them, while it runs or is off; the disks' paths
   * stay. May be interrupted and repeated. Layers below are only read.
   */
  flatten(
    command: VmCommand & { readonly disks: readonly DiskKey[] },
    options: CallOptions & { readonly onProgress?: (done: number, total: number) => void },
  ): Promise<void>;
}
