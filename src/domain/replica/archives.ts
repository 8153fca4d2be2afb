/** Which archived branches may go: one that something kept lies over must stay, whatever its own time says. */
import type { BranchId } from '../ids.ts';
import type { Instant } from '../instant.ts';
import type { ArchivedBranch, Replica } from './replica.ts';

type Archiving = Pick<Replica, 'failover' | 'archives'>;

/** The branch that lies directly over this one: the one that runs, or another archive; null when there is none. */
export function branchOver({ failover, archives }: Archiving, id: BranchId): BranchId | null {
  if (failover?.overBranchId === id) return failover.branchId;
  return archives.find(({ overBranchId }) => overBranchId === id)?.branchId ?? null;
}

/** Those whose time is over and that nothing kept lies over; what lies over another comes before it. */
export function expiredArchives(
  { failover, archives }: Archiving,
  now: Instant,
): readonly ArchivedBranch[] {
  const needed = new Set<BranchId>();
  const keep = (id: BranchId | null | undefined): void => {
    let next = id ?? null;
    while (next !== null && !needed.has(next)) {
      needed.add(next);
      next = archives.find(({ branchId }) => branchId === next)?.overBranchId ?? null;
    }
  };
  keep(failover?.overBranchId);
  for (const { branchId, keepUntil } of archives) if (keepUntil > now) keep(branchId);
  // An archive is listed after the one that it lies over, because it was made later.
  return archives.filter(({ branchId }) => !needed.has(branchId)).toReversed();
}
