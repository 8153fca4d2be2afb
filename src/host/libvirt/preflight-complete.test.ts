/**
 * Nothing of a definition is lost in silence. Every definition that libvirt's schema allows is made a replica's; whatever
 * is gone or different in the outcome is either replaced on purpose, by the list here, or the preflight says something because of
 * it: something that it no longer says once the thing is taken out of the source.
 *
 * The outcome is compared by marks on its elements, not by the comparison that the preflight itself makes.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { VmDescription } from '../../domain/vm/vm.ts';
import type { DefineReplicaRequest } from '../../ports/hypervisor.ts';
import type { Processes } from '../../ports/processes.ts';
import { networkOf } from './domain-xml.ts';
import {
  DOMAIN_CAPABILITIES,
  defineRequest,
  describedAs,
  EVERYTHING,
  scriptedVirsh,
} from './fixtures/fixtures.ts';
import type { HostFacts } from './host-facts.ts';
import { preflightTargetVm } from './preflight-target.ts';
import type { NetworkMap } from './replica-nics.ts';
import { replicaXml, type TargetTraits } from './replica-xml.ts';
import { definitionSamples } from './testing/definition-samples.ts';
import { readOutline } from './testing/schema-outline.ts';
import type { Virsh } from './virsh.ts';
import {
  attribute,
  child,
  children,
  elementsIn,
  findAll,
  ownText,
  parseRoot,
  remove,
  serialiseXml,
  type XmlElement,
} from './xml.ts';

/** What is replaced because a replica is another VM, or goes together with something else that is said. */
const ON_PURPOSE: readonly RegExp[] = [
  // The identity and the files of the replica.
  /^(?:@id|name|uuid|metadata\/replica)$/,
  /^genid(?:\/|$)/,
  /^os\/nvram(?:\/|$)/,
  /^devices\/emulator$/,
  /^devices\/[^/]+\/alias$/,
  /^devices\/disk\/(?:@type|@snapshot|auth|backingStore|mirror)$/,
  /^devices\/disk\/source(?:\/(?!reservations|seclabel)|$)/,
  /^devices\/disk\/driver\/@(?:name|type)$/,
  /^devices\/tpm\/backend\/source$/,
  // Said with the pinning itself.
  /^vcpu\/@placement$/,
  /^devices\/(?:channel|console|serial|parallel)\/(?:@tty|target\/@state)$/,
  // Where a NIC is plugged in: the map says so.
  /^devices\/interface\/(?:@type|@managed|source|source\/.*|actual|link\/@state)$/,
  // Said with the type of the line, the sound, the display, the processor, the VM.
  /^devices\/(?:console|serial|parallel)\/source$/,
  /^devices\/(?:channel|console|serial|parallel)\/(?:protocol|seclabel)$/,
  /^devices\/audio$/,
  /^devices\/graphics\/(?:@autoport|@listen|@socket)$/,
  /^devices\/graphics\/listen\/@/,
  /^devices\/vsock\/cid\/@/,
  /^cpu(?:\/(?!feature|cache)|$)/,
  /^@type$/,
  /^os\/type\/@machine$/,
];

type Plan = {
  readonly name: string;
  readonly domainType: TargetTraits['domainType'];
  /** What every network of the source is at the target; undefined: the same. */
  readonly network?: string | null;
};

const EMULATED: Plan = { name: 'emulated', domainType: 'qemu' };
const ACCELERATED: Plan = { name: 'accelerated', domainType: 'kvm' };
const NIC_PLANS: readonly Plan[] = [
  EMULATED,
  ACCELERATED,
  { name: 'another network', domainType: 'kvm', network: 'network:recovery' },
  { name: 'a bridge', domainType: 'kvm', network: 'bridge:br7' },
  { name: 'unplugged', domainType: 'kvm', network: null },
];

