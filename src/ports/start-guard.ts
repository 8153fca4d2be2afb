import type { HeldVm } from '../domain/failover/start-guard.ts';
import type { ReplicaId, VmId } from '../domain/ids.ts';
import type { CallOptions } from './call.ts';

/**
 *   absent    it is not installed
 *   dormant   it is installed, but the host was seen to start a VM that it should have refused: `because` says what to do
 *   active    the host was seen to refuse a start
 */
export type GuardState = {
  readonly state: 'absent' | 'dormant' | 'active';
  /** A sentence: what was seen, and where it is not active, what to do. */
  readonly because: string;
};

/**
 * Keeps single VMs of one host from starting, whoever starts them, also while nobody but the host is there. It is put
 * into the host only when a person asks. VMs that are not held start as ever, whatever is wrong with the guard. Every
 * method may throw `host-unreachable`; and `access-denied` where its files cannot be written, with the exact fix.
 */
export interface StartGuard {
  /** Puts it into the host; once more brings it up to date. Throws `guard-refused` where the host cannot have one. */
  install(options: CallOptions): Promise<void>;
  /** Takes it out of the host; every held VM may start then. None is success. */
  remove(options: CallOptions): Promise<void>;
  /** Proved by a start that the host must refuse, not believed. Leaves nothing behind. */
  prove(options: CallOptions): Promise<GuardState>;

  /** In the order of their VMs; none where it is not installed. */
  held(options: CallOptions): Promise<readonly HeldVm[]>;
  /**
   * From now on a start of the VM is refused, and whoever tries is told the reason. A VM that runs runs on. Throws
   * `guard-absent` where it is not installed, `epoch-refused` where the host holds the VM for a newer epoch of the replica.
   */
  hold(vm: HeldVm, options: CallOptions): Promise<void>;
  /**
   * The VM may start again, as far as this replica is concerned. One that is not held is success. Throws `epoch-refused`
   * where it is held for a newer epoch.
   */
  release(
    command: { readonly vmId: VmId; readonly replicaId: ReplicaId; readonly epoch: number },
    options: CallOptions,
  ): Promise<void>;
}
