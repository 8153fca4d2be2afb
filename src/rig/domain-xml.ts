/** The libvirt definition of a rig VM: what virt-install makes for a small server, without graphics and under TCG. */
import { DOMImplementation, type Element, XMLSerializer } from '@xmldom/xmldom';

export interface DomainDisk {
  readonly target: string;
  /** Absolute path of the topmost image. */
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
}

export interface DomainDescription {
  readonly name: string;
  readonly uuid: string;
  readonly memoryMiB: number;
  readonly machine: string;
  readonly macAddress: string;
  readonly guestAgent: boolean;
  readonly disks: readonly DomainDisk[];
  /** File that receives the serial console; null: a pseudo-terminal, which leaves no trace of this machine. */
  readonly consolePath: string | null;
  /** A graphics card, without anybody who looks at it. */
  readonly screen: boolean;
}

/** Builds the XML through a DOM, so that names with quotes or markup in them stay names. */
export function domainXml(description: DomainDescription): string {
  const document = new DOMImplementation().createDocument(null, 'domain');
  const domain = document.documentElement;
  if (!domain) throw new Error('createDocument made no root element');
  const add = (
    parent: Element,
    name: string,
    attributes: Record<string, string> = {},
    text = '',
  ) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== '') element.appendChild(document.createTextNode(text));
    parent.appendChild(element);
    return element;
  };
  domain.setAttribute('type', 'qemu');
  addMachine(add, domain, description);
  addDevices(add, add(domain, 'devices'), description);
  return new XMLSerializer().serializeToString(document);
}

type Add = (
  parent: Element,
  name: string,
  attributes?: Record<string, string>,
  text?: string,
) => Element;

function addMachine(add: Add, domain: Element, description: DomainDescription): void {
  const { name, uuid, memoryMiB, machine } = description;
  add(domain, 'name', {}, name);
  add(domain, 'uuid', {}, uuid);
  add(domain, 'memory', { unit: 'MiB' }, String(memoryMiB));
  add(domain, 'vcpu', {}, '1');
  const os = add(domain, 'os');
  add(os, 'type', { arch: 'x86_64', machine }, 'hvm');
  add(os, 'boot', { dev: 'hd' });
  const features = add(domain, 'features');
  add(features, 'acpi');
  add(features, 'apic');
  // The default cache of translated code would outweigh the guest's memory.
  add(add(features, 'tcg'), 'tb-cache', { unit: 'MiB' }, '32');
  add(domain, 'cpu', { mode: 'maximum' });
  add(domain, 'clock', { offset: 'utc' });
  add(domain, 'on_poweroff', {}, 'destroy');
  add(domain, 'on_reboot', {}, 'restart');
  add(domain, 'on_crash', {}, 'destroy');
}

function addDevices(add: Add, devices: Element, description: DomainDescription): void {
  for (const { target, path, format } of description.disks) {
    const disk = add(devices, 'disk', { type: 'file', device: 'disk' });
    add(disk, 'driver', { name: 'qemu', type: format, discard: 'unmap' });
    add(disk, 'source', { file: path });
    add(disk, 'target', { dev: target, bus: 'virtio' });
  }
  const network = add(devices, 'interface', { type: 'user' });
  add(network, 'mac', { address: description.macAddress });
  add(network, 'model', { type: 'virtio' });
  // Without the network boot ROM the BIOS is done sooner.
  add(network, 'rom', { enabled: 'no' });
  addConsole(add, devices, description.consolePath);
  if (description.guestAgent) {
    const channel = add(devices, 'channel', { type: 'unix' });
    add(channel, 'target', { type: 'virtio', name: 'org.qemu.guest_agent.0' });
  }
  if (description.screen) add(add(devices, 'video'), 'model', { type: 'vga' });
  add(devices, 'controller', { type: 'usb', model: 'none' });
  add(devices, 'memballoon', { model: 'none' });
}

function addConsole(add: Add, devices: Element, path: string | null): void {
  const serial = add(devices, 'serial', { type: path === null ? 'pty' : 'file' });
  if (path !== null) add(serial, 'source', { path });
  add(serial, 'target', { port: '0' });
}
