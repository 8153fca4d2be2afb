/** The definition of a VM in production while its failback is under way: pure, text in, text out. */
import type { DiskKey } from '../../domain/ids.ts';
import type { ConfigurationChange } from '../../domain/vm/configuration-change.ts';
import type { LaidLayer } from './layers-record.ts';
import {
  append,
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

/** The same VM with the disks that have a layer at paths where nothing is. */
export function parkedXml(
  original: string,
  layers: readonly LaidLayer[],
  parkedPath: (key: DiskKey) => string,
): string {
  const domain = parseRoot(original, 'domain', 'the VM');
  for (const { key, below } of layers) {
    const disk = below === null ? null : diskOf(domain, key);
    if (disk !== null) pointAt(disk, parkedPath(key), 'qcow2');
  }
  return serialiseXml(domain);
}

/** The VM on its layers (or its own disks, once they are merged), with the changes that were asked for. */
export function attachedXml(
  original: string,
  {
    layers,
    changes,
    isMerged,
    nvramPath,
  }: {
    readonly layers: readonly LaidLayer[];
    readonly changes: readonly ConfigurationChange[];
    readonly isMerged: boolean;
    readonly nvramPath: string | null;
  },
): string {
  const domain = parseRoot(original, 'domain', 'the VM');
  for (const { key, path, below } of layers) {
    const disk = diskOf(domain, key) ?? addDisk(domain, key);
    if (isMerged && below !== null) continue;
    pointAt(disk, path, 'qcow2');
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

function diskOf(domain: XmlElement, key: string): XmlElement | null {
  const devices = child(domain, 'devices');
  const disks = devices === null ? [] : children(devices, 'disk');
  return disks.find((disk) => attribute(child(disk, 'target'), 'dev') === key) ?? null;
}

/** libvirt gives it an address on the bus that the name of the disk stands for. */
function addDisk(domain: XmlElement, key: DiskKey): XmlElement {
  const disk = append(ensureChild(domain, 'devices'), 'disk', { type: 'file', device: 'disk' });
  const bus = key.startsWith('vd') ? 'virtio' : key.startsWith('hd') ? 'ide' : 'scsi';
  append(disk, 'target', { dev: key, bus });
  return disk;
}

function pointAt(disk: XmlElement, path: string, format: string): void {
  setAttributes(disk, { type: 'file' });
  removeChildren(disk, 'backingStore', 'mirror');
  const source = ensureChild(disk, 'source');
  for (const { name } of [...source.attributes]) source.removeAttribute(name);
  source.textContent = '';
  setAttributes(source, { file: path });
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
  append(nic, 'model', { type: 'virtio' });
}
