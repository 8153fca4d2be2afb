/**
 * Device models that libvirt hands on to QEMU without knowing whether this QEMU has them: a VM with one is defined, and does not start.
 * Distributions leave many out (RHEL's QEMU has four kinds of NIC). QEMU lists what it has: `qemu-system-x86_64 -device help`.
 */
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Processes } from '../../ports/processes.ts';
import { blocks } from './finding.ts';
import { attribute, child, findAll, type XmlElement } from './xml.ts';

/** Names and aliases of the devices that this QEMU has; null when it does not tell. */
export async function readDeviceNames(
  processes: Processes,
  emulatorPath: string,
  options: CallOptions,
): Promise<ReadonlySet<string> | null> {
  const command = { command: emulatorPath, arguments: ['-device', 'help'] };
  const { exitCode, stdout } = await processes.run(command, options);
  // `name "lsi53c895a", bus PCI, alias "lsi"`
  const names = [...stdout.matchAll(/\b(?:name|alias) "([^"]+)"/g)].map(([, name = '']) => name);
  return exitCode === 0 && names.length > 0 ? new Set(names) : null;
}

/** `known` null: nothing is known, and nothing is said. */
export function modelFindings(
  replica: XmlElement,
  known: ReadonlySet<string> | null,
): PreflightFinding[] {
  if (known === null) return [];
  return DEVICES.flatMap(({ device, modelOf, names }) => {
    const models = findAll(replica, `devices/${device}`).flatMap((one) => modelOf(one) ?? []);
    return [...new Set(models)]
      .filter((model) => !isKnown(nameOf(names, model), known))
      .map((model) => {
        const message = `The target's QEMU has no ${device} of model ${model}: the replica could not start. Change it at the source, or install a fuller QEMU.`;
        return blocks(`device ${device} ${model}`, message);
      });
  });
}

type DeviceModels = {
  readonly device: string;
  /** As libvirt calls it; null: one that every QEMU has, or that libvirt chooses. */
  readonly modelOf: (device: XmlElement) => string | null;
  /** What QEMU calls it, where that is something else (libvirt: src/qemu/qemu_command.c). */
  readonly names: Readonly<Record<string, string>>;
};

/** `*` stands for the bus of the machine: `virtio-net-pci`, `virtio-net-ccw`, `virtio-net-device`. */
const DEVICES: readonly DeviceModels[] = [
  {
    device: 'interface',
    // Parts of boards, which are no devices to QEMU.
    modelOf: (nic) => unless(['lan9118', 'smc91c111'], attribute(child(nic, 'model'), 'type')),
    names: {
      virtio: 'virtio-net-*',
      'virtio-transitional': 'virtio-net-pci-transitional',
      'virtio-non-transitional': 'virtio-net-pci-non-transitional',
    },
  },
  {
    device: 'controller',
    modelOf: controllerModel,
    names: {
      'piix3-uhci': 'piix3-usb-uhci',
      'piix4-uhci': 'piix4-usb-uhci',
      ehci: 'usb-ehci',
      'ich9-ehci1': 'ich9-usb-ehci1',
      'ich9-uhci1': 'ich9-usb-uhci1',
      'ich9-uhci2': 'ich9-usb-uhci2',
      'ich9-uhci3': 'ich9-usb-uhci3',
      'vt82c686b-uhci': 'vt82c686b-usb-uhci',
      'nec-xhci': 'nec-usb-xhci',
      lsilogic: 'lsi',
      lsisas1068: 'mptsas1068',
      lsisas1078: 'megasas',
      vmpvscsi: 'pvscsi',
      ibmvscsi: 'spapr-vscsi',
      'virtio-scsi': 'virtio-scsi-*',
      'virtio-transitional': 'virtio-scsi-pci-transitional',
      'virtio-non-transitional': 'virtio-scsi-pci-non-transitional',
    },
  },
  {
    device: 'watchdog',
    modelOf: (watchdog) => unless(['itco'], attribute(watchdog, 'model')),
    names: {},
  },
  {
    device: 'sound',
    modelOf: (sound) => unless(['pcspk'], attribute(sound, 'model')),
    names: {
      es1370: 'ES1370',
      ac97: 'AC97',
      ich6: 'intel-hda',
      ich9: 'ich9-intel-hda',
      usb: 'usb-audio',
      virtio: 'virtio-sound-*',
    },
  },
];

/** libvirt takes any word for the model of a NIC: `constructor` is one like any other. */
function nameOf(names: DeviceModels['names'], model: string): string {
  return Object.hasOwn(names, model) ? (names[model] ?? model) : model;
}

function isKnown(name: string, known: ReadonlySet<string>): boolean {
  if (!name.endsWith('*')) return known.has(name);
  return [...known].some((one) => one.startsWith(name.slice(0, -1)));
}

function unless(exceptions: readonly string[], model: string | null): string | null {
  return model === null || exceptions.includes(model) ? null : model;
}

/** USB and SCSI have models; bridges name QEMU's device themselves. The roots of PCI are the machine's. */
function controllerModel(controller: XmlElement): string | null {
  const type = attribute(controller, 'type');
  if (type === 'pci') return attribute(child(controller, 'model'), 'name');
  if (type !== 'usb' && type !== 'scsi') return null;
  return unless(['none', 'auto', 'ncr53c90'], attribute(controller, 'model'));
}
