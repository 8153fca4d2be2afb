/**
 * XML as libvirt writes it: parsed into a DOM, changed there, written back. Nothing is ever built or edited as text,
 * and what we do not know (metadata, `qemu:commandline`, elements of newer versions) survives.
 *
 * Definitions come from hosts that we do not own. Document types, which libvirt never writes, are refused, so that
 * there are no entities to expand; so are characters that XML forbids; size and depth are bounded before anything walks the tree.
 * Look-ups see only elements without a namespace, so that a foreign `<x:disk>` is never taken for a disk.
 */
import { DOMParser, type Document, type Element, type Node, XMLSerializer } from '@xmldom/xmldom';
import { invalidConfiguration } from './errors.ts';

export type XmlDocument = Document;
export type XmlElement = Element;

/** libvirt's own limit on a message is 32 MiB; real definitions have a few thousand bytes. */
const TEXT_LENGTH_MAX = 4 * 1024 * 1024;
const TAGS_MAX = 50_000;
const DEPTH_MAX = 100;

const ELEMENT_NODE = 1;
const TEXT_NODE = 3;
const CDATA_NODE = 4;
const DOCUMENT_TYPE_NODE = 10;

/** `subject` names the VM in errors. Throws `invalid-vm-configuration`. */
export function parseXml(text: string, subject: string): XmlDocument {
  refuseIfHuge(text, subject);
  refuseForbiddenCharacters(text, subject);
  const document = parse(text, subject);
  for (let node = document.firstChild; node !== null; node = node.nextSibling) {
    if (node.nodeType === DOCUMENT_TYPE_NODE) {
      throw invalidConfiguration(subject, 'it declares a document type');
    }
  }
  if (document.documentElement === null) throw invalidConfiguration(subject, 'it has no element');
  if (depthExceeds(document.documentElement, DEPTH_MAX)) {
    throw invalidConfiguration(subject, `its elements are nested deeper than ${DEPTH_MAX}`);
  }
  return document;
}

/** The root element, which must be called `name`. Throws `invalid-vm-configuration`. */
export function parseRoot(text: string, name: string, subject: string): XmlElement {
  const root = parseXml(text, subject).documentElement;
  if (root === null || root.nodeName !== name) {
    throw invalidConfiguration(subject, `it is a <${root?.nodeName ?? ''}>, not a <${name}>`);
  }
  return root;
}

export function serialiseXml(node: XmlDocument | XmlElement): string {
  const text = new XMLSerializer().serializeToString(node);
  // The serialiser leaves carriage returns in text as they are; a parser would turn them into line feeds.
  return text.replaceAll('\r', '&#13;');
}

/** The first child element of that name, else null. */
export function child(parent: XmlElement, name: string): XmlElement | null {
  return children(parent, name)[0] ?? null;
}

/** The child elements of that name, or all of them. A snapshot: removing while walking is safe. */
export function children(parent: XmlElement, name?: string): XmlElement[] {
  return elementsIn(parent).filter(
    ({ namespaceURI, localName }) =>
      namespaceURI === null && (name === undefined || localName === name),
  );
}

/** The child elements, whatever their namespace. */
export function elementsIn(parent: XmlElement): XmlElement[] {
  const found: XmlElement[] = [];
  for (let node = parent.firstChild; node !== null; node = node.nextSibling) {
    if (isElement(node)) found.push(node);
  }
  return found;
}

/** The first element at `a/b/c` below `parent`, else null. */
export function find(parent: XmlElement, path: string): XmlElement | null {
  return findAll(parent, path)[0] ?? null;
}

/** All elements at `a/b/c` below `parent`, in document order. */
export function findAll(parent: XmlElement, path: string): XmlElement[] {
  let level = [parent];
  for (const name of path.split('/')) level = level.flatMap((element) => children(element, name));
  return level;
}

/** Null when there is no such attribute, or no element. */
export function attribute(element: XmlElement | null, name: string): string | null {
  return element?.hasAttribute(name) ? element.getAttribute(name) : null;
}

/** The text between its own tags, without that of elements inside. */
export function ownText(element: XmlElement): string {
  let text = '';
  for (let node = element.firstChild; node !== null; node = node.nextSibling) {
    if (node.nodeType === TEXT_NODE || node.nodeType === CDATA_NODE) text += node.nodeValue ?? '';
  }
  return text.trim();
}

/** The text inside, trimmed; null when there is no element. */
export function textOf(element: XmlElement | null): string | null {
  return element === null ? null : (element.textContent ?? '').trim();
}

/** Null stands for "no such attribute". */
export type Attributes = Readonly<Record<string, string | null>>;

export function setAttributes(element: XmlElement, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null) element.removeAttribute(name);
    else element.setAttribute(name, value);
  }
}

/** A new last child in the parent's own namespace. */
export function append(
  parent: XmlElement,
  name: string,
  attributes: Attributes = {},
  text: string | null = null,
): XmlElement {
  const element = ownerOf(parent).createElementNS(null, name);
  setAttributes(element, attributes);
  if (text !== null) element.textContent = text;
  parent.appendChild(element);
  return element;
}

