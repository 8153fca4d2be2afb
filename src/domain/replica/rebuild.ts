/**
 * A replica as its folder and its host's VMs tell it, for a catalogue that was lost. Nothing is deleted, and what
 * is doubtful is kept and said. Whoever lost the controller does not know what it was doing: so the epoch grows, which shuts
 * out a controller that is not lost after all.
 */
import type { BranchAbout } from '../failover/branch-about.ts';
import type { BranchId, FailbackId, HostId, JobId, VmId } from '../ids.ts';
import { type Instant, instant } from '../instant.ts';
import type { RestorePoint } from '../restore-point/restore-point.ts';
import type { PowerState, VmDescription } from '../vm/vm.ts';
import type { ReplicaAbout } from './about.ts';
import { conditionsOf, notesOf } from './rebuild-notes.ts';
import {
  type FoundHome,
  rebuiltFailback,
  rebuiltFailover,
  standingOf,
} from './rebuilt-failover.ts';
import type { ArchivedBranch, Condition, Replica } from './replica.ts';

export type FoundBranch = {
  readonly id: BranchId;
  readonly pointId: RestorePoint['id'];
  readonly overBranchId: BranchId | null;
  readonly state: 'active' | 'archived' | 'promoted';
  readonly keepUntil: Instant | null;
  readonly vm: VmDescription | null;
  /** Null: an older version made it. */
  readonly about: BranchAbout | null;
};

/** A VM at the target whose disks are in the replica's folder. */
export type FoundVm = {
  readonly id: VmId;
  readonly name: string;
  readonly power: PowerState;
  readonly isConnected: boolean;
  /** The branch that its disks are of; null: where they would be at rest. */
  readonly branchId: BranchId | null;
};

export type FoundFolder = {
  readonly id: Replica['id'];
  readonly name: string;
  readonly epoch: number;
  readonly about: ReplicaAbout | null;
  /** Oldest first. */
  readonly points: readonly RestorePoint[];
  readonly branches: readonly FoundBranch[];
  readonly vms: readonly FoundVm[];
  /** Null: it is not known which host that is, or it does not answer. */
  readonly home: FoundHome | null;
};

type Place = {
  readonly sourceHostId: HostId;
  readonly targetHostId: HostId;
  readonly jobId: JobId | null;
  readonly now: Instant;
};

export type Rebuilt = {
  readonly replica: Replica;
  readonly points: readonly RestorePoint[];
  readonly conditions: readonly Condition[];
  /** Working layers at the host of production that nobody wants any more. */
  readonly leftovers: readonly FailbackId[];
  /** For people: what was assumed, and what they may want to look at. */
  readonly notes: readonly string[];
};

/** Long enough for somebody to look at what was found before any of it is swept. */
export const REBUILT_ARCHIVE_MS = 30 * 24 * 3600 * 1000;

/** Why nothing is rebuilt, a sentence part; null when something is. */
export function rebuildRefusal(found: FoundFolder): string | null {
  const { about, points, branches } = found;
  if (branches.some(({ state }) => state === 'promoted')) {
    return 'it was made permanent: its VM is an ordinary one, and its source is protected no more';
  }
  if (about === null && points.length === 0) {
    return 'it has no restore point and does not say which VM it is of';
  }
  return null;
}

/** Why it cannot be said what there is, a sentence part; null when it can. Nothing is guessed: the wrong phase would cost somebody's writes. */
export function rebuildDoubt(found: FoundFolder): string | null {
  const standing = standingOf(found, replicaVm(found));
  if (standing?.stand?.type === 'unclear') return standing.stand.because;
  const told = standing?.branch.about?.failback?.id ?? null;
  const isOfOlder = standing !== null && standing.branch.about === null;
  for (const { failbackId, state } of found.home?.failbacks ?? []) {
    if (failbackId === told) continue;
    const isInUse = state === 'attached' || state === 'committing';
    if (!isInUse && !(isOfOlder && state === 'laid')) continue;
    return (
      `working layers of failback ${failbackId} are ${state} at ${found.home?.hostName}, and its branch says nothing of them. ` +
      'Merge or drop them by hand as docs/formats/working-layers.md describes'
    );
  }
  return null;
}

