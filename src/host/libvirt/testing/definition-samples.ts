/**
 * Definitions that together hold everything that libvirt's schema knows, each on top of a small sound one. They are as libvirt would
 * parse them, not as it would accept them: what excludes what is no matter to a tree.
 *
 * Of each element there are samples with everything in it at once, once per value that any attribute in it may have, and
 * samples with one of its children alone, because one child may hide what becomes of the others. In every element is
 * also an element and an attribute that nobody knows.
 */
import {
  append,
  child,
  createRoot,
  ensureChild,
  remove,
  setAttributes,
  type XmlElement,
} from '../xml.ts';
import type { Outline } from './schema-outline.ts';

/** What is so in every sample of its device: without it there is nothing to look at. */
const ESSENTIALS: Readonly<Record<string, string>> = {
  'disk/source/@file': '/images/one.qcow2',
  'disk/target/@dev': 'vda',
  'disk/driver/@type': 'qcow2',
  'interface/mac/@address': '52:54:00:00:00:01',
};

/** Displays listen in five ways, memory is of six models. */
const SHORT_LIST = 6;
/** With one of these the disk as a whole is gone. */
const HIDES_THE_REST = ['shareable', 'transient', 'encryption'];
/** Said by the small definition that is below each sample. */
const OF_THE_BASE = ['devices', 'name', 'uuid', 'memory', 'metadata', 'os'];

export function definitionSamples(domain: Outline): XmlElement[] {
  const ofDomain = domain.inside.filter(({ name }) => !OF_THE_BASE.includes(name));
  const os = domain.inside.find(({ name }) => name === 'os')?.inside ?? [];
  const devices = domain.inside.find(({ name }) => name === 'devices')?.inside ?? [];
  return [
    ...ofDomain.flatMap((outline) => samplesOf(outline, (base) => base)),
    ...os
      .filter(({ name }) => name !== 'type')
      .flatMap((outline) => samplesOf(outline, (base) => ensureChild(base, 'os'))),
    ...devices.flatMap((outline) => samplesOf(outline, (base) => ensureChild(base, 'devices'))),
  ];
}

function samplesOf(outline: Outline, place: (base: XmlElement) => XmlElement): XmlElement[] {
  const types = outline.attributes.get('type') ?? [];
  const rounds = Math.max(1, ...valueCounts(outline));
  const samples: XmlElement[] = [];
  const make = (choice: Choice) => {
    const base = baseDomain();
    const parent = place(base);
    const twin = child(parent, outline.name);
    if (twin !== null) remove(twin);
    fill(append(parent, outline.name), { outline, path: outline.name, choice });
    samples.push(base);
  };
  for (const [index, type] of (types.length === 0 ? [null] : types).entries()) {
    // Every value with the first type; with the others those of the short lists, which are what matters to devices.
    const count = index === 0 ? rounds : Math.min(rounds, SHORT_LIST);
    for (let round = 0; round < count; round += 1) make({ type, round, only: null });
  }
  for (const { name } of outline.inside) make({ type: types[0] ?? null, round: 0, only: name });
  return samples;
}

/** Which of all the values: the type of the outermost element, and the how-manieth of everything else. */
type Choice = {
  readonly type: string | null;
  readonly round: number;
  /** The only child of the outermost element; null: all. */
  readonly only: string | null;
};

type Filling = { readonly outline: Outline; readonly path: string; readonly choice: Choice };

function fill(element: XmlElement, { outline, path, choice }: Filling): void {
  const isOutermost = !path.includes('/');
  for (const [name, values] of outline.attributes) {
    const chosen = isOutermost && name === 'type' ? choice.type : null;
    const value = ESSENTIALS[`${path}/@${name}`] ?? chosen ?? values[choice.round % values.length];
    setAttributes(element, { [name]: value ?? '7' });
  }
  setAttributes(element, { future: '7' });
  if (outline.hasText) element.textContent = '1';
  for (const inside of outline.inside) {
    const below = `${path}/${inside.name}`;
    const isEssential = Object.keys(ESSENTIALS).some((one) => one.startsWith(`${below}/`));
    const isWanted =
      choice.only === null ? !HIDES_THE_REST.includes(inside.name) : choice.only === inside.name;
    if (isOutermost && !isWanted && !isEssential) continue;
    if (!isOutermost && choice.only === null && HIDES_THE_REST.includes(inside.name)) continue;
    fill(append(element, inside.name), { outline: inside, path: below, choice });
  }
  append(element, 'future');
}

function valueCounts(outline: Outline): number[] {
  const own = [...outline.attributes.values()].map((values) => values.length);
  return [...own, ...outline.inside.flatMap(valueCounts)];
}

function baseDomain(): XmlElement {
  const domain = createRoot('domain', { type: 'kvm' });
  append(domain, 'name', {}, 'production');
  append(domain, 'uuid', {}, '8f0c2a5e-54fe-4c1a-9a77-3c1f1f0e5b11');
  append(domain, 'memory', { unit: 'MiB' }, '64');
  append(append(domain, 'os'), 'type', { arch: 'x86_64', machine: 'pc-q35-7.2' }, 'hvm');
  append(domain, 'devices');
  return domain;
}
