import type { VmId } from '../../domain/ids.ts';
import type { VmDescription } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Sidecar } from '../../ports/hypervisor.ts';
import type { Processes } from '../../ports/processes.ts';
import { type QemuIdentity, readQemuIdentity } from './scratch-access.ts';
import type { Virsh } from './virsh.ts';

/** What a source of frozen instants is made of. */
export type PointSourceParts = {
  readonly virsh: Virsh;
  readonly processes: Processes;
  readonly clock: Clock;
  /** As people know the host, for messages. */
  readonly hostName: string;
  /** Absolute, local to the VMs; nobody but us and the hypervisor's user needs access. Made when missing. */
  readonly scratchFolder: string;
  readonly describeVm: (vmId: VmId, options: CallOptions) => Promise<VmDescription>;
  /** Copies the VM's sidecars into an existing folder. */
  readonly collectSidecars: (
    request: { readonly vm: VmDescription; readonly folder: string },
    options: CallOptions,
  ) => Promise<readonly Sidecar[]>;
};

export type FreezeContext = PointSourceParts & {
  /** Asked of the daemon once: it is a large answer, and changes only with the daemon's own configuration. */
  readonly qemuIdentity: (options: CallOptions) => Promise<QemuIdentity>;
};

export function createFreezeContext(parts: PointSourceParts): FreezeContext {
  let known: QemuIdentity | null = null;
  return {
    ...parts,
    async qemuIdentity(options) {
      known ??= await readQemuIdentity(parts.virsh, options);
      return known;
    },
  };
}

/**
 * For what must not be left half-done: the call is short or bounded by its own time limit, and whether the
 * caller went away is asked when it is over.
 */
export const UNABORTED: CallOptions = { signal: new AbortController().signal };
