/** What the target's libvirt makes of the replica's definition as a whole: what it does not know, and why it refuses it. */
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { SchemaElement } from './domain-schema.ts';
import { hasCode } from './errors.ts';
import { blocks, warns } from './finding.ts';
import type { Virsh } from './virsh.ts';
import { children, parseRoot, remove, serialiseXml, type XmlElement } from './xml.ts';

/** libvirt leaves out without a word what it does not know. `schema` null: nothing is known, and nothing is said. */
export function unknownFindings(
  replica: XmlElement,
  { schema, version }: { readonly schema: SchemaElement | null; readonly version: string },
): PreflightFinding[] {
  const domain = schema?.child('domain') ?? null;
  if (domain === null) return [];
  const message = `The target's ${version} does not know it and leaves it out. Update it, or do without this at the source.`;
  return [...new Set(unknownPaths(replica, domain, ''))].map((path) => warns(path, message));
}

function unknownPaths(element: XmlElement, known: SchemaElement, path: string): string[] {
  if (known.isOpen) return [];
  const attributes = [...element.attributes]
    // A prefix is of a namespace that is not libvirt's.
    .filter(({ name }) => !name.includes(':') && name !== 'xmlns' && !known.attributes.has(name))
    .map(({ name }) => `${path}@${name}`);
  const inside = children(element).flatMap((one) => {
    const name = one.localName ?? '';
    const knownChild = known.child(name);
    const below = `${path}${name}`;
    return knownChild === null ? [below] : unknownPaths(one, knownChild, `${below}/`);
  });
  return [...attributes, ...inside];
}

/**
 * libvirt's own words if it cannot make a QEMU of the definition; nothing is defined or started by that. Asked without the
 * NICs, for which it would make devices on the host and run their scripts.
 */
export async function refusalFindings(
  virsh: Virsh,
  replica: XmlElement,
  options: CallOptions,
): Promise<PreflightFinding[]> {
  const trial = parseRoot(serialiseXml(replica), 'domain', 'the replica');
  for (const devices of children(trial, 'devices')) {
    for (const nic of children(devices, 'interface')) remove(nic);
  }
  const args = ['domxml-to-native', 'qemu-argv', '--xml', { file: serialiseXml(trial) }];
  try {
    await virsh.run(args, options);
    return [];
  } catch (error) {
    if (!hasCode(error, 'hypervisor-refused')) throw error;
    return [blocks('definition', `The target cannot run it: ${error.details.reason}`)];
  }
}
