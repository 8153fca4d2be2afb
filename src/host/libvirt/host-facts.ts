/** What a libvirt host is and offers, as its daemon says; acceleration alone is proved elsewhere. */
import { access, readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { CallOptions } from '../../ports/call.ts';
import { lines } from './inspect.ts';
import type { Virsh } from './virsh.ts';
import {
  attribute,
  child,
  children,
  find,
  findAll,
  parseRoot,
  textOf,
  type XmlElement,
} from './xml.ts';

export type HostFacts = {
  /** e.g. `libvirt 9.0.0`. */
  readonly hypervisorVersion: string;
  /** e.g. `QEMU 7.2.22`. */
  readonly emulatorVersion: string;
  readonly emulatorPath: string;
  readonly architecture: string;
  /** What libvirt advertises: `kvm` here proves nothing. */
  readonly domainTypes: readonly string[];
  /** Versioned machine types and their aliases. */
  readonly machines: readonly string[];
  readonly cpuCount: number;
  readonly memoryBytes: number;
};

export async function readHostFacts(virsh: Virsh, options: CallOptions): Promise<HostFacts> {
  const [version, node, capabilities] = await Promise.all([
    virsh.run(['version', '--daemon'], options),
    virsh.run(['nodeinfo'], options),
    virsh.run(['capabilities'], options),
  ]);
  const root = parseRoot(capabilities, 'capabilities', virsh.hostName);
  const architecture = textOf(find(root, 'host/cpu/arch')) ?? 'unknown';
  const guest = findAll(root, 'guest/arch').find(
    (arch) => attribute(arch, 'name') === architecture,
  );
  return {
    hypervisorVersion: `libvirt ${field(version, 'Running against daemon') ?? 'unknown'}`,
    emulatorVersion: field(version, 'Running hypervisor') ?? 'unknown',
    emulatorPath: textOf(guest === undefined ? null : child(guest, 'emulator')) ?? '',
    architecture,
    domainTypes: guest === undefined ? [] : childAttributes(guest, 'domain', 'type'),
    machines: guest === undefined ? [] : machinesOf(guest),
    cpuCount: Number(field(node, 'CPU(s)') ?? 0),
    memoryBytes: Number.parseInt(field(node, 'Memory size') ?? '0', 10) * 1024,
  };
}

/** libvirt networks as `network:lan`, bridges as `bridge:br0`: what a NIC can be plugged into. */
export async function readNetworks(virsh: Virsh, options: CallOptions): Promise<string[]> {
  const [networks, bridges] = await Promise.all([
    virsh.run(['net-list', '--all', '--name'], options),
    listBridges(),
  ]);
  return [
    ...lines(networks).map((name) => `network:${name.trim()}`),
    ...bridges.map((name) => `bridge:${name}`),
  ];
}

/** Null where it cannot be told, e.g. because the folder is not there yet. */
export async function freeBytes(folder: string): Promise<number | null> {
  try {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch {
    // Not an error: the description says null, and whoever writes there finds out what is wrong.
    return null;
  }
}

const INTERFACES = '/sys/class/net';

/** Network devices of the host, of whatever kind. */
export function listInterfaces(): Promise<string[]> {
  return readdir(INTERFACES).catch((): string[] => []);
}

async function listBridges(): Promise<string[]> {
  const found = await Promise.all(
    (await listInterfaces()).map((name) =>
      access(join(INTERFACES, name, 'bridge')).then(
        () => [name],
        () => [],
      ),
    ),
  );
  return found.flat();
}

function field(text: string, name: string): string | null {
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name}:`));
  return line === undefined ? null : line.slice(name.length + 1).trim();
}

function machinesOf(guest: XmlElement): string[] {
  const found = new Set<string>();
  for (const owner of [guest, ...children(guest, 'domain')]) {
    for (const machine of children(owner, 'machine')) {
      found.add(textOf(machine) ?? '');
      found.add(attribute(machine, 'canonical') ?? '');
    }
  }
  found.delete('');
  return [...found];
}

function childAttributes(parent: XmlElement, name: string, of: string): string[] {
  return children(parent, name).flatMap((element) => attribute(element, of) ?? []);
}
