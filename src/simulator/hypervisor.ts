/** The `Hypervisor` port of a simulated host. */
import { BLOCK_BYTES } from '../domain/bytes.ts';
import { UnderstudyError } from '../domain/error.ts';
import type { DiskKey, VmId } from '../domain/ids.ts';
import type { PreflightFinding } from '../domain/vm/preflight.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Hypervisor, PreflightRequest } from '../ports/hypervisor.ts';
import type { CallGate, Passing } from './call-gate.ts';
import { defineReplicaVm } from './define-replica.ts';
import { requireVm, type SimulatedHost, type Surroundings } from './host.ts';
import {
  allocatedBlocks,
  contentOf,
  freeBytes,
  type Image,
  readBlock,
  writeBlock,
} from './image.ts';
import type { SimulatedVm } from './vm.ts';

/** Blocks that a flatten copies between two looks at its signal. */
const FLATTEN_BLOCKS = 64;
const FLATTEN_STEP_MS = 10;

export function createSimulatedHypervisor(parts: {
  readonly host: SimulatedHost;
  readonly around: Surroundings;
  readonly newVmId: () => VmId;
  readonly gate: CallGate;
  /** Those that a packet from here reaches, itself included. */
  readonly reachable: () => Iterable<SimulatedHost>;
}): Hypervisor {
  const { host, around, gate } = parts;
  const call = <T>(
    method: keyof Hypervisor,
    options: CallOptions,
    body: (passing: Passing) => T | Promise<T>,
  ): Promise<T> => gate.call({ host, port: 'hypervisor', method }, options, body);
  const vmOf = (vmId: VmId) => requireVm(host, vmId);

  return {
    describe: (options) => call('describe', options, () => description(host)),
    vms: (options) =>
      call('vms', options, () =>
        [...host.vms.values()].map((vm) => ({ id: vm.id, name: vm.state.name, power: vm.power })),
      ),
    vm: (vmId, options) => call('vm', options, () => vmOf(vmId).describe()),
    power: (vmId, options) => call('power', options, () => vmOf(vmId).power),
    allocatedBytes: (vmId, options) => call('allocatedBytes', options, () => heldBytes(vmOf(vmId))),
    preflightSource: (vmId, options) =>
      call('preflightSource', options, () => sourceFindings(vmOf(vmId))),
    preflightTarget: (request, options) =>
      call('preflightTarget', options, () => [
        ...targetFindings(host, request),
        ...storageFindings(host),
      ]),
    preflightStorage: (options) => call('preflightStorage', options, () => storageFindings(host)),
    defineReplica: (request, options) =>
      call('defineReplica', options, () =>
        defineReplicaVm({ host, around, newVmId: parts.newVmId }, request),
      ),
    placeDisks: ({ vmId, disks }, options) =>
      call('placeDisks', options, () => placeDisks(vmOf(vmId), disks)),
    undefine: ({ vmId }, options) =>
      call('undefine', options, () => {
        const vm = host.vms.get(vmId);
        if (vm === undefined) return;
        requireReplica(vm);
        requireOff(vm);
        host.vms.delete(vmId);
      }),
    start: ({ vmId }, options) => call('start', options, () => vmOf(vmId).start()),
    shutdown: ({ vmId, deadlineMs }, options) =>
      call('shutdown', options, (passing) => shutDown(vmOf(vmId), deadlineMs, passing)),
    powerOff: ({ vmId }, options) => call('powerOff', options, () => vmOf(vmId).stop()),
    discardSavedState: ({ vmId }, options) =>
      call('discardSavedState', options, () => {
        vmOf(vmId).state.hasSavedState = false;
      }),
    setNicsConnected: ({ vmId, connected, macs }, options) =>
      call('setNicsConnected', options, () => {
        const { state } = vmOf(vmId);
        const isMeant = (mac: string | null) =>
          macs === null || (mac !== null && macs.includes(mac));
        state.nics = state.nics.map((nic) =>
          isMeant(nic.mac) ? { ...nic, isConnected: connected } : nic,
        );
      }),
    guest: (vmId, options) =>
      call('guest', options, (passing) => askGuest(vmOf(vmId), options.deadlineMs, passing)),
    askAddress: ({ address, port }, options) =>
      call('askAddress', options, async (passing) => {
        const where = `${address}:${port}`;
        const there = vmsAt(address, parts.reachable());
        if (there.length === 0) {
          await passing.spend(options.deadlineMs);
          return { passed: false, why: `${where} does not answer` };
        }
        return there.some((vm) => vm.bootsInMs() === 0)
          ? { passed: true, why: `${where} answered` }
          : { passed: false, why: `${where} refused the connection` };
      }),
    flatten: ({ vmId, disks }, options) =>
      call('flatten', options, (passing) => flatten(vmOf(vmId), disks, passing, options)),
  };
}

function description(host: SimulatedHost) {
  return {
    hypervisorVersion: 'simulated 1.0',
    emulatorVersion: 'simulated 1.0',
    acceleration: 'software',
    cpuCount: 8,
    memoryBytes: host.memoryBytes,
    networks: [...host.networks],
    storageFreeBytes: freeBytes(host.storage),
  } as const;
}

