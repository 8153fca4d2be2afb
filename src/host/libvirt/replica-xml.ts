/**
 * The definition of a replica, made from the source's: pure, text in, text out.
 *
 * What belongs to the guest stays (devices, addresses, MACs, firmware, machine, whatever we do not know); what
 * belongs to the source host goes (pinning, security labels, host devices, paths). What is lost by that the preflight says
 * beforehand, because it looks (replica-changes.ts); in which words is in preflight-changes.ts.
 */
import { dirname, join } from 'node:path';
import type { VmId } from '../../domain/ids.ts';
import type { DefineReplicaRequest } from '../../ports/hypervisor.ts';
import { adaptDevices } from './replica-devices.ts';
import { setReplicaMark } from './replica-mark.ts';
import {
  attribute,
  child,
  children,
  ensureChild,
  find,
  findAll,
  parseRoot,
  remove,
  removeChildren,
  serialiseXml,
  setAttributes,
  setText,
  type XmlElement,
} from './xml.ts';

/** What the target host offers, as far as the definition depends on it. */
export type TargetTraits = {
  /** `kvm` only where a test boot proved it. */
  readonly domainType: 'kvm' | 'qemu';
  /** Versioned machine types and aliases of the architecture; empty when unknown. */
  readonly machines: readonly string[];
};

/** What of a request the definition depends on. */
export type ReplicaRequest = Omit<DefineReplicaRequest, 'key'>;

export type ReplicaDefinition = {
  readonly request: ReplicaRequest;
  readonly vmId: VmId;
  readonly target: TargetTraits;
};

/** Throws `invalid-vm-configuration`. */
export function replicaXml(definition: ReplicaDefinition): string {
  const { source } = definition.request;
  const domain = parseRoot(source.configuration.text, 'domain', source.name);
  adaptDomain(domain, definition);
  return serialiseXml(domain);
}

/** Makes the source's definition the replica's, in place. */
export function adaptDomain(
  domain: XmlElement,
  { request, vmId, target }: ReplicaDefinition,
): void {
  domain.removeAttribute('id');
  setText(domain, 'name', request.name);
  setText(domain, 'uuid', vmId);
  setReplicaMark(domain, request);
  dropHostPlacement(domain);
  renewGenerationId(domain);
  adaptMachine(domain, target.machines);
  adaptFirmware(domain, request);
  adaptAcceleration(domain, target.domainType);
  adaptDevices(ensureChild(domain, 'devices'), request);
}

/** `pc-q35-9.0` → `q35`: the alias every host has, for hosts that lack the version. Null: no alias known. */
function machineAlias(machine: string): string | null {
  if (/^pc-q35-/.test(machine)) return 'q35';
  if (/^pc-i440fx-|^pc-\d/.test(machine)) return 'pc';
  const family = /^(virt|pseries|s390-ccw-virtio)-/.exec(machine)?.[1];
  return family ?? null;
}

/** The machine type to use: the source's, else its alias, else the source's (and libvirt will refuse by name). */
export function machineAt(machines: readonly string[], machine: string): string {
  if (machines.length === 0 || machines.includes(machine)) return machine;
  const alias = machineAlias(machine);
  return alias !== null && machines.includes(alias) ? alias : machine;
}

/** Which processors, nodes, cgroups and labels the source host gave it. */
function dropHostPlacement(domain: XmlElement): void {
  removeChildren(domain, 'seclabel', 'numatune', 'resource');
  const vcpu = child(domain, 'vcpu');
  if (vcpu !== null) setAttributes(vcpu, { cpuset: null, placement: null });
  const tune = child(domain, 'cputune');
  if (tune !== null) {
    removeChildren(tune, 'vcpupin', 'emulatorpin', 'iothreadpin', 'vcpusched', 'emulatorsched');
    removeChildren(tune, 'iothreadsched', 'cachetune', 'memorytune');
  }
  const backing = child(domain, 'memoryBacking');
  if (backing !== null) removeChildren(backing, 'hugepages', 'locked');
  const blocks = child(domain, 'blkiotune');
  if (blocks !== null) removeChildren(blocks, 'device');
}

/**
 * The generation id must differ whenever a VM goes back in time (libvirt formatdomain, "genid"): databases such as Active
 * Directory rely on it. Left empty, libvirt makes a fresh one.
 */
function renewGenerationId(domain: XmlElement): void {
  const id = child(domain, 'genid');
  if (id !== null) id.textContent = '';
}

function adaptMachine(domain: XmlElement, machines: readonly string[]): void {
  const type = find(domain, 'os/type');
  const machine = attribute(type, 'machine');
  if (type !== null && machine !== null) {
    setAttributes(type, { machine: machineAt(machines, machine) });
  }
}

/**
 * The firmware's variables are a file of the branch. At rest it points where that file would be, in a folder that does
 * not exist, so that a start by hand cannot make one from the template.
 */
function adaptFirmware(domain: XmlElement, { sidecars, disks }: ReplicaRequest): void {
  const os = child(domain, 'os');
  const nvram = os === null ? null : child(os, 'nvram');
  if (nvram === null) return;
  const first = disks[0];
  const path =
    sidecars.find((sidecar) => sidecar.name === 'nvram')?.path ??
    (first === undefined ? null : join(dirname(first.path), 'nvram'));
  removeChildren(nvram, 'source');
  // Its format stays: the file is a copy, byte for byte, and qcow2 read as raw is no set of variables.
  setAttributes(nvram, { template: null, templateFormat: null, type: null });
  if (path === null) remove(nvram);
  else nvram.textContent = path;
}

/** What only hardware virtualisation can give; without it QEMU refuses to start. */
function adaptAcceleration(domain: XmlElement, domainType: 'kvm' | 'qemu'): void {
  // A VM that was emulated on purpose stays emulated: acceleration changes the processor it sees.
  if (domainType === 'kvm' || attribute(domain, 'type') !== 'kvm') return;
  setAttributes(domain, { type: 'qemu' });
  const features = child(domain, 'features');
  if (features !== null) removeChildren(features, 'kvm', 'hyperv', 'pvspinlock', 'ioapic');
  for (const timer of findAll(domain, 'clock/timer')) {
    if (['kvmclock', 'hypervclock'].includes(attribute(timer, 'name') ?? '')) remove(timer);
    else if (attribute(timer, 'name') === 'tsc') remove(timer);
  }
  for (const driver of findAll(domain, 'devices/interface/driver')) {
    if (attribute(driver, 'name') === 'vhost') driver.removeAttribute('name');
  }
  const cpu = child(domain, 'cpu');
  if (cpu !== null) emulateProcessor(cpu);
}

/** TCG has no host processor to pass through; a named model is given as far as TCG can. */
function emulateProcessor(cpu: XmlElement): void {
  removeChildren(cpu, 'cache');
  const mode = attribute(cpu, 'mode') ?? 'custom';
  if (mode === 'custom') {
    setAttributes(cpu, { check: 'none' });
    return;
  }
  for (const name of ['model', 'vendor', 'feature']) {
    for (const element of children(cpu, name)) remove(element);
  }
  setAttributes(cpu, { mode: 'maximum', check: 'none', match: null, migratable: null });
}
