/**
 * A VM may have several replicas, one beside it and one far away. Whichever of them has taken its place, the others must know:
 * two machines of one identity must not meet. Pure.
 */
import type { Replica } from '../replica/replica.ts';
import type { FailbackHome } from './failback.ts';
import { isElsewhere, type WatchedVm } from './watched-source.ts';

export type StandIn = WatchedVm & {
  /** Of the replica by which it came to stand there. */
  readonly replicaName: string;
};

/** The other replicas of the VM that this one is made from. */
export function siblingsOf(
  { id, sourceHostId, sourceVmId }: Replica,
  all: readonly Replica[],
): readonly Replica[] {
  return all.filter((other) => {
    const isOfSameVm = other.sourceVmId === sourceVmId && other.sourceHostId === sourceHostId;
    return isOfSameVm && other.id !== id;
  });
}

/** What may serve in the place of this replica's source because of another replica of it. */
export function standInsBeside(replica: Replica, all: readonly Replica[]): readonly StandIn[] {
  return [...siblingsOf(replica, all).flatMap(standInsOf), ...successors(replica, all)];
}

/** Where another replica's failback has brought the work of this one's source for good, and what stands in for that. */
function successors(
  { id, sourceHostId, sourceVmId }: Replica,
  all: readonly Replica[],
): readonly StandIn[] {
  return all.flatMap((other) => {
    const { formerSource, name } = other;
    const isMoved = formerSource?.hostId === sourceHostId && formerSource.vmId === sourceVmId;
    if (!isMoved || other.id === id) return [];
    const { sourceHostId: hostId, sourceVmId: vmId, sourceVmName } = other;
    return [{ hostId, vmId, name: sourceVmName, replicaName: name }, ...standInsOf(other)];
  });
}

function standInsOf(replica: Replica): readonly StandIn[] {
  const { phase, name, targetHostId, targetVmId, failback } = replica;
  if (phase === 'Pending' || phase === 'Ready' || phase === 'Removed') return [];
  const found: StandIn[] = [];
  if (targetVmId !== null) {
    found.push({ hostId: targetHostId, vmId: targetVmId, name, replicaName: name });
  }
  const home = phase === 'Failback' ? (failback?.home ?? null) : null;
  if (home !== null && home.vmId !== null && isElsewhere(replica, home)) {
    found.push({ hostId: home.hostId, vmId: home.vmId, name: home.name, replicaName: name });
  }
  return found;
}

/** The replica whose failback holds this one's source: until it switches over, nothing can be read from the source's disks. */
export function failbackHolding(replica: Replica, all: readonly Replica[]): Replica | null {
  const holding = siblingsOf(replica, all).find(({ failback }) => {
    if (failback === null || failback.switched !== null) return false;
    return !isElsewhere(replica, failback.home);
  });
  return holding ?? null;
}

/** The other replica, of whatever VM, whose failback to this home is neither kept nor undone: layers lie over its disks. */
export function failbackTo(
  { hostId, vmId }: FailbackHome,
  { id }: Replica,
  all: readonly Replica[],
): Replica | null {
  const found = all.find(({ id: other, failback }) => {
    if (other === id || failback === null || vmId === null) return false;
    return failback.home.hostId === hostId && failback.home.vmId === vmId;
  });
  return found ?? null;
}
