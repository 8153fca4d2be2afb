import { parseInstant } from '../domain/instant.ts';
import type { PointSelector } from '../ports/controller.ts';

/** `latest`, a time, or anything else as an id. An id never looks like a time: it begins with its prefix. */
export function pointSelector(text: string): PointSelector {
  if (text === 'latest') return { type: 'latest' };
  const instant = parseInstant(text);
  return instant === null ? { type: 'reference', reference: text } : { type: 'at', instant };
}
