/** Files as people, other programs and power cuts leave them. */
import assert from 'node:assert/strict';
import fc from 'fast-check';

/** Replaces, removes or adds something somewhere, or cuts the text. */
export const damage = fc.tuple(
  fc.nat(),
  fc.constantFrom('replace', 'remove', 'add', 'cut'),
  fc.jsonValue(),
);

export function damaged(
  content: unknown,
  [seed, how, value]: readonly [number, string, unknown],
): string {
  const text = JSON.stringify(content);
  if (how === 'cut') return text.slice(0, seed % text.length);
  const places: { holder: Record<string, unknown>; key: string }[] = [];
  const copy = { root: structuredClone(content) };
  const visit = (holder: Record<string, unknown>) => {
    for (const key of Object.keys(holder)) {
      places.push({ holder, key });
      const child = holder[key];
      if (child !== null && typeof child === 'object') visit(child as Record<string, unknown>);
    }
  };
  visit(copy);
  const place = places[seed % places.length];
  assert.ok(place);
  if (how === 'replace') place.holder[place.key] = value;
  else if (how === 'add') place.holder[`${place.key}x`] = value;
  else delete place.holder[place.key];
  return JSON.stringify(copy.root) ?? '';
}

/** No JSON at all, most of the time. */
export const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.string({ unit: 'binary', maxLength: 100 }),
  fc.json(),
);
