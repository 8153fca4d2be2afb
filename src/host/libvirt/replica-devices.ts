/** The devices of a replica: what the guest sees stays, what hangs on the source host is taken off. */
import { placeAt } from './disk-source.ts';
import { isRemovable } from './domain-xml.ts';
import { adaptNic } from './replica-nics.ts';
import type { ReplicaRequest } from './replica-xml.ts';
import {
  attribute,
  child,
  children,
  ensureChild,
  find,
  remove,
  removeChildren,
  setAttributes,
  type XmlElement,
} from './xml.ts';

export function adaptDevices(devices: XmlElement, request: ReplicaRequest): void {
  // Without <emulator> libvirt takes the target's own.
  removeChildren(devices, 'emulator', 'hostdev', 'filesystem', 'lease', 'shmem', 'pstore');
  for (const device of children(devices)) dropGivenAlias(device);
  for (const disk of children(devices, 'disk')) adaptDisk(disk, request.disks);
  for (const nic of children(devices, 'interface')) adaptNic(nic, request);
  for (const name of ['serial', 'parallel', 'console']) {
    for (const device of children(devices, name)) adaptCharacterDevice(device);
  }
  for (const channel of children(devices, 'channel')) adaptChannel(channel);
  for (const graphics of children(devices, 'graphics')) adaptGraphics(graphics);
  removeHostBound(devices);
}

/** libvirt numbers the devices of a running VM; a name that a person gave (`ua-...`) is referred to, e.g. by `qemu:override`. */
function dropGivenAlias(device: XmlElement): void {
  for (const alias of children(device, 'alias')) {
    if (!attribute(alias, 'name')?.startsWith('ua-')) remove(alias);
  }
}

function adaptDisk(disk: XmlElement, files: ReplicaRequest['disks']): void {
  if (isRemovable(disk)) {
    setAttributes(disk, { type: 'file', snapshot: null });
    removeChildren(disk, 'source', 'backingStore', 'mirror');
    return;
  }
  const key = attribute(child(disk, 'target'), 'dev');
  const file = files.find((candidate) => candidate.key === key);
  if (file === undefined) {
    remove(disk);
    return;
  }
  setAttributes(disk, { device: 'disk', snapshot: null, rawio: null, sgio: null });
  removeChildren(disk, 'encryption', 'auth', 'shareable', 'transient');
  placeAt(disk, file.path);
  setAttributes(ensureChild(disk, 'driver'), { name: 'qemu', type: file.format });
}

/** They end within the VM's own QEMU: nothing of a host is named. */
const ENDS_IN_QEMU = ['null', 'spicevmc', 'spiceport', 'dbus', 'qemu-vdagent'];

/** Where the guest's serial line goes is the host's business; `pty` works everywhere. */
function adaptCharacterDevice(device: XmlElement): void {
  removeChildren(device, 'log');
  if (ENDS_IN_QEMU.includes(attribute(device, 'type') ?? '')) return;
  removeChildren(device, 'source', 'protocol', 'seclabel');
  setAttributes(device, { type: 'pty', tty: null });
}

/** libvirt makes the socket of a channel itself when its path is left out. */
function adaptChannel(channel: XmlElement): void {
  const type = attribute(channel, 'type') ?? '';
  removeChildren(channel, 'log');
  const target = child(channel, 'target');
  if (target !== null) setAttributes(target, { state: null });
  if (ENDS_IN_QEMU.includes(type)) return;
  removeChildren(channel, 'source', 'protocol', 'seclabel');
  if (type !== 'pty') setAttributes(channel, { type: 'unix' });
}

/** Ports are chosen by the target, on its default address. A display in a window of the source host goes. */
function adaptGraphics(graphics: XmlElement): void {
  const type = attribute(graphics, 'type') ?? '';
  if (!['vnc', 'spice', 'egl-headless', 'dbus'].includes(type)) {
    remove(graphics);
    return;
  }
  for (const listen of children(graphics, 'listen')) if (!isEverywhere(listen)) remove(listen);
  const gl = child(graphics, 'gl');
  if (gl !== null) setAttributes(gl, { rendernode: null });
  const gone = { port: null, tlsPort: null, websocket: null, socket: null };
  setAttributes(graphics, gone);
  if (!isLoopback(attribute(graphics, 'listen'))) setAttributes(graphics, { listen: null });
  if (type === 'dbus') setAttributes(graphics, { address: null });
  if (type === 'vnc' || type === 'spice') setAttributes(graphics, { autoport: 'yes' });
}

/** Whether a display can listen like that on any host: nowhere, on a socket that libvirt makes, or to the host alone. */
function isEverywhere(listen: XmlElement): boolean {
  switch (attribute(listen, 'type')) {
    case 'none':
      return true;
    case 'socket':
      return attribute(listen, 'socket') === null;
    case 'address':
      return !listen.hasAttribute('address') || isLoopback(attribute(listen, 'address'));
    default:
      return false;
  }
}

/** To leave it out would open the display where the target's default is every address. */
function isLoopback(address: string | null): boolean {
  return address === '127.0.0.1' || address === '::1';
}

/** Host sound, host input, smart cards, TPM chips, redirected ports and persistent memory of the source host. */
function removeHostBound(devices: XmlElement): void {
  for (const device of children(devices)) if (isHostBound(device)) remove(device);
  for (const audio of children(devices, 'audio')) silence(audio);
  for (const vsock of children(devices, 'vsock')) {
    const cid = child(vsock, 'cid');
    if (cid !== null) setAttributes(cid, { auto: 'yes', address: null });
  }
  for (const name of ['redirdev', 'smartcard']) {
    for (const device of children(devices, name)) removeChildren(device, 'log');
  }
  for (const rng of children(devices, 'rng')) {
    const backend = child(rng, 'backend');
    if (backend !== null) removeChildren(backend, 'log');
  }
  for (const video of children(devices, 'video')) {
    const acceleration = find(video, 'model/acceleration');
    if (acceleration !== null) setAttributes(acceleration, { rendernode: null });
  }
  // Nodes and page sizes of the source host.
  for (const memory of children(devices, 'memory')) removeChildren(memory, 'source');
  for (const tpm of children(devices, 'tpm')) {
    const backend = child(tpm, 'backend');
    if (backend !== null) removeChildren(backend, 'source');
  }
}

function silence(audio: XmlElement): void {
  if (['none', 'spice', 'dbus'].includes(attribute(audio, 'type') ?? '')) return;
  audio.textContent = '';
  for (const { name } of [...audio.attributes]) {
    if (name !== 'id') audio.removeAttribute(name);
  }
  setAttributes(audio, { type: 'none' });
}

function isHostBound(device: XmlElement): boolean {
  const type = attribute(device, 'type');
  switch (device.localName) {
    case 'input':
      return type === 'passthrough' || type === 'evdev';
    case 'smartcard':
      return attribute(device, 'mode') !== 'passthrough' || type !== 'spicevmc';
    case 'redirdev':
      return type !== 'spicevmc';
    case 'memory':
      return ['nvdimm', 'virtio-pmem', 'sgx-epc'].includes(attribute(device, 'model') ?? '');
    case 'tpm':
      return attribute(child(device, 'backend'), 'type') !== 'emulator';
    default:
      return false;
  }
}
