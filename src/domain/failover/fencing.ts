/** What several fences, one after the other, have done to a source, and so what lifting them has to take back. */
import type { FailoverRecord } from '../replica/replica.ts';
import type { FailbackHome, FailbackRecord } from './failback.ts';

export type Fencing = Pick<FailoverRecord, 'fence' | 'fencedNics'>;

/** `none` added: nothing was done, and what was done before stays to be lifted. */
export function addFence(before: Fencing, added: Fencing): Fencing {
  if (added.fence === 'none') return { fence: before.fence, fencedNics: before.fencedNics };
  return { fence: added.fence, fencedNics: union(before.fencedNics, added.fencedNics) };
}

/**
 * Given up, a failback leaves the source that it shut down as a fence does: whoever undoes the failover later wants it to run again.
 * A restored copy is not the failover's to start.
 */
export function addStopOf({ home, hasStoppedHome }: GivenUp, before: Fencing): Fencing {
  const hasStoppedSource = hasStoppedHome && home.kind === 'original';
  return addFence(before, { fence: hasStoppedSource ? 'shutdown' : 'none', fencedNics: [] });
}

type GivenUp = Pick<FailbackRecord, 'hasStoppedHome'> & {
  readonly home: Pick<FailbackHome, 'kind'>;
};

/** What an earlier failover left disconnected, as far as nobody has connected it since; `connected` null: nobody can tell. */
export function stillFenced(
  left: Fencing['fencedNics'],
  connected: readonly string[] | null,
): Fencing['fencedNics'] {
  if (left === null || connected === null) return left;
  return left.filter((mac) => !connected.includes(mac));
}

/** A sentence part about production's NICs at the switchover; null where no fence had disconnected any. */
export function connectsAtSwitchover({ fencedNics }: Pick<Fencing, 'fencedNics'>): string | null {
  if (fencedNics?.length === 0) return null;
  const which = fencedNics === null ? 'all its NICs' : `its NICs ${fencedNics.join(', ')}`;
  return `${which} are connected then, which a fence had disconnected`;
}

/** Null, all of them, includes any. */
function union(a: Fencing['fencedNics'], b: Fencing['fencedNics']): Fencing['fencedNics'] {
  return a === null || b === null ? null : [...new Set([...a, ...b])];
}