function placeDisks(
  vm: SimulatedVm,
  disks: readonly { readonly key: DiskKey; readonly path: string }[],
): void {
  const placed = vm.state.disks.map((slot) => {
    const path = disks.find(({ key }) => key === slot.key)?.path ?? slot.path;
    return path === slot.path ? slot : { ...slot, path };
  });
  if (placed.every((slot, index) => slot === vm.state.disks[index])) return;
  requireOff(vm);
  vm.state.disks = placed;
}

/** Other people's VMs are never removed. */
function requireReplica({ state }: SimulatedVm): void {
  if (state.replicaId !== null) return;
  throw new UnderstudyError('name-taken', { what: 'VM', name: state.name });
}

function requireOff(vm: SimulatedVm): void {
  if (!isOff(vm)) throw new UnderstudyError('vm-not-off', { vm: vm.state.name });
}

async function shutDown(vm: SimulatedVm, deadlineMs: number, passing: Passing): Promise<boolean> {
  if (isOff(vm)) return true;
  const { shutdownMs } = vm.state.guest;
  if (shutdownMs === null || shutdownMs > deadlineMs || vm.power === 'paused') {
    await passing.spend(deadlineMs);
    return isOff(vm);
  }
  await passing.spend(shutdownMs);
  vm.stop();
  return true;
}

/** Asked afresh: it may have gone off meanwhile. */
function isOff(vm: SimulatedVm): boolean {
  return vm.power === 'off';
}

/** More than one where source and replica are both connected. */
function vmsAt(address: string, hosts: Iterable<SimulatedHost>): readonly SimulatedVm[] {
  return [...hosts].flatMap(({ vms }) =>
    [...vms.values()].filter((vm) => vm.isConnected && vm.state.guest.address === address),
  );
}

async function askGuest(vm: SimulatedVm, deadlineMs: number, passing: Passing) {
  const waitMs = vm.answersInMs();
  await passing.spend(Math.min(waitMs ?? deadlineMs, deadlineMs));
  const agentAnswers = vm.answersInMs() === 0;
  const addresses = agentAnswers && vm.isConnected ? [vm.state.guest.address] : [];
  return { agentAnswers, hasAgentChannel: vm.state.guest.hasAgent, addresses };
}

async function flatten(
  vm: SimulatedVm,
  disks: readonly DiskKey[],
  passing: Passing,
  options: { readonly onProgress?: (done: number, total: number) => void },
): Promise<void> {
  for (const key of disks) {
    const image = vm.image(key);
    const borrowed = allocatedBlocks(image).filter((index) => !image.blocks.has(index));
    for (let done = 0; done < borrowed.length; done += FLATTEN_BLOCKS) {
      copyUp(image, borrowed.slice(done, done + FLATTEN_BLOCKS));
      options.onProgress?.(Math.min(done + FLATTEN_BLOCKS, borrowed.length), borrowed.length);
      await passing.spend(FLATTEN_STEP_MS);
    }
    await passing.moment('copied');
    image.backing = null;
  }
}

/** What the guest wrote meanwhile is newer and stays. */
function copyUp(image: Image, indexes: readonly number[]): void {
  for (const index of indexes) {
    if (!image.blocks.has(index)) writeBlock(image, index, readBlock(image, index));
  }
}

function heldBytes(vm: SimulatedVm): number {
  const disks = vm.state.disks.filter(({ unsupportedBecause }) => unsupportedBecause === null);
  return disks.reduce((sum, { key }) => sum + contentOf(vm.image(key)).size * BLOCK_BYTES, 0);
}

function sourceFindings(vm: SimulatedVm): readonly PreflightFinding[] {
  const findings: PreflightFinding[] = [];
  for (const { key, format, unsupportedBecause } of vm.state.disks) {
    const element = `disk ${key}`;
    if (unsupportedBecause !== null) {
      findings.push({ severity: 'blocks', element, message: unsupportedBecause });
    } else if (format === 'raw') {
      const message = 'A raw disk tracks no changes: every run reads all that is allocated.';
      findings.push({ severity: 'warns', element, message });
    }
  }
  if (vm.hasInternalSnapshot) {
    const message = 'Reverting to an internal snapshot fails while our change marks exist.';
    findings.push({ severity: 'warns', element: 'internal snapshot', message });
  }
  return findings;
}

function targetFindings(
  host: SimulatedHost,
  { source, networkMap }: PreflightRequest,
): readonly PreflightFinding[] {
  const ofMemory =
    source.memoryBytes <= host.memoryBytes
      ? []
      : [
          {
            severity: 'blocks',
            element: 'memory',
            message: `It has more memory than host ${host.id}.`,
          } as const,
        ];
  const ofNics = source.nics.flatMap(({ network }) => {
    const target = Object.hasOwn(networkMap, network) ? networkMap[network] : network;
    if (target === null || target === undefined || host.networks.includes(target)) return [];
    const message = `Host ${host.id} has no network ${target}; the NIC stays disconnected.`;
    return [{ severity: 'warns', element: `network ${target}`, message } as const];
  });
  return [...ofMemory, ...ofNics];
}

function storageFindings(host: SimulatedHost): readonly PreflightFinding[] {
  if (!host.isStorageClosedToVms) return [];
  const message = `VMs may not pass through ${host.storage.path}. Open it to them.`;
  return [{ severity: 'blocks', element: 'storage folder', message }];
}
