/**
 * What the replica's definition does not take over from the source's, in words. What is gone or different is found by
 * looking (replica-changes.ts); here is only what it means. A change that no row knows is told all the same.
 */
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import { isRemovable } from './domain-xml.ts';
import { warns } from './finding.ts';
import { DEVICE_SENTENCES } from './preflight-changes-devices.ts';
import { NIC_SENTENCES } from './preflight-changes-nics.ts';
import type { Change } from './replica-changes.ts';
import { attribute, child, type XmlElement } from './xml.ts';

/**
 * What becomes of the element, for people; null where it is replaced on purpose and nobody misses it, or where another
 * finding says it.
 */
export type Sentence = string | null | ((element: XmlElement) => string | null);

/** By path, the first that fits: `*` is one name, and `**` at the end is whatever is left, or nothing. */
export type Sentences = readonly (readonly [path: string, sentence: Sentence])[];

const NEEDS_ACCELERATION = 'It needs hardware acceleration, which replicas do not have here.';
const NOT_PINNED = 'Processors are not pinned at the target.';
const NO_CACHE = 'The replica has no share of a processor cache or of memory bandwidth of its own.';
const NO_SCHEDULER = "The replica's threads run under the target's ordinary scheduler.";

const DOMAIN_SENTENCES: Sentences = [
  // Its own identity, our mark, and what the findings on acceleration and machine say.
  ...['@id', '@type', 'name/text()', 'uuid/text()', 'metadata/replica', 'os/type/@machine'].map(
    (path) => [path, null] as const,
  ),
  [
    'genid/text()',
    'The generation id changes at every definition, as it must when a VM goes back in time.',
  ],
  ['seclabel', securityLabel],
  ['numatune', 'Memory is not bound to NUMA nodes at the target.'],
  ['resource', "The replica is in the target's default resource partition."],
  ['vcpu/@cpuset', NOT_PINNED],
  ['vcpu/@placement', (vcpu) => (attribute(vcpu, 'placement') === 'static' ? null : NOT_PINNED)],
  ['cputune/vcpupin', NOT_PINNED],
  ['cputune/emulatorpin', 'The emulator is not pinned at the target.'],
  ['cputune/iothreadpin', 'I/O threads are not pinned at the target.'],
  ['cputune/vcpusched', NO_SCHEDULER],
  ['cputune/emulatorsched', NO_SCHEDULER],
  ['cputune/iothreadsched', NO_SCHEDULER],
  ['cputune/cachetune', NO_CACHE],
  ['cputune/memorytune', NO_CACHE],
  ['memoryBacking/hugepages', 'The replica has ordinary pages instead of huge ones.'],
  ['memoryBacking/locked', "The replica's memory is not locked."],
  ['blkiotune/device', (limits) => `The limits of ${pathOf(limits)} are of the source's device.`],
  ['os/nvram/source', firmwareVariables],
  // The variables are a file that is replicated.
  ['os/nvram/**', null],
  ['features/*', NEEDS_ACCELERATION],
  ['clock/timer', NEEDS_ACCELERATION],
  [
    'cpu/feature',
    (feature) =>
      `The emulated processor is what the target makes it; ${attribute(feature, 'name')} is not asked for.`,
  ],
  ['cpu/cache', 'The caches that the guest sees are those of the emulated processor.'],
  // Said by the finding on the processor.
  ['cpu/**', null],
];

const SENTENCES: Sentences = [...DOMAIN_SENTENCES, ...NIC_SENTENCES, ...DEVICE_SENTENCES];

export function changeFindings(changes: readonly Change[]): PreflightFinding[] {
  const findings = changes.flatMap((change) => {
    const message = messageOf(change);
    return message === null ? [] : [warns(labelOf(change), message)];
  });
  // Two pinned processors are one thing to know.
  return [
    ...new Map(findings.map((one) => [`${one.element}\n${one.message}`, one] as const)).values(),
  ];
}

function messageOf({ path, element }: Change): string | null {
  const row = SENTENCES.find(([pattern]) => matches(pattern, path));
  if (row === undefined) return `The replica does not have it as it is at the source (${path}).`;
  const [, sentence] = row;
  return typeof sentence === 'function' ? sentence(element) : sentence;
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/');
  const names = path.split('/');
  const isOpen = wanted.at(-1) === '**';
  if (isOpen) wanted.pop();
  if (isOpen ? names.length < wanted.length : names.length !== wanted.length) return false;
  return wanted.every((name, index) => name === '*' || name === names[index]);
}

/** `nic 52:54:00:00:00:01`, `drive sda`, `device graphics vnc`; for what is no device its path. */
function labelOf({ path, element }: Change): string {
  const device = deviceOf(element);
  if (device === null) return path.replace(/\/(?:@.*|text\(\))$/, '');
  if (device.localName === 'interface') return nicLabel(device);
  if (device.localName === 'disk') {
    return `${isRemovable(device) ? 'drive' : 'disk'} ${attribute(child(device, 'target'), 'dev')}`;
  }
  const target = child(device, 'target');
  const label = [attribute(target, 'dir'), attribute(target, 'dev')]
    .concat(['type', 'model', 'name'].map((name) => attribute(device, name)))
    .find((one) => one !== null);
  return `device ${device.localName}${label === undefined ? '' : ` ${label}`}`;
}

export function nicLabel(nic: XmlElement): string {
  return `nic ${attribute(child(nic, 'mac'), 'address') ?? 'without MAC'}`;
}

/** The device that the element is, or is part of. */
function deviceOf(element: XmlElement): XmlElement | null {
  let device: XmlElement | null = element;
  while (device !== null && device.parentElement?.localName !== 'devices') {
    device = device.parentElement;
  }
  return device;
}

/** What libvirt makes up for every VM is nothing that anybody configured. */
function securityLabel(label: XmlElement): string | null {
  const isMadeUp = attribute(label, 'type') === 'dynamic' && child(label, 'baselabel') === null;
  return isMadeUp ? null : 'The security label of the source is replaced by one of the target.';
}

function firmwareVariables(source: XmlElement): string | null {
  return attribute(source, 'file') === null
    ? "The firmware's variables are not in a file and are not replicated: the replica begins with fresh ones."
    : null;
}

function pathOf(limits: XmlElement): string {
  return child(limits, 'path')?.textContent?.trim() ?? 'a disk';
}
