/** The hypervisor port on libvirt: every method is a few `virsh` calls, put together in the files beside this one. */
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Hypervisor } from '../../ports/hypervisor.ts';
import type { Ids } from '../../ports/ids.ts';
import type { Processes } from '../../ports/processes.ts';
import { createAccelerationProof, PROVABLE_ARCHITECTURE } from './acceleration.ts';
import { allocatedBytes } from './allocated-bytes.ts';
import { askAddress } from './ask-address.ts';
import { defineReplicaVm, undefineReplicaVm } from './define.ts';
import { readDomainSchema, type SchemaElement } from './domain-schema.ts';
import { flattenDisks } from './flatten.ts';
import { askGuest } from './guest.ts';
import { freeBytes, type HostFacts, readHostFacts, readNetworks } from './host-facts.ts';
import { describeVm, listVms, readFlags, readPower } from './inspect.ts';
import { setNicsConnected } from './nics.ts';
import { placeDisks } from './place-disks.ts';
import { powerOffVm, shutDownVm, startVm } from './power.ts';
import { preflightSourceVm } from './preflight-source.ts';
import { preflightTargetVm } from './preflight-target.ts';
import type { TargetTraits } from './replica-xml.ts';
import { readQemuIdentity } from './scratch-access.ts';
import { storageFindings } from './storage-access.ts';
import type { Virsh } from './virsh.ts';

export type LibvirtSettings = {
  readonly virsh: Virsh;
  readonly processes: Processes;
  readonly clock: Clock;
  readonly ids: Ids;
  /** Where replicas live: absolute, readable by QEMU. */
  readonly storageFolder: string;
  /** Where the daemon keeps TPM state; without it, where a system daemon does. */
  readonly swtpmFolder?: string;
};

/** `traits` is what definitions depend on, for whoever else defines VMs there. */
export type LibvirtHypervisor = Hypervisor & {
  traits(options: CallOptions): Promise<TargetTraits>;
};

export function createLibvirtHypervisor(settings: LibvirtSettings): LibvirtHypervisor {
  const { virsh, clock, storageFolder } = settings;
  const target = targetOf(settings);
  return {
    traits: target.traits,
    async describe(options) {
      const facts = await target.refresh(options);
      const [networks, storageFreeBytes, acceleration] = await Promise.all([
        readNetworks(virsh, options),
        freeBytes(storageFolder),
        target.acceleration(options),
      ]);
      const { hypervisorVersion, emulatorVersion, cpuCount, memoryBytes } = facts;
      const host = { hypervisorVersion, emulatorVersion, cpuCount, memoryBytes };
      return { ...host, acceleration, networks, storageFreeBytes };
    },
    vms: (options) => listVms(virsh, options),
    vm: (id, options) => describeVm(virsh, id, options),
    power: (id, options) => readPower(virsh, id, options),
    allocatedBytes: (id, options) => allocatedBytes(settings, id, options),
    preflightSource: (id, options) => preflightSourceVm(settings, id, options),
    async preflightTarget(request, options) {
      const [facts, acceleration, traits, schema] = await Promise.all([
        target.facts(options),
        target.acceleration(options),
        target.traits(options),
        target.schema(options),
      ]);
      const check = { request, facts, acceleration, traits, schema };
      return [
        ...(await preflightTargetVm(settings, check, options)),
        ...(await storageOf(settings, options)),
      ];
    },
    preflightStorage: (options) => storageOf(settings, options),
    async defineReplica(request, options) {
      const traits = await target.traits(options);
      return defineReplicaVm(settings, { request, target: traits }, options);
    },
    placeDisks: (command, options) => placeDisks(virsh, command, options),
    undefine: ({ vmId }, options) => undefineReplicaVm(virsh, vmId, options),
    start: ({ vmId }, options) => startVm(virsh, vmId, options),
    shutdown: ({ vmId, deadlineMs }, options) =>
      shutDownVm({ virsh, clock, vmId, deadlineMs }, options),
    powerOff: ({ vmId }, options) => powerOffVm(virsh, vmId, options),
    async discardSavedState({ vmId }, options) {
      const { hasSavedState } = await readFlags(virsh, vmId, options);
      if (hasSavedState) await virsh.run(['managedsave-remove', '--', vmId], options);
    },
    setNicsConnected: (command, options) => setNicsConnected(virsh, command, options),
    guest: (vmId, { signal, deadlineMs }) => askGuest(virsh, { vmId, deadlineMs }, { signal }),
    askAddress: (probe, { signal, deadlineMs: limitMs }) =>
      askAddress({ probe, limitMs }, { signal }),
    flatten: ({ vmId, disks }, { signal, onProgress = () => undefined }) =>
      flattenDisks(settings, { vmId, disks, onProgress }, { signal }),
  };
}

async function storageOf(
  { virsh, processes, storageFolder }: LibvirtSettings,
  options: CallOptions,
): Promise<readonly PreflightFinding[]> {
  const identity = await readQemuIdentity(virsh, options);
  return storageFindings({ storageFolder, identity, processes }, options);
}

type Target = {
  /** Asks the daemon anew. */
  refresh(options: CallOptions): Promise<HostFacts>;
  /** As last read: a failover does not wait for what changes only when software is updated. */
  facts(options: CallOptions): Promise<HostFacts>;
  acceleration(options: CallOptions): Promise<'hardware' | 'software' | 'unproved'>;
  traits(options: CallOptions): Promise<TargetTraits>;
  /** Read again when libvirt is another: a tenth of a second's work, for each of a hundred VMs of a job. */
  schema(options: CallOptions): Promise<SchemaElement | null>;
};

function targetOf({ virsh, clock, storageFolder }: LibvirtSettings): Target {
  const proof = createAccelerationProof({ virsh, clock, folder: storageFolder });
  let known: HostFacts | null = null;
  let schema: Promise<SchemaElement | null> | null = null;
  const refresh = async (options: CallOptions): Promise<HostFacts> => {
    const before = known?.hypervisorVersion;
    known = await readHostFacts(virsh, options);
    if (known.hypervisorVersion !== before) schema = null;
    return known;
  };
  const facts = async (options: CallOptions): Promise<HostFacts> => known ?? refresh(options);
  const acceleration = async (options: CallOptions) => proof.of(await facts(options), options);
  return {
    refresh,
    facts,
    acceleration,
    async schema(options) {
      await facts(options);
      schema ??= readDomainSchema();
      return schema;
    },
    async traits(options) {
      const { machines, domainTypes, architecture } = await facts(options);
      const proved = await acceleration(options);
      // Where there is no test boot for the architecture, what libvirt advertises is all there is.
      const isBelieved = architecture !== PROVABLE_ARCHITECTURE && domainTypes.includes('kvm');
      const isHardware = proved === 'hardware' || isBelieved;
      return { machines, domainType: isHardware ? 'kvm' : 'qemu' };
    },
  };
}
