/**
 * A VM may have several replicas, one beside it and one far away. Whichever of them has taken its place, the others must know:
 * two machines of one identity must not meet. Pure.
 */
import type { HostId, ReplicaId, VmId } from '../ids.ts';
import type { Replica } from '../replica/replica.ts';
import type { FailbackHome } from './failback.ts';
import { isElsewhere, sourceOf, type WatchedVm } from './watched-source.ts';

export type StandIn = WatchedVm & {
  /** Of the replica by which it came to stand there. */
  readonly replicaName: string;
  /** What it is, a sentence part; absent: of another replica of the VM. */
  readonly origin?: string;
};

/** What was production when its failback was undone past its host: it may serve, until its host answers and it is stopped. */
export type LeftProduction = {
  readonly replicaId: ReplicaId;
  readonly hostId: HostId;
  readonly vmId: VmId;
  readonly name: string;
};

/** The other replicas of the same machine: of the same VM, or of one that a failback has put in its place for good. */
export function siblingsOf(replica: Replica, all: readonly Replica[]): readonly Replica[] {
  return all.filter((other) => other.id !== replica.id && isOfSameMachine(replica, other));
}

/** What may serve in the place of this replica's source because of another one of the same machine. */
export function standInsBeside(
  replica: Replica,
  all: readonly Replica[],
  /** Of replicas that were given up by force, and of which nobody has seen the VM off. */
  uncleaned: readonly ReplicaId[] = [],
): readonly StandIn[] {
  const own = sourceOf(replica);
  return siblingsOf(replica, all).flatMap((other) => {
    const source = sourceOf(other);
    const there = isSame(source, own) ? [] : [{ ...source, replicaName: other.name }];
    return [...there, ...standInsOf(other, uncleaned.includes(other.id))];
  });
}

/** The same of what forced undos of failbacks may have left serving, of this replica's own, too. */
export function leftBeside(
  replica: Replica,
  all: readonly Replica[],
  left: readonly LeftProduction[],
): readonly StandIn[] {
  const ofMachine = [replica, ...siblingsOf(replica, all)];
  return left.flatMap(({ replicaId, ...vm }) => {
    const owner = ofMachine.find(({ id }) => id === replicaId);
    // The source is looked at as what it is.
    if (owner === undefined || isSame(vm, sourceOf(replica))) return [];
    const origin = 'production before a failback was undone';
    return [{ ...vm, replicaName: owner.name, origin }];
  });
}

/** Names of the places that a replica would take: two of the same machine have one in common. */
export function placesOf(replica: Replica): readonly string[] {
  return lineOf(replica).map(({ hostId, vmId }) => `place:${hostId}/${vmId}`);
}

function isOfSameMachine(one: Replica, other: Replica): boolean {
  return lineOf(one).some((vm) => lineOf(other).some((its) => isSame(vm, its)));
}

/** The VM that a replica is made from, and the one whose place that took. */
function lineOf(replica: Replica): readonly Place[] {
  const { formerSource } = replica;
  return [sourceOf(replica), ...(formerSource === null ? [] : [formerSource])];
}

type Place = Pick<WatchedVm, 'hostId' | 'vmId'>;

function isSame(one: Place, other: Place): boolean {
  return one.hostId === other.hostId && one.vmId === other.vmId;
}

function standInsOf(replica: Replica, isUncleaned: boolean): readonly StandIn[] {
  const { phase, name, targetHostId, targetVmId, failback } = replica;
  const isAtRest = phase === 'Pending' || phase === 'Ready';
  if (phase === 'Removed' || (isAtRest && !isUncleaned)) return [];
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
