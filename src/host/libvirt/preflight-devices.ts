/** Devices that the replica does not get, or that the target's QEMU does not know. */
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import { isRemovable } from './domain-xml.ts';
import { blocks, warns } from './finding.ts';
import { attribute, child, children, find, findAll, textOf, type XmlElement } from './xml.ts';

export function deviceFindings(
  domain: XmlElement,
  capabilities: XmlElement | string,
): PreflightFinding[] {
  const devices = child(domain, 'devices');
  if (devices === null) return [];
  const emulated = typeof capabilities === 'string' ? [] : unknownDevices(devices, capabilities);
  return [
    ...leftOut(devices),
    ...changed(devices),
    ...tpmFindings(devices, capabilities),
    ...emulated,
  ];
}

/** What `replica-devices.ts` removes. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  hostdev: 'It is a device of the source host.',
  filesystem: 'It is a folder of the source host; the guest must not need it to boot.',
  lease: 'The lock lease is of the source.',
  shmem: 'The shared memory is of the source host.',
  smartcard: 'The smart card is of the source host.',
};

function leftOut(devices: XmlElement): PreflightFinding[] {
  const found = Object.entries(LEFT_OUT).flatMap(([name, why]) =>
    children(devices, name).map((device) => {
      const element = `device ${name}${labelOf(device)}`;
      return warns(element, `${why} The replica does not have it.`);
    }),
  );
  for (const memory of children(devices, 'memory')) {
    const model = attribute(memory, 'model') ?? '';
    if (!['nvdimm', 'virtio-pmem', 'sgx-epc'].includes(model)) continue;
    found.push(warns(`memory ${model}`, 'It is not replicated. The replica does not have it.'));
  }
  for (const input of children(devices, 'input')) {
    const type = attribute(input, 'type') ?? '';
    if (type !== 'passthrough' && type !== 'evdev') continue;
    found.push(
      warns('device input', 'It is a device of the source host. The replica does not have it.'),
    );
  }
  return found;
}

function labelOf(device: XmlElement): string {
  const target =
    attribute(child(device, 'target'), 'dir') ?? attribute(child(device, 'target'), 'dev');
  const label = target ?? attribute(device, 'type') ?? attribute(device, 'name');
  return label === null ? '' : ` ${label}`;
}

/** What `replica-devices.ts` keeps in another form. */
function changed(devices: XmlElement): PreflightFinding[] {
  const findings: PreflightFinding[] = [];
  for (const disk of children(devices, 'disk').filter(isRemovable)) {
    if (child(disk, 'source') === null) continue;
    const key = attribute(child(disk, 'target'), 'dev');
    findings.push(warns(`drive ${key}`, 'Its medium is of the source host: the drive is empty.'));
  }
  for (const name of ['serial', 'parallel', 'console']) {
    for (const device of children(devices, name)) {
      const type = attribute(device, 'type') ?? 'pty';
      if (['pty', 'null', 'stdio', 'vc', 'spicevmc'].includes(type)) continue;
      findings.push(
        warns(`device ${name}`, `Its ${type} is of the source host: it becomes a pty.`),
      );
    }
  }
  for (const vsock of children(devices, 'vsock')) {
    if (attribute(child(vsock, 'cid'), 'auto') === 'yes') continue;
    findings.push(warns('device vsock', 'Its address is chosen anew, so that it cannot clash.'));
  }
  return findings;
}

function tpmFindings(devices: XmlElement, capabilities: XmlElement | string): PreflightFinding[] {
  return children(devices, 'tpm').flatMap((tpm) => {
    const backend = child(tpm, 'backend');
    if (attribute(backend, 'type') !== 'emulator') {
      const message =
        'It is the chip of the source host; the replica has none. Secrets sealed in it (disk encryption) need their recovery key.';
      return [warns('device tpm', message)];
    }
    const findings: PreflightFinding[] = [];
    if (backend !== null && child(backend, 'encryption') !== null) {
      const message =
        'Its state is encrypted with a libvirt secret, which must exist at the target too.';
      findings.push(warns('device tpm', message));
    }
    if (typeof capabilities === 'string') return findings;
    if (!offered(capabilities, 'tpm', 'backendModel').includes('emulator')) {
      const message =
        'The target cannot emulate a TPM. Install packages swtpm and swtpm-tools there.';
      findings.push(blocks('device tpm', message));
    }
    return findings;
  });
}

type Model = {
  readonly device: string;
  readonly enumeration: string;
  readonly of: (device: XmlElement) => string | null;
};

/** What of a device is compared with which list of `virsh domcapabilities`. */
const MODELS: readonly Model[] = [
  { device: 'disk', enumeration: 'bus', of: (disk) => attribute(child(disk, 'target'), 'bus') },
  { device: 'graphics', enumeration: 'type', of: (graphics) => attribute(graphics, 'type') },
  {
    device: 'video',
    enumeration: 'modelType',
    of: (video) => attribute(child(video, 'model'), 'type'),
  },
  { device: 'rng', enumeration: 'model', of: (rng) => attribute(rng, 'model') },
  { device: 'tpm', enumeration: 'model', of: (tpm) => attribute(tpm, 'model') },
];

/** An empty or missing list means that this libvirt does not tell: no finding. */
function unknownDevices(devices: XmlElement, capabilities: XmlElement): PreflightFinding[] {
  return MODELS.flatMap(({ device, enumeration, of }) => {
    const values = offered(capabilities, device, enumeration);
    const models = new Set(children(devices, device).flatMap((element) => of(element) ?? []));
    return [...models]
      .filter((model) => values.length > 0 && !values.includes(model))
      .map((model) => {
        const message = `The target's QEMU has no ${device} with ${enumeration} ${model}. Change it at the source, or install a fuller QEMU.`;
        return blocks(`device ${device} ${model}`, message);
      });
  });
}

function offered(capabilities: XmlElement, device: string, enumeration: string): string[] {
  const entry = find(capabilities, `devices/${device}`);
  if (entry === null) return [];
  const list = findAll(entry, 'enum').find((one) => attribute(one, 'name') === enumeration);
  return list === undefined ? [] : findAll(list, 'value').map((value) => textOf(value) ?? '');
}
