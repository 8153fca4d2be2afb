/**
 * What adapting a definition does to it, found by looking: every element, attribute and text that is gone or different
 * afterwards. Nothing is known here about what the adaptation means to do, so that it cannot lose anything unseen.
 */
import { attribute, elementsIn, ownText, type XmlElement } from './xml.ts';

export type Change = {
  /** From the domain down: `devices/interface/vlan`, `vcpu/@cpuset`, `genid/text()`. */
  readonly path: string;
  /** As it was, in its place in the source's definition; for an attribute or a text the element that has it. */
  readonly element: XmlElement;
};

/**
 * `twin` is the same definition as `source`, parsed a second time; `adapt` changes it by moving no element to
 * another place. What is new in it is no change of the source. Of what is gone, nothing inside is listed.
 */
export function changesBy(source: XmlElement, twin: XmlElement, adapt: () => void): Change[] {
  const pair = pairUp(source, twin, '');
  adapt();
  return changesIn(pair);
}

type Pair = {
  readonly path: string;
  readonly was: XmlElement;
  readonly is: XmlElement;
  readonly inside: readonly Pair[];
};

function pairUp(was: XmlElement, is: XmlElement, path: string): Pair {
  const twins = elementsIn(is);
  const inside = elementsIn(was).map((element, index) => {
    const twin = twins[index];
    if (twin === undefined) throw new TypeError('not the same definition twice');
    return pairUp(element, twin, below(path, element.localName ?? ''));
  });
  return { path, was, is, inside };
}

function changesIn({ path, was, is, inside }: Pair): Change[] {
  const attributes = [...was.attributes]
    .filter(({ name, value }) => attribute(is, name) !== value)
    .map(({ name }) => ({ path: below(path, `@${name}`), element: was }));
  const isReworded = ownText(was) !== '' && ownText(was) !== ownText(is);
  const text = isReworded ? [{ path: below(path, 'text()'), element: was }] : [];
  const children = inside.flatMap((pair) =>
    pair.is.parentNode === is ? changesIn(pair) : [{ path: pair.path, element: pair.was }],
  );
  return [...attributes, ...text, ...children];
}

function below(path: string, name: string): string {
  return path === '' ? name : `${path}/${name}`;
}
