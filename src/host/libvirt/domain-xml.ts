/**
 * What a libvirt domain definition says, reduced to what decisions need. Pure: text in, values out.
 *
 * Definitions are read without `--security-info`: that would put passwords of consoles into restore points.
 * So a replica's console asks for no password of the source; consoles listen on the target's default address, or where the
 * source's listen to the host alone, there.
 */
import { isAbsolute } from 'node:path';
import { type DiskKey, diskKey, type VmId, vmId } from '../../domain/ids.ts';
import type { PowerState, VmNic } from '../../domain/vm/vm.ts';
import { invalidConfiguration } from './errors.ts';
import { attribute, child, find, findAll, parseRoot, textOf, type XmlElement } from './xml.ts';

/** A disk as the definition names it; how large it is only the host knows. */
export type DefinedDisk = {
  readonly key: DiskKey;
  /** The file or block device; for a network disk its name, for people. */
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  readonly isReadOnly: boolean;
  readonly isBlockDevice: boolean;
  /** Null when it can be protected; else why not. */
  readonly unsupportedBecause: string | null;
};

export type DefinedVm = {
  readonly id: VmId;
  readonly name: string;
  readonly memoryBytes: number;
  readonly cpuCount: number;
  readonly disks: readonly DefinedDisk[];
  readonly nics: readonly VmNic[];
};

/** `subject` names the VM in errors. Throws `invalid-vm-configuration`. */
export function readDomain(text: string, subject: string): DefinedVm {
  const domain = parseRoot(text, 'domain', subject);
  const uuid = textOf(child(domain, 'uuid'));
  const name = textContentOf(child(domain, 'name'));
  if (uuid === null || name === null || name === '') {
    throw invalidConfiguration(subject, 'it has no name or no UUID');
  }
  return {
    id: idOr(subject, () => vmId(uuid.toLowerCase())),
    name,
    memoryBytes: memoryBytes(child(domain, 'memory'), subject),
    cpuCount: positive(textOf(child(domain, 'vcpu')) ?? '1', 'vcpu', subject),
    disks: protectableDisks(domain, subject),
    nics: findAll(domain, 'devices/interface').map(readNic),
  };
}

/** The `<disk>` elements that are disks: a CD-ROM or floppy drive holds a medium, not state of the VM. */
export function diskElements(domain: XmlElement): XmlElement[] {
  return findAll(domain, 'devices/disk').filter((disk) => !isRemovable(disk));
}

export function isRemovable(disk: XmlElement): boolean {
  return ['cdrom', 'floppy'].includes(attribute(disk, 'device') ?? 'disk');
}

/** `network:default`, `bridge:br0`, `direct:eth0`; else the type alone, e.g. `user`. */
export function networkOf(nic: XmlElement): string {
  const type = attribute(nic, 'type') ?? 'user';
  const source = child(nic, 'source');
  const byType: Readonly<Record<string, string>> = {
    network: 'network',
    bridge: 'bridge',
    direct: 'dev',
    vdpa: 'dev',
  };
  const name = attribute(source, byType[type] ?? '');
  return name === null ? type : `${type}:${name}`;
}

/** What `virsh domstate` and `dominfo` call it. A VM whose QEMU still lives is never `off`. */
export function powerStateOf(words: string): PowerState {
  switch (words.trim()) {
    case 'running':
    case 'idle':
    case 'in shutdown':
      return 'running';
    case 'paused':
    case 'pmsuspended':
    case 'crashed':
      // `crashed` is a panicked guest whose QEMU was kept (on_crash preserve); one whose QEMU died is `shut off`.
      return 'paused';
    case 'shut off':
      return 'off';
    default:
      return 'unknown';
  }
}

function protectableDisks(domain: XmlElement, subject: string): DefinedDisk[] {
  return diskElements(domain).map((disk) => {
    const target = attribute(child(disk, 'target'), 'dev');
    if (target === null) throw invalidConfiguration(subject, 'a disk has no target name');
    const path = diskPath(disk);
    const format = attribute(child(disk, 'driver'), 'type') ?? 'raw';
    return {
      key: idOr(subject, () => diskKey(target)),
      path,
      format: format === 'qcow2' ? 'qcow2' : 'raw',
      isReadOnly: child(disk, 'readonly') !== null,
      isBlockDevice: attribute(disk, 'type') === 'block',
      unsupportedBecause: unsupported(disk, { path, format }),
    };
  });
}

function idOr<Id>(subject: string, parse: () => Id): Id {
  try {
    return parse();
  } catch (error) {
    throw invalidConfiguration(subject, error instanceof Error ? error.message : '', error);
  }
}

const SOURCE_NAMES = ['file', 'dev', 'name', 'volume', 'dir', 'path'] as const;

function diskPath(disk: XmlElement): string {
  const source = child(disk, 'source');
  for (const name of SOURCE_NAMES) {
    const value = attribute(source, name);
    if (value !== null) return value;
  }
  return '';
}

function unsupported(
  disk: XmlElement,
  { path, format }: { path: string; format: string },
): string | null {
  const type = attribute(disk, 'type') ?? 'file';
  if (type !== 'file' && type !== 'block') return `it is a ${type} disk, not a file`;
  if (!isAbsolute(path)) return 'it has no file';
  if (format !== 'qcow2' && format !== 'raw') return `its format is ${format}`;
  if (isEncrypted(disk)) return 'it is encrypted by the hypervisor, whose key we do not have';
  if (child(disk, 'shareable') !== null)
    return 'it is shared with other VMs, which write to it too';
  if (child(disk, 'transient') !== null) return 'it is transient: its contents vanish at power-off';
  return null;
}

function isEncrypted(disk: XmlElement): boolean {
  return child(disk, 'encryption') !== null || find(disk, 'source/encryption') !== null;
}

function readNic(nic: XmlElement): VmNic {
  return {
    mac: attribute(child(nic, 'mac'), 'address')?.toLowerCase() ?? null,
    network: networkOf(nic),
    isConnected: attribute(child(nic, 'link'), 'state') !== 'down',
  };
}

/** libvirt's scaled integers (formatdomain, "memory"); KiB when nothing is said. */
const UNIT_BYTES: Readonly<Record<string, number>> = {
  b: 1,
  bytes: 1,
  kb: 1e3,
  k: 1024,
  kib: 1024,
  mb: 1e6,
  m: 1024 ** 2,
  mib: 1024 ** 2,
  gb: 1e9,
  g: 1024 ** 3,
  gib: 1024 ** 3,
  tb: 1e12,
  t: 1024 ** 4,
  tib: 1024 ** 4,
};

function memoryBytes(memory: XmlElement | null, subject: string): number {
  const unit = UNIT_BYTES[(attribute(memory, 'unit') ?? 'KiB').toLowerCase()];
  const bytes = positive(textOf(memory) ?? '', 'memory', subject) * (unit ?? Number.NaN);
  if (!Number.isSafeInteger(bytes)) throw invalidConfiguration(subject, 'its memory is no size');
  return bytes;
}

function positive(text: string, what: string, subject: string): number {
  const value = Number(text);
  if (/^\d{1,15}$/.test(text) && value > 0) return value;
  throw invalidConfiguration(subject, `its ${what} is not a number: ${text.slice(0, 40)}`);
}

/** Names may begin and end with blanks: not trimmed. */
function textContentOf(element: XmlElement | null): string | null {
  return element === null ? null : element.textContent;
}
