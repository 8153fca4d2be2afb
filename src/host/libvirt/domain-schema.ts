/**
 * What this host's libvirt knows of a definition, read from the schema that it came with (RELAX NG, relaxng.org/spec).
 *
 * libvirt passes over elements and attributes that it does not know, without a word, when a VM is defined: a definition
 * from a newer libvirt arrives with holes. The schema lists what it knows. Reduced to what that question needs: all choices together,
 * whatever excludes what; namespaces other than libvirt's own are not looked into.
 */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { attribute, childrenIn, parseRoot, textOf, type XmlElement } from './xml.ts';

/** Where distributions put it; `libvirt0` on Debian, `libvirt-libs` on Fedora. */
export const SCHEMA_FILE = '/usr/share/libvirt/schemas/domain.rng';

/** What may stand at one place of a definition. */
export type SchemaElement = {
  /** Name → the values it is limited to; none: anything. */
  readonly attributes: ReadonlyMap<string, readonly string[]>;
  /** Holds text of its own. */
  readonly hasText: boolean;
  /** Takes any elements, as `<metadata>` does. */
  readonly isOpen: boolean;
  childNames(): readonly string[];
  child(name: string): SchemaElement | null;
};

const RELAX_NG = 'http://relaxng.org/ns/structure/1.0';

/** An element of the schema, without the document that it stood in: all of them are kept for as long as the server runs. */
type Pattern = {
  readonly kind: string;
  readonly name: string | null;
  /** Speaks of another namespace than libvirt's own. */
  readonly isForeign: boolean;
  /** Of the kinds that say something by it. */
  readonly text: string | null;
  readonly parts: readonly Pattern[];
};

/** Name → everything that any file of the schema defines it as. */
type Grammar = Map<string, Pattern[]>;

/** The root, which holds `domain`; null where there is no schema, or not one that can be read. */
export async function readDomainSchema(path: string = SCHEMA_FILE): Promise<SchemaElement | null> {
  const grammar: Grammar = new Map();
  try {
    await readGrammar(path, { grammar, seen: new Set() });
  } catch {
    // Not an error: without it nothing is known about what libvirt does not know, and nothing is said.
    return null;
  }
  return elementOf(grammar, grammar.get('start') ?? []);
}

async function readGrammar(
  path: string,
  { grammar, seen }: { readonly grammar: Grammar; readonly seen: Set<string> },
): Promise<void> {
  if (seen.has(path)) return;
  seen.add(path);
  const root = parseRoot(await readFile(path, 'utf8'), 'grammar', path);
  for (const element of childrenIn(root, RELAX_NG)) {
    if (element.localName === 'include') {
      const href = attribute(element, 'href') ?? '';
      await readGrammar(join(dirname(path), href), { grammar, seen });
    }
    // An `<include>` may define anew what it includes; all definitions of a name count.
    const isInclude = element.localName === 'include';
    for (const definition of isInclude ? childrenIn(element, RELAX_NG) : [element]) {
      const name = definition.localName === 'start' ? 'start' : attribute(definition, 'name');
      if (name !== null) grammar.set(name, [...(grammar.get(name) ?? []), patternOf(definition)]);
    }
  }
}

function patternOf(element: XmlElement): Pattern {
  const kind = element.localName ?? '';
  return {
    kind,
    name: attribute(element, 'name'),
    isForeign: (attribute(element, 'ns') ?? '') !== '',
    text: kind === 'name' || kind === 'value' ? textOf(element) : null,
    parts: childrenIn(element, RELAX_NG).map(patternOf),
  };
}

type Content = {
  readonly attributes: Map<string, string[]>;
  readonly children: Map<string, Pattern[]>;
  hasText: boolean;
  isOpen: boolean;
  /** Names that were followed already: a definition may lead back to itself. */
  readonly followed: Set<string>;
};

/** What the patterns, all of them definitions of the same place, let in. */
function elementOf(grammar: Grammar, patterns: readonly Pattern[]): SchemaElement {
  const content: Content = {
    attributes: new Map(),
    children: new Map(),
    hasText: false,
    isOpen: false,
    followed: new Set(),
  };
  for (const pattern of patterns) collectInside(grammar, pattern, content);
  const { attributes, children, hasText, isOpen } = content;
  return {
    attributes,
    hasText,
    isOpen,
    childNames: () => [...children.keys()],
    child(name) {
      const found = children.get(name);
      return found === undefined ? null : elementOf(grammar, found);
    },
  };
}

function collectInside(grammar: Grammar, { parts }: Pattern, content: Content): void {
  for (const part of parts) collect(grammar, part, content);
}

function collect(grammar: Grammar, part: Pattern, content: Content): void {
  switch (part.kind) {
    case 'element':
      if (!part.isForeign) add(content.children, namesOf(part), [part]);
      content.isOpen ||= part.parts.some(isWildcard);
      break;
    case 'attribute':
      add(content.attributes, namesOf(part), valuesOf(grammar, part));
      break;
    case 'ref': {
      const name = part.name ?? '';
      if (content.followed.has(name)) break;
      content.followed.add(name);
      for (const one of grammar.get(name) ?? []) collectInside(grammar, one, content);
      break;
    }
    case 'text':
    case 'data':
    case 'value':
      content.hasText = true;
      break;
    default:
      collectInside(grammar, part, content);
  }
}

function isWildcard({ kind }: Pattern): boolean {
  return kind === 'anyName' || kind === 'nsName';
}

function namesOf({ name, parts }: Pattern): string[] {
  if (name !== null) return [name];
  return parts
    .flatMap((one) => (one.kind === 'choice' ? one.parts : [one]))
    .filter(({ kind }) => kind === 'name')
    .flatMap(({ text }) => text ?? []);
}

function valuesOf(grammar: Grammar, { parts }: Pattern, seen = new Set<string>()): string[] {
  return parts.flatMap((part) => {
    if (part.kind === 'value') return [part.text ?? ''];
    if (part.kind !== 'ref') return valuesOf(grammar, part, seen);
    const name = part.name ?? '';
    if (seen.has(name)) return [];
    seen.add(name);
    return (grammar.get(name) ?? []).flatMap((one) => valuesOf(grammar, one, seen));
  });
}

function add<Item>(
  to: Map<string, Item[]>,
  names: readonly string[],
  items: readonly Item[],
): void {
  for (const name of names) to.set(name, [...(to.get(name) ?? []), ...items]);
}
