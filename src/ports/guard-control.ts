import type { HeldVm } from '../domain/failover/start-guard.ts';
import type { Host } from '../domain/host/host.ts';
import type { CallOptions } from './call.ts';
import type { CommandOptions, Reference } from './controller.ts';
import type { GuardState } from './start-guard.ts';

/** What a host keeps from starting. */
export type GuardView = {
  readonly host: Host;
  /** `unproved`: the host does not answer. */
  readonly state: GuardState['state'] | 'unproved';
  readonly because: string;
  /** Names are null where nothing is known of the VM or the replica here. */
  readonly held: readonly (HeldVm & {
    readonly vmName: string | null;
    readonly replicaName: string | null;
  })[];
};

/** The part of the controller that is about start guards. */
export interface GuardControl {
  /** Proves by a start that must fail whether the host holds VMs back. */
  guard(host: Reference, options: CallOptions): Promise<GuardView>;
  /** `hooksFolder` null: where it is already, or where libvirt looks. Throws `guard-refused`, `access-denied`. */
  installGuard(
    host: Reference,
    hooksFolder: string | null,
    options: CommandOptions,
  ): Promise<GuardView>;
  /** What it held may start then. None is success. */
  removeGuard(host: Reference, options: CommandOptions): Promise<Host>;
  /** The VM may start, until its source is fenced or failed over again. Throws `vm-missing` for one that nobody holds. */
  liftGuard(host: Reference, vm: Reference, options: CommandOptions): Promise<GuardView>;
}
