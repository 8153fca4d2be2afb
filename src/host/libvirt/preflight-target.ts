/**
 * Every element of a source's definition that this host, as a target, cannot honour: what the replica's definition does not
 * take over, and what of the rest this host lacks.
 */
import { access } from 'node:fs/promises';
import { replicaId } from '../../domain/ids.ts';
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { PreflightRequest } from '../../ports/hypervisor.ts';
import type { Processes } from '../../ports/processes.ts';
import type { Acceleration } from './acceleration.ts';
import type { SchemaElement } from './domain-schema.ts';
import { hasCode } from './errors.ts';
import { blocks, warns } from './finding.ts';
import { type HostFacts, listInterfaces, readNetworks } from './host-facts.ts';
import { lines, unlessRefused } from './inspect.ts';
import { changeFindings } from './preflight-changes.ts';
import { refusalFindings, unknownFindings } from './preflight-definition.ts';
import { deviceFindings } from './preflight-devices.ts';
import { modelFindings, readDeviceNames } from './preflight-models.ts';
import { networkFindings } from './preflight-networks.ts';
import { platformFindings } from './preflight-platform.ts';
import { changesBy } from './replica-changes.ts';
import { adaptDomain, machineAt, type TargetTraits } from './replica-xml.ts';
import type { Virsh } from './virsh.ts';
import { attribute, child, find, findAll, parseRoot, textOf, type XmlElement } from './xml.ts';

export type TargetPreflight = {
  readonly request: PreflightRequest;
  readonly facts: HostFacts;
  readonly acceleration: Acceleration;
  readonly traits: TargetTraits;
  /** Null: it is not known what libvirt knows. */
  readonly schema: SchemaElement | null;
};

export type TargetTools = { readonly virsh: Virsh; readonly processes: Processes };

export async function preflightTargetVm(
  { virsh, processes }: TargetTools,
  { request, facts, acceleration, traits, schema }: TargetPreflight,
  options: CallOptions,
): Promise<PreflightFinding[]> {
  const { source, networkMap, standInId } = request;
  const { domain, replica, changes } = replicaOf(request, traits);
  const [capabilities, networks, interfaces, active, filters, files, taken, refusals] =
    await Promise.all([
      readCapabilities(virsh, { domain, facts, traits }, options),
      readNetworks(virsh, options),
      listInterfaces(),
      virsh.run(['net-list', '--name'], options),
      readFilters(virsh, options),
      missingFiles(replica),
      virsh.run(['list', '--all', '--uuid'], options),
      refusalFindings(virsh, replica, options),
    ]);
  const emulator = typeof capabilities === 'string' ? null : textOf(child(capabilities, 'path'));
  const known = await readDeviceNames(processes, emulator ?? facts.emulatorPath, options);
  return [
    ...platformFindings({ domain, replica, source, facts, acceleration, capabilities }),
    ...changeFindings(changes),
    ...unknownFindings(replica, { schema, version: facts.hypervisorVersion }),
    ...files,
    ...networkFindings({
      domain,
      replica,
      networkMap,
      networks,
      interfaces,
      active: lines(active).map((n) => n.trim()),
      filters,
    }),
    ...deviceFindings(replica, capabilities),
    ...modelFindings(replica, known),
    ...refusals,
    ...(standInId === source.id ? [] : identityFindings(source.id, lines(taken))),
    ...source.disks
      .filter(({ unsupportedBecause }) => unsupportedBecause !== null)
      .map(({ key, unsupportedBecause }) =>
        warns(`disk ${key}`, `The replica does not have it: ${unsupportedBecause}.`),
      ),
  ];
}

/** The definition that the replica would have, and what becomes of the source's by that. */
function replicaOf({ source, networkMap }: PreflightRequest, target: TargetTraits) {
  const text = source.configuration.text;
  const domain = parseRoot(text, 'domain', source.name);
  const replica = parseRoot(text, 'domain', source.name);
  const disks = source.disks
    .filter(({ unsupportedBecause }) => unsupportedBecause === null)
    .map(({ key }) => ({ key, path: `/${key}.qcow2`, format: 'qcow2' as const }));
  const changes = changesBy(domain, replica, () =>
    adaptDomain(replica, {
      request: {
        replicaId: replicaId('preflight'),
        epoch: 0,
        name: source.name,
        source,
        vmId: null,
        disks,
        networkMap,
        connectNics: true,
        sidecars: [],
      },
      vmId: source.id,
      target,
    }),
  );
  return { domain, replica, changes };
}

/** Null: this libvirt has no filters, or does not tell. */
async function readFilters(virsh: Virsh, options: CallOptions): Promise<string[] | null> {
  const table = await unlessRefused(virsh.run(['nwfilter-list'], options));
  // ` <uuid>  <name>`, below a head.
  const rows = table?.matchAll(/^\s*[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\s+(.+?)\s*$/gm);
  return rows === undefined ? null : [...rows].map(([, name = '']) => name);
}

/** What libvirt says of exactly this kind of VM; a string: why it has no answer. */
async function readCapabilities(
  virsh: Virsh,
  { domain, facts, traits }: Pick<TargetPreflight, 'facts' | 'traits'> & { domain: XmlElement },
  options: CallOptions,
): Promise<XmlElement | string> {
  const type = find(domain, 'os/type');
  const machine = attribute(type, 'machine');
  const isAccelerated = traits.domainType === 'kvm' && attribute(domain, 'type') === 'kvm';
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

type HostFile = {
  readonly path: string;
  readonly element: string;
  /** Null: the text of the element. */
  readonly attribute: string | null;
  readonly remedy: string;
};

const FIRMWARE = 'Install the same firmware there (package ovmf or edk2-ovmf).';
const COPY = 'Copy it there.';

/** Files of the host that the replica's definition names as the source's does. */
const HOST_FILES: readonly HostFile[] = [
  { path: 'os/loader', element: 'firmware loader', attribute: null, remedy: FIRMWARE },
  { path: 'os/shim', element: 'firmware shim', attribute: null, remedy: COPY },
  { path: 'os/kernel', element: 'firmware kernel', attribute: null, remedy: COPY },
  { path: 'os/initrd', element: 'firmware initrd', attribute: null, remedy: COPY },
  { path: 'os/dtb', element: 'firmware dtb', attribute: null, remedy: COPY },
  { path: 'os/acpi/table', element: 'os/acpi/table', attribute: null, remedy: COPY },
  { path: 'sysinfo/entry', element: 'sysinfo/entry', attribute: 'file', remedy: COPY },
  { path: 'devices/interface/rom', element: 'boot ROM of a nic', attribute: 'file', remedy: COPY },
  {
    path: 'devices/rng/backend',
    element: 'device rng',
    attribute: null,
    remedy: 'Let it read from /dev/urandom.',
  },
  {
    path: 'devices/rng/backend/source',
    element: 'device rng',
    attribute: 'path',
    remedy: 'Let it read from /dev/urandom.',
  },
];

async function missingFiles(replica: XmlElement): Promise<PreflightFinding[]> {
  const found = await Promise.all(
    HOST_FILES.flatMap(({ path, element, attribute: name, remedy }) =>
      findAll(replica, path).map(async (one) => {
        const file = (name === null ? textOf(one) : attribute(one, name)) ?? '';
        if (!file.startsWith('/') || (await exists(file))) return [];
        return [blocks(element, `The target has no ${file}. ${remedy}`)];
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
