/** The devices of a replica: what the guest sees stays, what hangs on the source host is taken off. */
import type { DefineReplicaRequest } from '../../ports/hypervisor.ts';
import { placeAt } from './disk-source.ts';
import { isRemovable } from './domain-xml.ts';
import { adaptNic } from './replica-nics.ts';
import {
  attribute,
  child,
  children,
  ensureChild,
  remove,
  removeChildren,
  setAttributes,
  type XmlElement,
} from './xml.ts';

export function adaptDevices(devices: XmlElement, request: DefineReplicaRequest): void {
  // Without <emulator> libvirt takes the target's own.
  removeChildren(devices, 'emulator', 'hostdev', 'filesystem', 'lease', 'shmem');
  for (const device of children(devices)) removeChildren(device, 'alias');
  for (const disk of children(devices, 'disk')) adaptDisk(disk, request.disks);
  for (const nic of children(devices, 'interface')) adaptNic(nic, request);
  for (const name of ['serial', 'parallel', 'console']) {
    for (const device of children(devices, name)) adaptCharacterDevice(device);
  }
  for (const channel of children(devices, 'channel')) adaptChannel(channel);
  for (const graphics of children(devices, 'graphics')) adaptGraphics(graphics);
  removeHostBound(devices);
}

function adaptDisk(disk: XmlElement, files: DefineReplicaRequest['disks']): void {
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

/** Where the guest's serial line goes is the host's business; `pty` works everywhere. */
function adaptCharacterDevice(device: XmlElement): void {
  removeChildren(device, 'source', 'log', 'protocol', 'seclabel');
  setAttributes(device, { type: 'pty', tty: null });
}

/** libvirt makes the socket of a channel itself when its path is left out. */
function adaptChannel(channel: XmlElement): void {
  removeChildren(channel, 'source', 'log', 'protocol', 'seclabel');
  const target = child(channel, 'target');
  if (target !== null) setAttributes(target, { state: null });
  if (!['unix', 'pty', 'spicevmc'].includes(attribute(channel, 'type') ?? '')) {
    setAttributes(channel, { type: 'unix' });
  }
}

/** Ports are chosen by the target, on its default address. A display in a window of the source host goes. */
function adaptGraphics(graphics: XmlElement): void {
  const type = attribute(graphics, 'type') ?? '';
  if (!['vnc', 'spice', 'egl-headless', 'dbus'].includes(type)) {
    remove(graphics);
    return;
  }
  removeChildren(graphics, 'listen');
  const gl = child(graphics, 'gl');
  if (gl !== null) setAttributes(gl, { rendernode: null });
  const gone = { port: null, tlsPort: null, websocket: null, socket: null, listen: null };
  setAttributes(graphics, gone);
  if (type === 'vnc' || type === 'spice') setAttributes(graphics, { autoport: 'yes' });
}

/** Host sound, host input, smart cards, TPM chips, redirected ports and persistent memory of the source host. */
function removeHostBound(devices: XmlElement): void {
  for (const audio of children(devices, 'audio')) {
    if (attribute(audio, 'type') === 'spice') continue;
    audio.textContent = '';
    for (const { name } of [...audio.attributes]) {
      if (name !== 'id') audio.removeAttribute(name);
    }
    setAttributes(audio, { type: 'none' });
  }
  for (const device of children(devices)) if (isHostBound(device)) remove(device);
  for (const vsock of children(devices, 'vsock')) {
    const cid = child(vsock, 'cid');
    if (cid !== null) setAttributes(cid, { auto: 'yes', address: null });
  }
  for (const tpm of children(devices, 'tpm')) {
    const backend = child(tpm, 'backend');
    if (backend !== null) removeChildren(backend, 'source');
  }
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
