/** A virtual machine as a hypervisor describes it, reduced to what decisions need; the rest stays verbatim. */
import type { DiskKey, VmId } from '../ids.ts';

/** `unknown` whenever the hypervisor did not answer: never taken for `off`. */
export type PowerState = 'running' | 'paused' | 'off' | 'unknown';

export type VmDisk = {
  readonly key: DiskKey;
  readonly sizeBytes: number;
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  /** Whether the source can remember which blocks changed (qcow2 can, raw cannot). */
  readonly tracksChanges: boolean;
  /** Null when the disk can be protected; else the reason why not, for people. */
  readonly unsupportedBecause: string | null;
};

export type VmNic = {
  /** Lower case, colons. Null where the definition leaves it to the hypervisor. */
  readonly mac: string | null;
  /** The network or bridge name it is plugged into, e.g. `network:default`, `bridge:br0`, `user`. */
  readonly network: string;
  readonly isConnected: boolean;
};

export type VmConfiguration = {
  /** The hypervisor's complete definition, verbatim; elements unknown to us survive in it. */
  readonly format: 'libvirt-domain-xml' | 'hyperv-json' | 'simulated';
  readonly text: string;
};

export type VmDescription = {
  readonly id: VmId;
  readonly name: string;
  readonly power: PowerState;
  readonly memoryBytes: number;
  readonly cpuCount: number;
  readonly disks: readonly VmDisk[];
  readonly nics: readonly VmNic[];
  readonly configuration: VmConfiguration;
  /** The hypervisor holds a saved memory image that a start would resume. */
  readonly hasSavedState: boolean;
};

export type VmSummary = {
  readonly id: VmId;
  readonly name: string;
  readonly power: PowerState;
};

/** Whether the people and programs behind the VM can reach it. */
export type GuestReport = {
  /** The guest agent answered within the call's deadline. */
  readonly agentAnswers: boolean;
  /** False: the definition gives an agent no way to answer, so that waiting for it is in vain. */
  readonly hasAgentChannel: boolean;
  readonly addresses: readonly string[];
};

/** Whether a VM that looks like this can be met on a network now. */
export function isServing(vm: {
  readonly power: PowerState | 'absent';
  readonly isConnected: boolean;
}): boolean {
  return (vm.power === 'running' || vm.power === 'paused') && vm.isConnected;
}

/** As above, or nobody can say: no answer is not "off". */
export function mayServe(vm: {
  readonly power: PowerState | 'absent';
  readonly isConnected: boolean;
}): boolean {
  return vm.power === 'unknown' || isServing(vm);
}

export function isConnected(vm: VmDescription): boolean {
  return vm.nics.some((nic) => nic.isConnected);
}