export function rebuiltReplica(found: FoundFolder, place: Place): Rebuilt {
  const { about, points, home } = found;
  const newest = points.at(-1) ?? null;
  const vm = replicaVm(found);
  const { now, ...hosts } = place;
  const standing = standingOf(found, vm);
  const isConnected = vm?.isConnected ?? false;
  const failover =
    standing === null ? null : rebuiltFailover(standing.branch, standing.stand, isConnected, now);
  const failback = standing === null ? null : rebuiltFailback(standing, home, now);
  const pinned = new Set(about?.pinnedPointIds ?? []);
  const sourceVmId = about?.sourceVmId ?? newest?.vm.id;
  if (sourceVmId === undefined) throw new Error(`replica ${found.id} is of no VM`);
  const replica: Replica = {
    ...hosts,
    id: found.id,
    sourceVmId,
    sourceVmName: about?.sourceVmName ?? newest?.vm.name ?? sourceVmId,
    // A record that had to be made anew does not know what the replica VM is called.
    name: about === null ? (vm?.name ?? found.name) : found.name,
    targetVmId: vm?.id ?? null,
    phase: phaseOf({ failover, failback, newestPointId: newest?.id ?? null }),
    epoch: Math.max(found.epoch, home?.epoch ?? 0) + 1,
    newestPointId: newest?.id ?? null,
    seed: null,
    failover,
    failback,
    formerSource: null,
    // What the replica stands in for is told by its branch.
    leftFencedNics: failover !== null || about === null ? [] : about.leftFencedNics,
    archives: archivesOf(found, standing?.branch, now),
    createdAt: about?.createdAt ?? newest?.takenAt ?? now,
  };
  return {
    replica,
    points: points.map((point) => ({ ...point, isPinned: point.isPinned || pinned.has(point.id) })),
    conditions: conditionsOf(replica, vm, { homePower: home?.homePower ?? 'unknown' }, now),
    leftovers: leftoversOf(found, failback?.id ?? null),
    notes: notesOf(found, replica, { vm, standing }),
  };
}

function phaseOf({
  failover,
  failback,
  newestPointId,
}: Pick<Replica, 'failover' | 'failback' | 'newestPointId'>): Replica['phase'] {
  if (failback !== null) return failback.switched === null ? 'ReadyToSwitch' : 'Failback';
  if (failover !== null) return 'Failover';
  return newestPointId === null ? 'Pending' : 'Ready';
}

/** By its identity, else by its name; else any that uses the folder. */
function replicaVm({ about, name, vms }: FoundFolder): FoundVm | null {
  return (
    vms.find(({ id }) => id === about?.targetVmId) ??
    vms.find((vm) => vm.name === name) ??
    vms[0] ??
    null
  );
}

/** Production is parked over them, or was: it gets its disks back. */
function leftoversOf({ home }: FoundFolder, current: FailbackId | null): readonly FailbackId[] {
  return (home?.failbacks ?? [])
    .filter(({ state }) => state === 'laid' || state === 'dropped')
    .filter(({ failbackId }) => failbackId !== current)
    .map(({ failbackId }) => failbackId);
}

/** What lies over another comes after it. An active branch that no VM of the replica is on is kept as one, too. */
function archivesOf(
  { branches }: FoundFolder,
  running: FoundBranch | undefined,
  now: Instant,
): readonly ArchivedBranch[] {
  const left = branches.filter((branch) => branch !== running);
  const archives: ArchivedBranch[] = [];
  while (archives.length < left.length) {
    const next = left.filter(
      ({ id, overBranchId }) =>
        !archives.some(({ branchId }) => branchId === id) &&
        (overBranchId === null || !isWaiting(overBranchId, left, archives)),
    );
    if (next.length === 0) break;
    for (const { id: branchId, pointId, overBranchId, keepUntil } of next) {
      const until = instant(Math.max(keepUntil ?? 0, now + REBUILT_ARCHIVE_MS));
      archives.push({ branchId, pointId, overBranchId, archivedAt: now, keepUntil: until });
    }
  }
  return archives;
}

function isWaiting(
  id: BranchId,
  all: readonly FoundBranch[],
  done: readonly ArchivedBranch[],
): boolean {
  return all.some((branch) => branch.id === id) && !done.some(({ branchId }) => branchId === id);
}
