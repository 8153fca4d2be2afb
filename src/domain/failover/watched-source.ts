/** Which VMs may come back beside the one that took their place, and must be told then. Pure. */
import type { HostId, VmId } from '../ids.ts';
import type { Instant } from '../instant.ts';
import type { Replica } from '../replica/replica.ts';
import type { FailbackHome } from './failback.ts';

export type WatchedVm = { readonly hostId: HostId; readonly vmId: VmId; readonly name: string };

/** So long after it was replaced for good it is looked for: a host that is repaired later than this is new. */
export const REPLACED_WATCHED_MS = 30 * 24 * 3600 * 1000;

/** The source, where the replica or another VM serves in its place; null: it cannot come back unexpected. */
export function watchedSource(replica: Replica, now: Instant): WatchedVm | null {
  const { phase, failover, failback } = replica;
  switch (phase) {
    case 'Failover':
    case 'ReadyToSwitch':
      return isUnexpected(replica) ? sourceOf(replica) : null;
    case 'Failback': // production serves; where that is another VM, this one must not
      return failback !== null && isElsewhere(replica, failback.home) ? sourceOf(replica) : null;
    case 'Permanent':
      // What was accepted beside a failover is not beside production.
      if (failover?.isConnected !== true || isLongAgo(failover.startedAt, now)) return null;
      return sourceOf(replica);
    default:
      return null;
  }
}

/** The VM whose place the source took for good, whatever became of that since; null: there is none, or it is looked for no more. */
export function watchedFormer(
  { phase, formerSource }: Replica,
  now: Instant,
  /** That it may serve has been told: that is looked at until it is not so. */
  isTold: boolean,
): WatchedVm | null {
  if (phase === 'Removed' || formerSource === null) return null;
  const { hostId, vmId, name, leftAt } = formerSource;
  return isLongAgo(leftAt, now) && !isTold ? null : { hostId, vmId, name };
}

/** A replica that is not connected can meet nobody; an accepted duplicate is no news. */
function isUnexpected({ failover }: Replica): boolean {
  return failover?.isConnected === true && !failover.isDuplicateAccepted;
}

/** Whether another VM than the source takes over. */
export function isElsewhere(
  { sourceHostId, sourceVmId }: Pick<Replica, 'sourceHostId' | 'sourceVmId'>,
  home: FailbackHome,
): boolean {
  return home.hostId !== sourceHostId || home.vmId !== sourceVmId;
}

export function sourceOf({ sourceHostId, sourceVmId, sourceVmName }: Replica): WatchedVm {
  return { hostId: sourceHostId, vmId: sourceVmId, name: sourceVmName };
}

function isLongAgo(then: Instant, now: Instant): boolean {
  return now - then >= REPLACED_WATCHED_MS;
}
