/** What several fences, one after the other, have done to a source, and so what lifting them has to take back. */
import type { FailoverRecord } from '../replica/replica.ts';

export type Fencing = Pick<FailoverRecord, 'fence' | 'fencedNics'>;

/** `none` added: nothing was done, and what was done before stays to be lifted. */
export function addFence(before: Fencing, added: Fencing): Fencing {
  if (added.fence === 'none') return { fence: before.fence, fencedNics: before.fencedNics };
  return { fence: added.fence, fencedNics: union(before.fencedNics, added.fencedNics) };
}

/** Null, all of them, includes any. */
function union(a: Fencing['fencedNics'], b: Fencing['fencedNics']): Fencing['fencedNics'] {
  return a === null || b === null ? null : [...new Set([...a, ...b])];
}
