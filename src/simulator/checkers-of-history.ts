/** Invariants that compare the world with what it was at the step before. */
import type { DiskKey, ReplicaId } from '../domain/ids.ts';
import type { CatalogueView, Checker } from './checkers.ts';
import { diskAt } from './files.ts';
import type { SimulatedHost } from './host.ts';
import type { Image } from './image.ts';
import {
  type DiskContent,
  differenceBetween,
  hostedVms,
  isBranchDrifted,
  isDrifted,
  pointContents,
  readBranch,
} from './observation.ts';
import { listedPoints, type ReplicaFolder } from './replica-folder.ts';
import type { SimulatedVm } from './vm.ts';
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

/** 2: an archived branch reads the same for as long as it exists; as with points, what somebody wrote into is excused. */
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
        if (branch.keepUntil === null || isBranchDrifted(world, folder, branch)) continue;
        for (const { key } of branch.disks) {
          const read = readBranch(host, folder.id, branch.id, key);
          if (read !== null) found.set(`${folder.id}/${branch.id}/${key}`, read);
        }
      }
    }
  }
  return found;
}

/** 6: the mark that the newest point names is there, unless its VM lost its power since. */
function createMarksAreKept(): Checker {
  let lossesBefore = new Map<SimulatedVm, number>();
  /** Also remembered while a failback is under way, in which nobody names them. */
  const missing = new Set<string>();
  const newest = new Map<string, string>();
  return (world, view) => {
    const lost: string[] = [];
    const losses = new Map<SimulatedVm, number>();
    for (const mark of namedMarks(world, view)) {
      const { name, vm, isThere, replicaId, pointId } = mark;
      losses.set(vm, vm.powerLosses);
      // A repair that drops a damaged point leaves one whose mark went long ago. Ids sort by age.
      const isFallback = pointId < (newest.get(replicaId) ?? '');
      if (!isFallback) newest.set(replicaId, pointId);
      const wasMissing = missing.has(name);
      if (isThere) missing.delete(name);
      else missing.add(name);
      if (isThere || wasMissing || isFallback) continue;
      if (lossesBefore.get(vm) !== vm.powerLosses) continue;
      // Before its point was there to name it.
      if (lossesThen(world, mark) !== vm.powerLosses) continue;
      lost.push(`the mark ${name} was removed while the newest point names it`);
    }
    for (const { vm } of hostedVms(world)) losses.set(vm, vm.powerLosses);
    lossesBefore = losses;
    return lost;
  };
}

type NamedMark = {
  readonly name: string;
  readonly markName: string;
  readonly key: DiskKey;
  readonly vm: SimulatedVm;
  readonly isThere: boolean;
  /** What the disk consists of now. */
  readonly images: readonly Image[];
  readonly replicaId: string;
  readonly pointId: string;
  /** Of the point. */
  readonly takenAt: number;
};

/**
 * How often the VM had lost its power when the mark was made: by a freeze of it, or by the switchover of a failback to it. Null: it is
 * not of this disk. It was made at another VM, as when a failback to a copy was committed without a point of its own, or in a
 * working layer that went with the failback which somebody gave up.
 */
function lossesThen({ instants, hosts }: World, mark: NamedMark): number | null {
  const { vm, key, takenAt, markName, images: now } = mark;
  for (const { failbacks, committedFailbacks } of hosts.values()) {
    for (const { tracked } of [...failbacks.values(), ...committedFailbacks.values()]) {
      if (tracked?.mark === markName) return tracked.powerLosses;
    }
  }
  const frozen = instants.find((one) => one.vmId === vm.id && one.takenAt === takenAt);
  const image = frozen?.images.get(key);
  return frozen === undefined || image === undefined || !now.includes(image)
    ? null
    : frozen.powerLosses;
}

/** The marks that every newest point names, as `vm/disk/mark`. */
function namedMarks(world: World, { replicas }: CatalogueView): readonly NamedMark[] {
  return replicas.flatMap((replica) => {
    const folder = world.hosts.get(replica.targetHostId)?.replicas.get(replica.id);
    const host = world.hosts.get(replica.sourceHostId);
    const vm = host?.vms.get(replica.sourceVmId);
    if (folder === undefined || host === undefined || vm === undefined) return [];
    if (!isProtected(replica.phase)) return [];
    const point = listedPoints(folder).at(-1);
    return (point?.disks ?? []).flatMap(({ key, mark }): NamedMark[] => {
      const slot = vm.state.disks.find((disk) => disk.key === key);
      if (mark === null || slot === undefined) return [];
      const stack = [diskAt(world.files, slot.path), ...parkedDisks(world, host, vm, key)];
      const images = stack.filter((image) => image !== null);
      // Raw ones keep none, whatever the layer that was merged into them could do.
      if (images.some(({ format }) => format === 'raw')) return [];
      const isThere = images.some(carries(mark));
      const ids = {
        replicaId: replica.id,
        pointId: point?.id ?? '',
        takenAt: point?.takenAt ?? 0,
      };
      return [
        {
          name: `${vm.id}/${key}/${mark}`,
          markName: mark,
          key,
          vm,
          isThere,
          images,
          ...ids,
        },
      ];
    });
  });
}

function carries(mark: string) {
  return ({ marks }: Image): boolean => marks.has(mark);
}

/**
 * What a failback that was begun stands on: the disk below its layer, and one that the replica has not got, which gets no
 * layer, where it was before its VM was parked. Both are still production's.
 */
function parkedDisks(
  { files }: World,
  { failbacks }: SimulatedHost,
  { id }: SimulatedVm,
  key: DiskKey,
): readonly (Image | null)[] {
  const begun = [...failbacks.values()].filter(({ vmId }) => vmId === id);
  return begun.map(({ layers, original }) => {
    const below = layers.find((layer) => layer.key === key)?.below ?? null;
    const slot = original?.disks.find((disk) => disk.key === key);
    return below ?? (slot === undefined ? null : diskAt(files, slot.path));
  });
}

/** While production's disks are being replaced, their marks go with them. */
function isProtected(phase: string): boolean {
  return phase === 'Pending' || phase === 'Ready' || phase === 'Failover';
}

/** 4: partial layers grow only while the replica is Pending or Ready, or a commit makes a point of its branch. */
function createNoWritesOutsideReplication(): Checker {
  let before = new Map<ReplicaId, number>();
  return (world, { replicas, operations }) => {
    const now = new Map<ReplicaId, number>();
    const commits = operations.filter(({ kind }) => kind === 'commit-failback');
    const sealed = new Set(commits.map(({ subject }) => subject));
    const written: string[] = [];
    for (const { id, phase, name, targetHostId } of replicas) {
      const folder = world.hosts.get(targetHostId)?.replicas.get(id);
      if (folder === undefined || phase === 'Pending' || phase === 'Ready') continue;
      if (phase === 'Failback' && sealed.has(id)) continue;
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
