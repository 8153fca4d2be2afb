/**
 * The element in a domain's `<metadata>` by which we know our own replicas again: libvirt keeps it untouched.
 *
 *   <understudy:replica xmlns:understudy="https://understudy.dev/xmlns/1" id="replica-..." epoch="3"/>
 */
import { type ReplicaId, replicaId } from '../../domain/ids.ts';
import {
  appendNamespaced,
  attribute,
  child,
  childrenIn,
  ensureChild,
  parseRoot,
  remove,
  serialiseXml,
  type XmlElement,
} from './xml.ts';

export const UNDERSTUDY_NAMESPACE = 'https://understudy.dev/xmlns/1';

/** What a replica id looks like (domain/ids.ts); a mark with another was not made by us. */
const ID = /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/;

export type ReplicaMark = { readonly replicaId: ReplicaId; readonly epoch: number };

/** Null when the domain is none of ours. Throws `invalid-vm-configuration`. */
export function readReplicaMark(text: string, subject: string): ReplicaMark | null {
  const metadata = child(parseRoot(text, 'domain', subject), 'metadata');
  const ours = metadata === null ? [] : childrenIn(metadata, UNDERSTUDY_NAMESPACE);
  const mark = ours.find(({ localName }) => localName === 'replica');
  const id = attribute(mark ?? null, 'id');
  const epoch = Number(attribute(mark ?? null, 'epoch'));
  if (id === null || !ID.test(id) || !Number.isSafeInteger(epoch)) return null;
  return { replicaId: replicaId(id), epoch };
}

/** For a VM that is none any more. */
export function dropReplicaMark(text: string): string {
  const domain = parseRoot(text, 'domain', 'the VM');
  const metadata = child(domain, 'metadata');
  if (metadata !== null) {
    for (const old of childrenIn(metadata, UNDERSTUDY_NAMESPACE)) remove(old);
  }
  return serialiseXml(domain);
}

/** Replaces whatever mark the definition carries: the source may itself have been a replica once. */
export function setReplicaMark(domain: XmlElement, mark: ReplicaMark): void {
  const metadata = ensureChild(domain, 'metadata');
  for (const old of childrenIn(metadata, UNDERSTUDY_NAMESPACE)) remove(old);
  appendNamespaced(
    metadata,
    { namespace: UNDERSTUDY_NAMESPACE, qualifiedName: 'understudy:replica' },
    { id: mark.replicaId, epoch: String(mark.epoch) },
  );
}
