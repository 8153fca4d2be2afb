/**
 * Everything that a definition may hold, as an outline that a test can read without a libvirt at hand:
 *
 *   domain @id @type=qemu|kvm
 *     vcpu @placement=static|auto @cpuset text
 *
 * Made anew from the schema of a newer libvirt by
 *
 *   node src/host/libvirt/testing/schema-outline.ts /usr/share/libvirt/schemas/domain.rng
 */
import { readFileSync } from 'node:fs';
import { readDomainSchema, type SchemaElement } from '../domain-schema.ts';

const FIXTURE = new URL('../fixtures/domain-outline.txt', import.meta.url);

export type Outline = {
  readonly name: string;
  /** Name → the values it is limited to; none: anything. */
  readonly attributes: ReadonlyMap<string, readonly string[]>;
  readonly hasText: boolean;
  readonly inside: readonly Outline[];
};

/** Of libvirt 11.3. */
export function readOutline(): Outline {
  const root: Outline & { inside: Outline[] } = open('');
  const parents = [root];
  for (const line of readFileSync(FIXTURE, 'utf8').split('\n')) {
    if (line === '') continue;
    const depth = (line.length - line.trimStart().length) / 2;
    const [name = '', ...words] = line.trim().split(' ');
    const element = open(name, words);
    parents[depth]?.inside.push(element);
    parents[depth + 1] = element;
  }
  const [domain] = root.inside;
  if (domain === undefined) throw new Error('the outline is empty');
  return domain;
}

function open(name: string, words: readonly string[] = []): Outline & { inside: Outline[] } {
  const attributes = words
    .filter((word) => word.startsWith('@'))
    .map((word) => {
      const [attribute = '', values] = word.slice(1).split('=');
      return [attribute, values === undefined ? [] : values.split('|')] as const;
    });
  return { name, attributes: new Map(attributes), hasText: words.includes('text'), inside: [] };
}

/** An element within one of its own name is not opened again: a chain of layers has no end. */
function outlineOf(element: SchemaElement, path: readonly string[]): string[] {
  return element
    .childNames()
    .filter((name) => !path.includes(name))
    .flatMap((name) => {
      const below = element.child(name);
      if (below === null) return [];
      const attributes = [...below.attributes].map(([attribute, values]) => {
        const distinct = [...new Set(values)].filter((value) => !/[ |]/.test(value));
        return ` @${attribute}${distinct.length === 0 ? '' : `=${distinct.join('|')}`}`;
      });
      const text = below.hasText ? ' text' : '';
      const line = `${'  '.repeat(path.length)}${name}${attributes.join('')}${text}`;
      return [line, ...outlineOf(below, [...path, name])];
    });
}

if (import.meta.main) {
  const schema = await readDomainSchema(process.argv[2]);
  if (schema === null) throw new Error('no schema there');
  process.stdout.write(`${outlineOf(schema, []).join('\n')}\n`);
}
