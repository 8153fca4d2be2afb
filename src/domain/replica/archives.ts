/** Archived branches, which may lie over one another: one that something kept reads through must stay, whatever its own time says. */
import type { BranchId } from '../ids.ts';
import type { Instant } from '../instant.ts';
import type { ArchivedBranch, Replica } from './replica.ts';

type Archiving = Pick<Replica, 'failover' | 'archives'>;

/** The branch that lies directly over this one: the one that runs, or another archive; null when there is none. */
export function branchOver({ failover, archives }: Archiving, id: BranchId): BranchId | null {
  if (failover?.overBranchId === id) return failover.branchId;
  return archives.find(({ overBranchId }) => overBranchId === id)?.branchId ?? null;
}

/** The archive, and those that it reads through in turn; none for none. */
export function readsThrough(
  { archives }: Pick<Replica, 'archives'>,
  id: BranchId | null,
): readonly BranchId[] {
  const read = new Set<BranchId>();
  let next = id;
  while (next !== null && !read.has(next)) {
    read.add(next);
    next = archives.find(({ branchId }) => branchId === next)?.overBranchId ?? null;
  }
  return [...read];
}

/** Those whose time is over and that nothing kept lies over; what lies over another comes before it. */
export function expiredArchives(
  { failover, archives }: Archiving,
  now: Instant,
): readonly ArchivedBranch[] {
  const kept = archives.filter(({ keepUntil }) => keepUntil > now).map(({ branchId }) => branchId);
  const tops = [failover?.overBranchId ?? null, ...kept];
  const needed = new Set(tops.flatMap((top) => readsThrough({ archives }, top)));
  // An archive is listed after the one that it lies over, because it was made later.
  return archives.filter(({ branchId }) => !needed.has(branchId)).toReversed();
}