/** What matters to what is in the sample: acceleration to the processor, the network to NICs. */
function plansFor(sample: XmlElement): readonly Plan[] {
  if (findAll(sample, 'devices/interface').length > 0) return NIC_PLANS;
  const devices = child(sample, 'devices');
  const hasDevice = devices !== null && children(devices).length > 0;
  return hasDevice ? [EMULATED] : [EMULATED, ACCELERATED];
}

const facts: HostFacts = {
  hypervisorVersion: 'libvirt 11.3.0',
  emulatorVersion: 'QEMU 10.0.2',
  emulatorPath: '/usr/bin/qemu-system-x86_64',
  architecture: 'x86_64',
  domainTypes: ['qemu', 'kvm'],
  machines: ['pc-q35-7.2', 'q35', 'pc'],
  cpuCount: 2,
  memoryBytes: 4 * 1024 ** 3,
};

describe('what a replica does not take over', () => {
  it('is said by the preflight, or replaced on purpose', async () => {
    const silent: string[] = [];
    const unknown = new Set<string>();
    const judged = new Set<string>();
    const samples = [parseRoot(EVERYTHING, 'domain', 'vm'), ...definitionSamples(readOutline())];
    for (const sample of samples) {
      const source = describedAs(serialiseXml(sample));
      for (const plan of plansFor(sample)) {
        for (const loss of lossesOf(sample, source, plan)) {
          const { path, value, type } = loss;
          if (path.includes('future')) unknown.add(path);
          const case_ = `${path} ${value} of type ${type}, ${plan.name}`;
          if (judged.has(case_)) continue;
          judged.add(case_);
          if (!(await isSaid(sample, loss, plan))) silent.push(case_);
        }
      }
    }
    assert.deepEqual(silent, []);
    assert.deepEqual([...unknown], [], 'what nobody knows is left alone');
    assert.ok(judged.size > 100, `only ${judged.size} losses were looked at`);
  });
});

function isOnPurpose(path: string, element: XmlElement): boolean {
  return ON_PURPOSE.some((pattern) => pattern.test(path)) || isMadeUp(path, element);
}

/** What libvirt chose for a running VM may be something else tomorrow. */
function isMadeUp(path: string, element: XmlElement): boolean {
  switch (path) {
    case 'devices/graphics/@port':
    case 'devices/graphics/@tlsPort':
      return attribute(element, 'autoport') === 'yes';
    case 'devices/interface/target':
      return /^vnet/.test(attribute(element, 'dev') ?? '');
    case 'devices/channel/source':
      // Of the other types it is said with the type.
      return (
        attribute(element.parentElement, 'type') !== 'unix' ||
        /\/libvirt\/qemu\/channel\//.test(attribute(element, 'path') ?? '')
      );
    default:
      return false;
  }
}

/** One thing that the outcome does not have as the source has it. */
type Loss = {
  readonly path: string;
  /** Of the attribute; null: the element itself, or its text. */
  readonly name: string | null;
  readonly value: string;
  /** Of the outermost element that it is in. */
  readonly type: string | null;
  /** The how-manieth element of the definition. */
  readonly index: number;
};

function lossesOf(sample: XmlElement, source: VmDescription, plan: Plan): Loss[] {
  const marked = sample.cloneNode(true) as XmlElement;
  const before = elementsBelow(marked);
  for (const [index, element] of before.entries()) element.setAttribute('mark', String(index));
  const configuration = { ...source.configuration, text: serialiseXml(marked) };
  const text = replicaXml({
    request: {
      ...defineRequest(),
      source: { ...source, configuration },
      disks: disksOf(source),
      networkMap: mapOf(sample, plan),
    },
    vmId: source.id,
    target: { domainType: plan.domainType, machines: facts.machines },
  });
  const outcome = elementsBelow(parseRoot(text, 'domain', 'replica'));
  const after = new Map(outcome.map((element) => [attribute(element, 'mark'), element]));
  return before.flatMap((element, index) => {
    const parent = element.parentElement;
    // What is in something that is gone is gone with it.
    if (parent !== null && !after.has(attribute(parent, 'mark'))) return [];
    const loss = (name: string | null, value: string): Loss[] => {
      const path = pathOf(element, name);
      if (isOnPurpose(path, element)) return [];
      return [{ path, name, value, type: typeOf(element), index }];
    };
    const twin = after.get(String(index));
    if (twin === undefined) return loss(null, '');
    const attributes = [...element.attributes]
      .filter(({ name, value }) => attribute(twin, name) !== value)
      .flatMap(({ name, value }) => loss(name, value));
    return ownText(element) === ownText(twin) ? attributes : [...attributes, ...loss(null, '')];
  });
}

