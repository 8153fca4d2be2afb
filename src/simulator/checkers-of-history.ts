/** Invariants that compare the world with what it was at the step before. */
import type { ReplicaId } from '../domain/ids.ts';
import type { CatalogueView, Checker } from './checkers.ts';
import { diskAt } from './files.ts';
import {
  type DiskContent,
  differenceBetween,
  isDrifted,
  pointContents,
  readBranch,
} from './observation.ts';
import { listedPoints, type ReplicaFolder } from './replica-folder.ts';
import type { World } from './world.ts';

export function createHistoryCheckers(): readonly Checker[] {
  return [
    createPointsNeverChange(),
    createArchivesNeverChange(),
    createMarksAreKept(),
    createNoWritesOutsideReplication(),
  ];
}

/** 2 and 7: a restore point reads the same for as long as it exists. */
function createPointsNeverChange(): Checker {
  let before = new Map<string, DiskContent>();
  return (world) => {
    const now = new Map<string, DiskContent>();
    const changed: string[] = [];
    for (const [name, { folder, point, read }] of pointContents(world)) {
      if (isDrifted(world, folder, point)) continue;
      now.set(name, read);
      const earlier = before.get(name);
      const difference = earlier === undefined ? null : differenceBetween(read, earlier);
      if (difference !== null) changed.push(`restore point ${name} changed: ${difference}`);
    }
    before = now;
    return changed;
  };
}

/** 2: an archived branch reads the same for as long as it exists. */
function createArchivesNeverChange(): Checker {
  let before = new Map<string, DiskContent>();
  return (world) => {
    const now = archiveContents(world);
    const changed = [...now].flatMap(([name, read]) => {
      const earlier = before.get(name);
      const difference = earlier === undefined ? null : differenceBetween(read, earlier);
      return difference === null ? [] : [`archived branch ${name} changed: ${difference}`];
    });
    before = now;
    return changed;
  };
}

function archiveContents(world: World): Map<string, DiskContent> {
  const found = new Map<string, DiskContent>();
  for (const host of world.hosts.values()) {
    for (const folder of host.replicas.values()) {
      for (const branch of folder.branches.values()) {
        if (branch.keepUntil === null) continue;
        for (const { key } of branch.disks) {
          const read = readBranch(host, folder.id, branch.id, key);
          if (read !== null) found.set(`${folder.id}/${branch.id}/${key}`, read);
        }
      }
    }
  }
  return found;
}

/** 6: the mark that the newest point names goes only with its VM's power, or for a newer point. */
function createMarksAreKept(): Checker {
  let before = new Map<string, number>();
  return (world, view) => {
    const now = namedMarks(world, view);
    const lost = [...before].filter(
      ([name, powerLosses]) =>
        now.present.get(name) === undefined && now.named.get(name) === powerLosses,
    );
    before = now.present;
    return lost.map(([name]) => `the mark ${name} was removed while the newest point names it`);
  };
}

/** `vm/disk/mark` of every newest point's marks, with how often the VM had lost its power. */
function namedMarks(world: World, { replicas }: CatalogueView) {
  const named = new Map<string, number>();
  const present = new Map<string, number>();
  for (const replica of replicas) {
    const folder = world.hosts.get(replica.targetHostId)?.replicas.get(replica.id);
    const vm = world.hosts.get(replica.sourceHostId)?.vms.get(replica.sourceVmId);
    if (folder === undefined || vm === undefined || !isProtected(replica.phase)) continue;
    for (const { key, mark } of listedPoints(folder).at(-1)?.disks ?? []) {
      const slot = vm.state.disks.find((disk) => disk.key === key);
      if (mark === null || slot === undefined) continue;
      const name = `${vm.id}/${key}/${mark}`;
      named.set(name, vm.powerLosses);
      if (diskAt(world.files, slot.path)?.marks.has(mark) === true) {
        present.set(name, vm.powerLosses);
      }
    }
  }
  return { named, present };
}

function isProtected(phase: string): boolean {
  return phase !== 'Permanent' && phase !== 'Removed';
}

/** 4: partial layers grow only while the replica is Pending or Ready. */
function createNoWritesOutsideReplication(): Checker {
  let before = new Map<ReplicaId, number>();
  return (world, { replicas }) => {
    const now = new Map<ReplicaId, number>();
    const written: string[] = [];
    for (const { id, phase, name, targetHostId } of replicas) {
      const folder = world.hosts.get(targetHostId)?.replicas.get(id);
      if (folder === undefined || phase === 'Pending' || phase === 'Ready') continue;
      now.set(id, partialWrites(folder));
      const earlier = before.get(id);
      if (earlier !== undefined && partialWrites(folder) > earlier) {
        written.push(`replication wrote to ${name} in phase ${phase}`);
      }
    }
    before = now;
    return written;
  };
}

function partialWrites(folder: ReplicaFolder): number {
  return [...folder.layers.values()]
    .filter((layer) => !layer.isSealed)
    .reduce((sum, layer) => sum + layer.image.identity, 0);
}
