/** The definition of a VM in production while its failback is under way: pure, text in, text out. */
import { type DiskKey, diskKey, type FailbackId } from '../../domain/ids.ts';
import type { ConfigurationChange } from '../../domain/vm/configuration-change.ts';
import { placeAt } from './disk-source.ts';
import { diskElements } from './domain-xml.ts';
import type { LaidLayer } from './layers-record.ts';
import { UNDERSTUDY_NAMESPACE } from './replica-mark.ts';
import {
  adopt,
  append,
  appendNamespaced,
  attribute,
  child,
  children,
  ensureChild,
  find,
  parseRoot,
  remove,
  removeChildren,
  serialiseXml,
  setAttributes,
  setText,
  type XmlElement,
} from './xml.ts';

/** The same VM with all its disks at paths where nothing is, and a word for whoever wonders why. */
export function parkedXml(
  original: string,
  failback: FailbackId,
  parkedPath: (key: DiskKey) => string,
): string {
  const domain = parseRoot(original, 'domain', 'the VM');
  for (const disk of diskElements(domain)) {
    // What only the true source may have.
    removeChildren(disk, 'auth', 'encryption', 'shareable', 'transient');
    pointAt(disk, parkedPath(diskKey(keyOf(disk))), 'qcow2');
  }
  appendNamespaced(
    ensureChild(domain, 'metadata'),
    { namespace: UNDERSTUDY_NAMESPACE, qualifiedName: 'understudy:parked' },
    { failback, because: 'its replica stands in; see understudy operation list' },
  );
  return serialiseXml(domain);
}

/** The VM on its layers, with the changes that were asked for. */
export function attachedXml(
  original: string,
  {
    layers,
    changes,
    nvramPath,
  }: {
    readonly layers: readonly LaidLayer[];
    readonly changes: readonly ConfigurationChange[];
    readonly nvramPath: string | null;
  },
): string {
  const domain = parseRoot(original, 'domain', 'the VM');
  for (const { key, path } of layers) {
    pointAt(diskOf(domain, key) ?? addDisk(domain, key), path, 'qcow2');
  }
  for (const change of changes) applyChange(domain, change);
  const nvram = find(domain, 'os/nvram');
  if (nvram !== null && nvramPath !== null) {
    removeChildren(nvram, 'source');
    setAttributes(nvram, { type: null });
    nvram.textContent = nvramPath;
  }
  return serialiseXml(domain);
}

/**
 * The VM as it is defined now with its own disks in place of the layers, which are merged. What a person changed
 * since `attach` stays.
 */
export function mergedXml(current: string, original: string, layers: readonly LaidLayer[]): string {
  const domain = parseRoot(current, 'domain', 'the VM');
  const before = parseRoot(original, 'domain', 'the VM');
  for (const { key, path, below } of layers) {
    const disk = below === null ? null : diskOf(domain, key);
    const own = diskOf(before, key);
    if (disk === null || own === null || below === null) continue;
    const source = child(disk, 'source');
    const now = attribute(source, 'file') ?? attribute(source, 'dev') ?? '';
    // One that a person put in its place is theirs.
    if ([path, below.path].includes(now)) restoreSource(disk, own);
  }
  return serialiseXml(domain);
}

function restoreSource(disk: XmlElement, own: XmlElement): void {
  setAttributes(disk, { type: attribute(own, 'type') });
  removeChildren(disk, 'backingStore', 'mirror', 'source');
  const source = child(own, 'source');
  if (source !== null) adopt(disk, source);
  const driver = child(own, 'driver');
  if (driver === null) return;
  removeChildren(disk, 'driver');
  adopt(disk, driver);
}

function diskOf(domain: XmlElement, key: string): XmlElement | null {
  return diskElements(domain).find((disk) => keyOf(disk) === key) ?? null;
}

function keyOf(disk: XmlElement): string {
  return attribute(child(disk, 'target'), 'dev') ?? '';
}

/** On the bus of the disks named alike; libvirt gives it an address there. */
function addDisk(domain: XmlElement, key: DiskKey): XmlElement {
  const alike = diskElements(domain).find((disk) => keyOf(disk).slice(0, 2) === key.slice(0, 2));
  const usual = key.startsWith('vd') ? 'virtio' : key.startsWith('hd') ? 'ide' : 'sata';
  const bus = attribute(alike === undefined ? null : child(alike, 'target'), 'bus') ?? usual;
  const disk = append(ensureChild(domain, 'devices'), 'disk', { type: 'file', device: 'disk' });
  append(disk, 'target', { dev: key, bus });
  return disk;
}

function pointAt(disk: XmlElement, path: string, format: string): void {
  placeAt(disk, path);
  setAttributes(ensureChild(disk, 'driver'), { name: 'qemu', type: format });
}

function applyChange(domain: XmlElement, change: ConfigurationChange): void {
  switch (change.type) {
    case 'memory':
      for (const name of ['memory', 'currentMemory']) {
        setText(domain, name, String(Math.round(change.toBytes / 1024)));
        setAttributes(ensureChild(domain, name), { unit: 'KiB' });
      }
      break;
    case 'cpus':
      setText(domain, 'vcpu', String(change.to));
      setAttributes(ensureChild(domain, 'vcpu'), { current: null });
      removeChildren(domain, 'vcpus');
      // It says how many there are, too, and no longer agrees; libvirt then makes each a socket.
      remove(find(domain, 'cpu/topology'));
      break;
    case 'nic-added':
      addNic(ensureChild(domain, 'devices'), change);
      break;
    case 'nic-removed':
      for (const nic of children(ensureChild(domain, 'devices'), 'interface')) {
        if (attribute(child(nic, 'mac'), 'address')?.toLowerCase() === change.mac) remove(nic);
      }
      break;
    case 'disk-removed':
      remove(diskOf(domain, change.key));
      break;
    default:
      // Disks come and grow with their layers.
      break;
  }
}

/** `network` as the domain knows it: `network:lan`, `bridge:br0`, `user`. */
function addNic(
  devices: XmlElement,
  { mac, network }: { readonly mac: string; readonly network: string },
): void {
  const [type = 'user', ...rest] = network.split(':');
  const name = rest.join(':');
  const nic = append(devices, 'interface', { type });
  append(nic, 'mac', { address: mac });
  if (type === 'network') append(nic, 'source', { network: name });
  if (type === 'bridge') append(nic, 'source', { bridge: name });
  if (type === 'direct') append(nic, 'source', { dev: name, mode: 'bridge' });
  append(nic, 'model', { type: 'virtio' });
}
