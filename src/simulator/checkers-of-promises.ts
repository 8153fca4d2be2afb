/** Invariants about what was promised: kept branches, epochs, hash tables, a replica that can run, ends that stay ends. */
import { hasEnded } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CatalogueView, Checker } from './checkers.ts';
import { diskAt } from './files.ts';
import type { SimulatedHost } from './host.ts';
import { differenceBetween, isDrifted, pointContents } from './observation.ts';
import { completeRecords, listedPoints } from './replica-folder.ts';
import type { World } from './world.ts';

/** 1: the hash table of a restore point says of every block what it reads; anything else would be missed by a later comparison. */
export function pointsAreHashed(world: World): string[] {
  return [...pointContents(world)].flatMap(([name, { host, folder, point, key, read }]) => {
    if (isDrifted(world, folder, point)) return [];
    const layer = point.disks.find((disk) => disk.key === key)?.layerId ?? null;
    const recorded = { sizeBytes: read.sizeBytes, content: completeRecords(folder, layer) };
    const why = differenceBetween(recorded, read);
    return why === null ? [] : [`the hash table of ${name} on ${host.id} is wrong: ${why}`];
  });
}

/** 7: the branch of an undone failover is there for as long as was promised. */
export function keptBranchesAreThere(world: World, { replicas }: CatalogueView): string[] {
  return replicas.flatMap((replica) => {
    const folder = reachableTarget(world, replica)?.replicas.get(replica.id);
    if (folder === undefined || isOver(replica)) return [];
    return replica.archives
      .filter(({ branchId }) => !folder.branches.has(branchId))
      .map(({ branchId }) => `the kept branch ${branchId} of ${replica.name} is not there`);
  });
}

/** Section 2: a replica that serves has a VM, and disks that it can be started from. */
export function servingReplicasCanRun(world: World, view: CatalogueView): string[] {
  return view.replicas.flatMap((replica) => {
    const host = reachableTarget(world, replica);
    if (host === null || (replica.phase !== 'Failover' && replica.phase !== 'ReadyToSwitch')) {
      return [];
    }
    const vm = [...host.vms.values()].find(({ state }) => state.replicaId === replica.id);
    if (vm === undefined) return [`replica ${replica.name} is in ${replica.phase} without a VM`];
    if (isHalfUndone(host, view, replica)) return [];
    return vm.state.disks
      .filter(({ path }) => diskAt(world.files, path) === null)
      .map(({ key }) => `replica ${replica.name} serves, and its disk ${key} is not there`);
  });
}

/**
 * Past its point of no return an undo only goes forward. A person who gives it up there is left with a replica that is off and whose
 * branch is archived, until the undo is asked for again.
 */
function isHalfUndone(
  host: SimulatedHost,
  { operations }: CatalogueView,
  { id, failover }: Replica,
): boolean {
  if (failover === null) return false;
  const branch = host.replicas.get(id)?.branches.get(failover.branchId);
  if (branch === undefined || branch.keepUntil === null) return false;
  return operations.some(
    ({ kind, subject, state }) => kind === 'undo-failover' && subject === id && state === 'failed',
  );
}

export function createPromiseCheckers(): readonly Checker[] {
  return [createNewestPointStays(), createEpochsNeverFall(), createEndsStayEnds()];
}

/** 7 and 2: the newest restore point goes only for a newer one, or with its replica. */
function createNewestPointStays(): Checker {
  let before = new Map<string, string>();
  return (world, { replicas, operations }) => {
    const now = new Map<string, string>();
    const lost: string[] = [];
    for (const replica of replicas) {
      const folder = world.hosts.get(replica.targetHostId)?.replicas.get(replica.id);
      const ends = operations.some(
        ({ subject, kind, state }) =>
          subject === replica.id && ENDING.includes(kind) && !hasEnded(state),
      );
      if (isOver(replica) || ends) continue;
      const newest = folder === undefined ? undefined : listedPoints(folder).at(-1);
      const earlier = before.get(replica.id);
      // One that somebody damaged is nobody's promise any more: a repair drops it.
      const isSound =
        folder !== undefined && newest !== undefined && !isDrifted(world, folder, newest);
      if (isSound) now.set(replica.id, newest.id);
      if (earlier === undefined || folder?.points.has(earlier as never) === true) continue;
      if (newest === undefined || newest.id < earlier) {
        lost.push(`the newest restore point ${earlier} of ${replica.name} is gone`);
      }
    }
    before = now;
    return lost;
  };
}

const ENDING: readonly string[] = ['delete-replica', 'remove-replica', 'permanent-failover'];

/** 4 and 5: an epoch only grows, and no host has heard of one that is not recorded. */
function createEpochsNeverFall(): Checker {
  let before = new Map<string, number>();
  return (world, { replicas }) => {
    const now = new Map<string, number>();
    for (const replica of replicas) {
      const host = world.hosts.get(replica.targetHostId);
      now.set(`the record of ${replica.name}`, replica.epoch);
      const ofFolder = host?.replicas.get(replica.id)?.epoch;
      const ofVm = host?.epochs.get(replica.id);
      if (ofFolder !== undefined) now.set(`the folder of ${replica.name}`, ofFolder);
      if (ofVm !== undefined) now.set(`the hypervisor of ${replica.name}`, ofVm);
    }
    const wrong = [...now].flatMap(([what, epoch]) => {
      const earlier = before.get(what) ?? 0;
      return epoch < earlier ? [`${what} went from epoch ${earlier} to ${epoch}`] : [];
    });
    for (const { name, epoch } of replicas) {
      for (const what of [`the folder of ${name}`, `the hypervisor of ${name}`]) {
        const heard = now.get(what) ?? 0;
        if (heard > epoch) wrong.push(`${what} knows epoch ${heard}, recorded is ${epoch}`);
      }
    }
    before = now;
    return wrong;
  };
}

/** 8: what has ended stays as it ended. */
function createEndsStayEnds(): Checker {
  const ended = new Map<string, string>();
  return (_world, { operations }) => {
    const changed: string[] = [];
    for (const { id, kind, state } of operations) {
      const earlier = ended.get(id);
      if (earlier !== undefined && earlier !== state) {
        changed.push(`${kind} ${id} had ${earlier} and is ${state}`);
      }
      if (hasEnded(state)) ended.set(id, state);
    }
    return changed;
  };
}

function isOver({ phase }: Replica): boolean {
  return phase === 'Permanent' || phase === 'Removed';
}

/** Null: nobody can look. */
function reachableTarget(world: World, { targetHostId }: Replica): SimulatedHost | null {
  const host = world.hosts.get(targetHostId);
  return host === undefined || host.isUnreachable ? null : host;
}
