/** What a replica's devices do not take over, in words; `replica-devices.ts` does it. */
import { isRemovable } from './domain-xml.ts';
import type { Sentence, Sentences } from './preflight-changes.ts';
import { attribute, child, type XmlElement } from './xml.ts';

const IS_GONE = 'The replica does not have it.';
const DRAWN = 'The GPU that draws it is chosen by the target.';

const DISK_SENTENCES: Sentences = [
  // One that cannot be protected: said with the reason.
  ['devices/disk', null],
  ['devices/disk/source', medium],
  ['devices/disk/source/reservations', 'Nobody keeps reservations of the disk at the target.'],
  ['devices/disk/source/seclabel', 'The security label of the source is replaced by one here.'],
  ['devices/disk/@device', device],
  ['devices/disk/@rawio', 'Raw commands reach no device: the disk is a file.'],
  ['devices/disk/@sgio', 'SCSI commands reach no device: the disk is a file.'],
  // Its file, its format and its layers are the replica's.
  ...['@type', '@snapshot', 'source/**', 'driver/@name', 'driver/@type', 'auth'].map(
    (path) => [`devices/disk/${path}`, null] as const,
  ),
  ...['backingStore', 'mirror'].map((path) => [`devices/disk/${path}`, null] as const),
];

const NOT_LOGGED = 'What goes through it is not logged to a file.';

const LINE_SENTENCES: Sentences = ['serial', 'parallel', 'console', 'channel'].flatMap((name) => [
  [`devices/${name}/log`, NOT_LOGGED] as const,
  [`devices/${name}/source`, name === 'channel' ? socket : null] as const,
  [`devices/${name}/@type`, otherEnd(name === 'channel' ? 'socket of libvirt' : 'pty')] as const,
  ...['@tty', 'protocol', 'seclabel', 'target/@state'].map(
    (path) => [`devices/${name}/${path}`, null] as const,
  ),
]);

const DISPLAY_SENTENCES: Sentences = [
  ['devices/graphics', `It is a display of the source host. ${IS_GONE}`],
  ['devices/graphics/@listen', (display) => (child(display, 'listen') ? null : listening(display))],
  ['devices/graphics/listen', listening],
  ['devices/graphics/@port', (display) => port(display, 'port')],
  ['devices/graphics/@tlsPort', (display) => port(display, 'tlsPort')],
  ['devices/graphics/@websocket', (display) => port(display, 'websocket')],
  ['devices/graphics/@socket', (display) => (child(display, 'listen') ? null : listening(display))],
  ['devices/graphics/@address', 'Its message bus is of the source host; it gets one of its own.'],
  ['devices/graphics/gl/@rendernode', DRAWN],
  // Said with the port.
  ['devices/graphics/@autoport', null],
];

export const DEVICE_SENTENCES: Sentences = [
  ['devices/emulator/**', null],
  ['devices/*/alias', null],
  ['devices/hostdev', `It is a device of the source host. ${IS_GONE}`],
  [
    'devices/filesystem',
    `It is a folder of the source host; the guest must not need it to boot. ${IS_GONE}`,
  ],
  ['devices/lease', `The lock lease is of the source. ${IS_GONE}`],
  ['devices/shmem', `The shared memory is of the source host. ${IS_GONE}`],
  ['devices/smartcard', `The smart card is of the source host. ${IS_GONE}`],
  ['devices/redirdev', `What is plugged in through it is of the source host. ${IS_GONE}`],
  ['devices/input', `It is a device of the source host. ${IS_GONE}`],
  ['devices/memory', `What it holds is not replicated. ${IS_GONE}`],
  ...['redirdev/log', 'smartcard/log', 'rng/backend/log'].map(
    (path) => [`devices/${path}`, NOT_LOGGED] as const,
  ),
  ['devices/pstore', `What it holds is in a file of the source host. ${IS_GONE}`],
  ['devices/video/model/acceleration/@rendernode', DRAWN],
  ['devices/memory/source', 'Its pages are of no NUMA node and no size of the source host.'],
  [
    'devices/tpm',
    'It is the chip of the source host; the replica has none. Secrets sealed in it (disk encryption) need their recovery key.',
  ],
  // Its contents are replicated, and lie where the target keeps them.
  ['devices/tpm/backend/source', null],
  ['devices/audio/@type', sound],
  // What it is set to goes with it.
  ['devices/audio/**', null],
  ['devices/vsock/cid/*', 'Its address is chosen anew, so that it cannot clash.'],
  ...DISK_SENTENCES,
  ...LINE_SENTENCES,
  ...DISPLAY_SENTENCES,
];

function medium(source: XmlElement): string | null {
  const disk = source.parentElement;
  return disk !== null && isRemovable(disk)
    ? 'Its medium is of the source host: the drive is empty.'
    : null;
}

function device(disk: XmlElement): string | null {
  return attribute(disk, 'device') === 'lun'
    ? 'It is an ordinary disk: SCSI commands of the guest reach no device.'
    : null;
}

function otherEnd(becomes: string): Sentence {
  return (line) => {
    const type = attribute(line, 'type');
    return `Its ${type} is of the source host: it becomes a ${becomes}.`;
  };
}

/** A socket where libvirt itself would put it is nothing that anybody relies on. */
function socket(source: XmlElement): string | null {
  const path = attribute(source, 'path');
  const isUnix = attribute(source.parentElement, 'type') === 'unix';
  if (!isUnix || path === null || /\/qemu\/channel\//.test(path)) return null;
  return `Its socket is not ${path} there: libvirt makes one of its own.`;
}

function listening(at: XmlElement): string | null {
  const place = ['address', 'listen', 'network', 'socket']
    .map((name) => attribute(at, name))
    .find((one) => one !== null);
  return place === undefined
    ? null
    : `It does not listen at ${place}, which is of the source host, but where the target's displays do by default.`;
}

/** One that libvirt chose may be another tomorrow. */
function port(display: XmlElement, name: string): string | null {
  const value = attribute(display, name);
  const isChosen = attribute(display, 'autoport') === 'yes' && name !== 'websocket';
  return isChosen || value === '-1'
    ? null
    : `Its ${name} is not ${value} there: the target chooses a free one.`;
}

function sound(audio: XmlElement): string {
  return `Its sound (${attribute(audio, 'type')}) is of the source host: the replica plays to nobody.`;
}