function disksOf(source: VmDescription): DefineReplicaRequest['disks'] {
  return source.disks
    .filter(({ unsupportedBecause }) => unsupportedBecause === null)
    .map(({ key }) => ({ key, path: `/replicas/${key}.qcow2`, format: 'qcow2' }));
}

function mapOf(sample: XmlElement, { network }: Plan): NetworkMap {
  const networks = findAll(sample, 'devices/interface').map(networkOf);
  return network === undefined ? {} : Object.fromEntries(networks.map((one) => [one, network]));
}

/** Without the thing the preflight says less. */
async function isSaid(sample: XmlElement, { name, index }: Loss, plan: Plan): Promise<boolean> {
  const without = sample.cloneNode(true) as XmlElement;
  const element = elementsBelow(without)[index];
  assert.ok(element !== undefined);
  // libvirt writes the first `<listen>` a second time, as attributes.
  if (element.localName === 'listen') {
    element.parentElement?.removeAttribute('listen');
    element.parentElement?.removeAttribute('socket');
  }
  if (name === null) remove(element);
  else element.removeAttribute(name);
  const [said, left] = await Promise.all([findings(sample, plan), findings(without, plan)]);
  return said.some((one) => !left.includes(one));
}

async function findings(sample: XmlElement, plan: Plan): Promise<string[]> {
  const source = describedAs(serialiseXml(sample));
  const found = await preflightTargetVm(
    { virsh: targetVirsh(), processes: silentProcesses() },
    {
      request: { source, networkMap: mapOf(sample, plan) },
      facts,
      acceleration: plan.domainType === 'kvm' ? 'hardware' : 'software',
      traits: { domainType: plan.domainType, machines: facts.machines },
      schema: null,
    },
    { signal: new AbortController().signal },
  );
  const unexplained = found.filter(({ message }) => /as it is at the source \(/.test(message));
  assert.deepEqual(unexplained, [], 'every change has a sentence of its own');
  return found.map(({ element, message }) => `${element}: ${message}`);
}

/** Of what is not about changes it knows nothing, so that nothing else is said. */
function targetVirsh(): Virsh {
  return scriptedVirsh({
    domcapabilities: DOMAIN_CAPABILITIES,
    'net-list': '',
    list: '',
    'nwfilter-list': '',
    'domxml-to-native': '',
  });
}

function silentProcesses(): Processes {
  const never = () => Promise.reject(new Error('not used'));
  const run = async () => ({ exitCode: 1, signal: null, stdout: '', stderr: '' });
  return { run, startDaemon: never, isAlive: never, end: never };
}

/** The definition itself and all in it, in the order of the text. */
function elementsBelow(element: XmlElement): XmlElement[] {
  return [element, ...elementsIn(element).flatMap(elementsBelow)];
}

function pathOf(element: XmlElement, name: string | null): string {
  const names = ancestors(element).map(({ localName }) => localName);
  return [...names, ...(name === null ? [] : [`@${name}`])].join('/');
}

function typeOf(element: XmlElement): string | null {
  const path = ancestors(element);
  const outermost = path[0]?.localName === 'devices' ? path[1] : path[0];
  return attribute(outermost ?? null, 'type');
}

/** From the definition, which is left out, down to the element itself. */
function ancestors(element: XmlElement): XmlElement[] {
  const parent = element.parentElement;
  return parent === null ? [] : [...ancestors(parent), element];
}
