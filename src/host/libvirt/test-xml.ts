/**
 * The definition of a test VM, made from the source's as a replica's is, and then cut off: every NIC on the network of the
 * test or on none, and nothing that a person once handed to QEMU past libvirt.
 */
import { createHash } from 'node:crypto';
import { type VmId, vmId } from '../../domain/ids.ts';
import type { SetUpTest, TestId } from '../../ports/test-bench.ts';
import { networkOf } from './domain-xml.ts';
import { UNDERSTUDY_NAMESPACE } from './replica-mark.ts';
import { replicaXml, type TargetTraits } from './replica-xml.ts';
import {
  appendNamespaced,
  attribute,
  child,
  children,
  childrenIn,
  ensureChild,
  findAll,
  parseRoot,
  remove,
  removeChildren,
  serialiseXml,
  setAttributes,
  type XmlElement,
} from './xml.ts';

const QEMU_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0';

/** A UUID of its own, and the same whenever this test is asked for (RFC 9562, version 8). */
export function testVmId(testId: TestId): VmId {
  const hex = createHash('sha256').update(`understudy test ${testId}`).digest('hex');
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 3) | 8).toString(16);
  return vmId(
    `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`,
  );
}

export type TestDefinition = {
  readonly request: SetUpTest;
  readonly target: TargetTraits;
  /** Null: every NIC's link is down. */
  readonly bridge: string | null;
  /** Where the first serial line is written to. */
  readonly consolePath: string;
};

/** Throws `invalid-vm-configuration`. */
export function testXml({ request, target, bridge, consolePath }: TestDefinition): string {
  const { source, testId } = request;
  const id = testVmId(testId);
  const domain = parseRoot(
    replicaXml({
      request: {
        ...request,
        epoch: 0,
        vmId: id,
        networkMap: mapOf(source.configuration.text, source.name, bridge),
        connectNics: bridge !== null,
      },
      vmId: id,
      target,
    }),
    'domain',
    request.name,
  );
  mark(domain, request);
  for (const name of ['commandline', 'override', 'deprecation']) {
    for (const element of childrenIn(domain, QEMU_NAMESPACE)) {
      if (element.localName === name) remove(element);
    }
  }
  const devices = ensureChild(domain, 'devices');
  for (const nic of children(devices, 'interface')) cutOff(nic, bridge);
  listenToConsole(devices, consolePath);
  return serialiseXml(domain);
}

/** The test that a definition belongs to; null when it is none of ours. Throws `invalid-vm-configuration`. */
export function readTestMark(text: string, subject: string): TestId | null {
  const metadata = child(parseRoot(text, 'domain', subject), 'metadata');
  const ours = metadata === null ? [] : childrenIn(metadata, UNDERSTUDY_NAMESPACE);
  return attribute(ours.find(({ localName }) => localName === 'test') ?? null, 'id');
}

/** Whether the console of the VM, as defined, goes to a file. */
export function hasConsole(text: string, subject: string): boolean {
  const domain = parseRoot(text, 'domain', subject);
  return findAll(domain, 'devices/serial').length + findAll(domain, 'devices/console').length > 0;
}

function mapOf(
  text: string,
  subject: string,
  bridge: string | null,
): Record<string, string | null> {
  const nics = findAll(parseRoot(text, 'domain', subject), 'devices/interface');
  const to = bridge === null ? null : `bridge:${bridge}`;
  return Object.fromEntries(nics.map((nic) => [networkOf(nic), to]));
}

/** Not the mark of a replica: nobody may take this VM for one. */
function mark(domain: XmlElement, { testId, replicaId, branchId }: SetUpTest): void {
  const metadata = ensureChild(domain, 'metadata');
  for (const old of childrenIn(metadata, UNDERSTUDY_NAMESPACE)) remove(old);
  appendNamespaced(
    metadata,
    { namespace: UNDERSTUDY_NAMESPACE, qualifiedName: 'understudy:test' },
    { id: testId, replica: replicaId, branch: branchId },
  );
}

/** Whatever became of it before: a NIC that is not on our bridge has its link down. A link that was down at the source is up here. */
function cutOff(nic: XmlElement, bridge: string | null): void {
  const isOnBridge = bridge !== null && networkOf(nic) === `bridge:${bridge}`;
  setAttributes(ensureChild(nic, 'link'), { state: isOnBridge ? 'up' : 'down' });
}

/** The first serial port, or virtual console, writes to a file; the guest sees no difference. */
function listenToConsole(devices: XmlElement, path: string): void {
  const [serial] = children(devices, 'serial');
  for (const console of children(devices, 'console')) {
    // The same line a second time: libvirt adds it again by itself.
    const type = attribute(child(console, 'target'), 'type') ?? 'serial';
    if (serial !== undefined && type === 'serial') remove(console);
  }
  const line = serial ?? children(devices, 'console')[0];
  if (line === undefined) return;
  removeChildren(line, 'source', 'log');
  setAttributes(line, { type: 'file', tty: null });
  setAttributes(ensureChild(line, 'source'), { path, append: 'on' });
}
