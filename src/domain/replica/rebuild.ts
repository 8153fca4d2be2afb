/**
 * A replica as its folder and its host's VMs tell it, for a catalogue that was lost. Nothing is deleted, and what
 * is doubtful is kept and said. Whoever lost the controller does not know what it was doing: so the epoch grows, which shuts
 * out a controller that is not lost after all.
 */
import { type BranchId, type HostId, type JobId, operationId, type VmId } from '../ids.ts';
import { type Instant, instant } from '../instant.ts';
import type { RestorePoint } from '../restore-point/restore-point.ts';
import type { PowerState, VmDescription } from '../vm/vm.ts';
import type { ReplicaAbout } from './about.ts';
import type { ArchivedBranch, Condition, FailoverRecord, Replica } from './replica.ts';

export type FoundBranch = {
  readonly id: BranchId;
  readonly pointId: RestorePoint['id'];
  readonly overBranchId: BranchId | null;
  readonly state: 'active' | 'archived' | 'promoted';
  readonly keepUntil: Instant | null;
  readonly vm: VmDescription | null;
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
  /** For people: what was assumed, and what they may want to look at. */
  readonly notes: readonly string[];
};

/** Long enough for somebody to look at what was found before any of it is swept. */
export const REBUILT_ARCHIVE_MS = 30 * 24 * 3600 * 1000;

/** Why there is nothing to rebuild, a sentence part; null when there is. */
export function rebuildRefusal({ about, points, branches }: FoundFolder): string | null {
  if (branches.some(({ state }) => state === 'promoted')) {
    return 'it was made permanent: its VM is an ordinary one, and its source is protected no more';
  }
  if (about === null && points.length === 0) {
    return 'it has no restore point and does not say which VM it is of';
  }
  return null;
}

export function rebuiltReplica(found: FoundFolder, place: Place): Rebuilt {
  const { about, points } = found;
  const newest = points.at(-1) ?? null;
  const vm = replicaVm(found);
  const branch = found.branches.find(({ id, state }) => state === 'active' && id === vm?.branchId);
  const failover = branch === undefined || vm === null ? null : failoverOf(branch, vm, place.now);
  const pinned = new Set(about?.pinnedPointIds ?? []);
  const sourceVmId = about?.sourceVmId ?? newest?.vm.id;
  if (sourceVmId === undefined) throw new Error(`replica ${found.id} is of no VM`);
  const { now, ...hosts } = place;
  const replica: Replica = {
    ...hosts,
    id: found.id,
    sourceVmId,
    sourceVmName: about?.sourceVmName ?? newest?.vm.name ?? sourceVmId,
    // A record that had to be made anew does not know what the replica VM is called.
    name: about === null ? (vm?.name ?? found.name) : found.name,
    targetVmId: vm?.id ?? null,
    phase: failover !== null ? 'Failover' : newest === null ? 'Pending' : 'Ready',
    epoch: found.epoch + 1,
    newestPointId: newest?.id ?? null,
    seed: null,
    failover,
    // Only production's host knows of one: see docs/runbooks/controller-lost.md.
    failback: null,
    formerSource: null,
    archives: archivesOf(found, branch, now),
    createdAt: about?.createdAt ?? newest?.takenAt ?? now,
  };
  return {
    replica,
    points: points.map((point) => ({ ...point, isPinned: point.isPinned || pinned.has(point.id) })),
    conditions: failover?.isConnected === true ? [unfenced(now)] : [],
    notes: notesOf(found, replica, vm),
  };
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

function failoverOf(
  { id, pointId, overBranchId }: FoundBranch,
  { isConnected }: FoundVm,
  startedAt: Instant,
): FailoverRecord {
  return {
    pointId,
    branchId: id,
    overBranchId,
    operationId: operationId('op-rebuilt'),
    reason: 'found in progress when the catalogue was rebuilt',
    fence: 'none',
    fencedNics: [],
    isDuplicateAccepted: false,
    isSourceReleased: false,
    startedAt,
    isConnected,
    connectionBecause: 'it was found so when the catalogue was rebuilt',
    runningAfterMs: null,
    answeringAfterMs: null,
    answeredBy: null,
  };
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

function unfenced(since: Instant): Condition {
  const message =
    'The replica was found serving when the catalogue was rebuilt; whether its source is fenced is not known. ' +
    'Make sure that only one of them serves.';
  return { name: 'unfenced-source', message, since };
}

function notesOf(found: FoundFolder, replica: Replica, vm: FoundVm | null): readonly string[] {
  const notes: string[] = [];
  if (replica.failover !== null) {
    notes.push(
      `It is in Failover, ${vm?.power ?? 'off'}, at restore point ${replica.failover.pointId}. ` +
        'Whether its source was fenced is not known: an undo leaves the source as it is.',
    );
  }
  for (const { id, state } of found.branches) {
    if (state !== 'active' || id === replica.failover?.branchId) continue;
    notes.push(`Branch ${id} was in use by no VM of the replica: it is kept as an archive.`);
  }
  for (const other of found.vms) {
    if (other === vm) continue;
    notes.push(`VM ${other.name} (${other.id}) uses its files, too, and was left alone.`);
  }
  if (vm === null && found.points.length > 0) {
    notes.push('Its VM is not defined at the target; the next run or failover defines it.');
  } else if (vm !== null && replica.failover === null && vm.power !== 'off') {
    notes.push(
      `Its VM ${vm.name} is ${vm.power} although it should be off: see \`understudy rescan\`.`,
    );
  }
  if (replica.archives.length > 0) {
    notes.push(
      `Its archived branches are kept for 30 days at least: see \`understudy archive list\`.`,
    );
  }
  if (found.about === null) {
    notes.push(
      'An older version made it: it does not say which job it had. A new job takes it over.',
    );
  } else if (replica.jobId === null) notes.push('It had no job. A new job takes it over.');
  return notes;
}
