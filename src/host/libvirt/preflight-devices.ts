/** Devices of the replica that the target's QEMU does not have, as libvirt says (`virsh domcapabilities`). */
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import { blocks, warns } from './finding.ts';
import { attribute, child, children, find, findAll, textOf, type XmlElement } from './xml.ts';

/** `capabilities` as a string: why there are none. */
export function deviceFindings(
  replica: XmlElement,
  capabilities: XmlElement | string,
): PreflightFinding[] {
  const devices = child(replica, 'devices');
  if (devices === null) return [];
  const emulated = typeof capabilities === 'string' ? [] : unknownDevices(devices, capabilities);
  return [...tpmFindings(devices, capabilities), ...emulated];
}

function tpmFindings(devices: XmlElement, capabilities: XmlElement | string): PreflightFinding[] {
  return children(devices, 'tpm').flatMap((tpm) => {
    const backend = child(tpm, 'backend');
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
  {
    device: 'rng',
    enumeration: 'backendModel',
    of: (rng) => attribute(child(rng, 'backend'), 'model'),
  },
  { device: 'tpm', enumeration: 'model', of: (tpm) => attribute(tpm, 'model') },
  // Some swtpm are built without the old one.
  {
    device: 'tpm',
    enumeration: 'backendVersion',
    of: (tpm) => attribute(child(tpm, 'backend'), 'version'),
  },
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
