/**
 * Every element of a source's definition that this host, as a target, cannot honour. The counterpart of `replica-xml.ts`:
 * what that file drops or changes is said here. Device models are compared with what libvirt says this QEMU can do.
 */
import { access } from 'node:fs/promises';
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { PreflightRequest } from '../../ports/hypervisor.ts';
import type { Acceleration } from './acceleration.ts';
import { hasCode } from './errors.ts';
import { blocks, warns } from './finding.ts';
import { type HostFacts, readNetworks } from './host-facts.ts';
import { lines } from './inspect.ts';
import { deviceFindings } from './preflight-devices.ts';
import { networkFindings } from './preflight-networks.ts';
import { platformFindings } from './preflight-platform.ts';
import { machineAt } from './replica-xml.ts';
import type { Virsh } from './virsh.ts';
import { attribute, find, findAll, parseRoot, textOf, type XmlElement } from './xml.ts';

export type TargetPreflight = {
  readonly request: PreflightRequest;
  readonly facts: HostFacts;
  readonly acceleration: Acceleration;
};

export async function preflightTargetVm(
  virsh: Virsh,
  { request, facts, acceleration }: TargetPreflight,
  options: CallOptions,
): Promise<PreflightFinding[]> {
  const { source, networkMap } = request;
  const domain = parseRoot(source.configuration.text, 'domain', source.name);
  const [capabilities, networks, active, files, taken] = await Promise.all([
    readCapabilities(virsh, { domain, facts, acceleration }, options),
    readNetworks(virsh, options),
    virsh.run(['net-list', '--name'], options),
    missingFiles(domain),
    virsh.run(['list', '--all', '--uuid'], options),
  ]);
  return [
    ...platformFindings({ domain, source, facts, acceleration, capabilities }),
    ...files,
    ...networkFindings({
      domain,
      networkMap,
      networks,
      active: lines(active).map((n) => n.trim()),
    }),
    ...deviceFindings(domain, capabilities),
    ...identityFindings(source.id, lines(taken)),
    ...source.disks
      .filter(({ unsupportedBecause }) => unsupportedBecause !== null)
      .map(({ key, unsupportedBecause }) =>
        warns(`disk ${key}`, `The replica does not have it: ${unsupportedBecause}.`),
      ),
  ];
}

/** What libvirt says of exactly this kind of VM; a string: why it has no answer. */
async function readCapabilities(
  virsh: Virsh,
  { domain, facts, acceleration }: Omit<TargetPreflight, 'request'> & { domain: XmlElement },
  options: CallOptions,
): Promise<XmlElement | string> {
  const type = find(domain, 'os/type');
  const machine = attribute(type, 'machine');
  const isAccelerated = acceleration === 'hardware' && attribute(domain, 'type') === 'kvm';
  const args = ['domcapabilities', '--virttype', isAccelerated ? 'kvm' : 'qemu'];
  args.push('--arch', attribute(type, 'arch') ?? facts.architecture);
  if (machine !== null) args.push('--machine', machineAt(facts.machines, machine));
  try {
    return parseRoot(await virsh.run(args, options), 'domainCapabilities', virsh.hostName);
  } catch (error) {
    if (hasCode(error, 'hypervisor-refused')) return String(error.details.reason);
    throw error;
  }
}

/** Firmware and kernels are files of the host. */
async function missingFiles(domain: XmlElement): Promise<PreflightFinding[]> {
  const remedies: Readonly<Record<string, string>> = {
    loader: 'Install the same firmware there (package ovmf or edk2-ovmf).',
    kernel: 'Copy it there.',
    initrd: 'Copy it there.',
    dtb: 'Copy it there.',
  };
  const found = await Promise.all(
    Object.entries(remedies).flatMap(([name, remedy]) =>
      findAll(domain, `os/${name}`).map(async (element) => {
        const path = textOf(element) ?? '';
        if (path === '' || (await exists(path))) return [];
        return [blocks(`firmware ${name}`, `The target has no ${path}. ${remedy}`)];
      }),
    ),
  );
  return found.flat();
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function identityFindings(id: string, taken: readonly string[]): PreflightFinding[] {
  if (!taken.some((line) => line.trim() === id)) return [];
  const message =
    'The target already has a VM with the UUID of the source: the replica gets another one, which software licences and ' +
    'cloud-init may notice.';
  return [warns('uuid', message)];
}