/** The child of that name, made when missing. */
export function ensureChild(parent: XmlElement, name: string): XmlElement {
  return child(parent, name) ?? append(parent, name);
}

/** Sets the text of the child of that name, making it when missing. */
export function setText(parent: XmlElement, name: string, text: string): void {
  ensureChild(parent, name).textContent = text;
}

/** A copy of an element of another document, as the last child. */
export function adopt(parent: XmlElement, element: XmlElement): void {
  parent.appendChild(ownerOf(parent).importNode(element, true));
}

export function remove(element: XmlElement | null): void {
  element?.parentNode?.removeChild(element);
}

/** Removes the children of these names. */
export function removeChildren(parent: XmlElement, ...names: readonly string[]): void {
  for (const name of names) for (const element of children(parent, name)) remove(element);
}

/** A fresh document `<name ...>`, to build small XML for libvirt. */
export function createRoot(name: string, attributes: Attributes = {}): XmlElement {
  const root = new DOMParser().parseFromString(`<${name}/>`, 'text/xml').documentElement;
  if (root === null) throw new TypeError(`not an element name: ${name}`);
  setAttributes(root, attributes);
  return root;
}

/** A new child in a namespace of ours, e.g. inside `<metadata>`. */
export function appendNamespaced(
  parent: XmlElement,
  { namespace, qualifiedName }: { namespace: string; qualifiedName: string },
  attributes: Attributes,
): XmlElement {
  const element = ownerOf(parent).createElementNS(namespace, qualifiedName);
  setAttributes(element, attributes);
  parent.appendChild(element);
  return element;
}

/** Child elements in that namespace, whatever their prefix. */
export function childrenIn(parent: XmlElement, namespace: string): XmlElement[] {
  return elementsIn(parent).filter(({ namespaceURI }) => namespaceURI === namespace);
}

/** The parser takes U+FFFD for a sign of a wrong encoding; to XML it is a character like others, and people have it in titles. */
const REPLACEMENT_CHARACTER = 'Unicode replacement character';

function parse(text: string, subject: string): XmlDocument {
  let complaint: string | null = null;
  try {
    const document = new DOMParser({
      // The parser's own would also turn U+0085 and U+2028 into line feeds (XML 1.1); libvirt writes XML 1.0.
      normalizeLineEndings: (source) => source.replace(/\r\n?/g, '\n'),
      onError: (_level, message) => {
        if (!message.includes(REPLACEMENT_CHARACTER)) complaint ??= message;
      },
    }).parseFromString(text, 'text/xml');
    if (complaint === null) return document;
  } catch (error) {
    throw invalidConfiguration(subject, firstLine(complaint ?? String(error)), error);
  }
  throw invalidConfiguration(subject, firstLine(complaint));
}

function refuseIfHuge(text: string, subject: string): void {
  if (text.length > TEXT_LENGTH_MAX) {
    throw invalidConfiguration(subject, `it is longer than ${TEXT_LENGTH_MAX} characters`);
  }
  let tags = 0;
  for (let at = text.indexOf('<'); at !== -1; at = text.indexOf('<', at + 1)) {
    tags += 1;
    if (tags > TAGS_MAX) throw invalidConfiguration(subject, `it has more than ${TAGS_MAX} tags`);
  }
  if (text.includes('<!DOCTYPE'))
    throw invalidConfiguration(subject, 'it declares a document type');
}

const FORBIDDEN = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u;

/** XML 1.0, section 2.2; the parser lets them pass, also as references. */
function refuseForbiddenCharacters(text: string, subject: string): void {
  let isForbidden = FORBIDDEN.test(text);
  for (const [, hex, decimal] of text.matchAll(/&#(?:x([0-9a-f]+)|([0-9]+));/gi)) {
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    isForbidden ||= code > 0x10ffff || FORBIDDEN.test(String.fromCodePoint(code));
  }
  if (isForbidden) throw invalidConfiguration(subject, 'it holds a character that XML forbids');
}

/** Without recursion: the depth is what is in question. */
function depthExceeds(root: XmlElement, limit: number): boolean {
  let depth = 1;
  let node: Node | null = root;
  while (node !== null) {
    if (node.firstChild !== null) {
      node = node.firstChild;
      depth += 1;
      if (depth > limit) return true;
      continue;
    }
    while (node !== null && node !== root && node.nextSibling === null) {
      node = node.parentNode;
      depth -= 1;
    }
    node = node === null || node === root ? null : node.nextSibling;
  }
  return false;
}

function isElement(node: Node): node is XmlElement {
  return node.nodeType === ELEMENT_NODE;
}

function ownerOf(element: XmlElement): XmlDocument {
  const owner = element.ownerDocument;
  if (owner === null) throw new TypeError('an element without a document');
  return owner;
}

function firstLine(message: string): string {
  return (
    message
      .replace(/^ParseError: /, '')
      .split('\n')[0]
      ?.slice(0, 300) ?? ''
  );
}
