/**
 * What change marks promise: a block that was not written since a mark reads as it did at the mark's instant. An incremental
 * run believes it, so a mark that forgot a write would lose that write for good.
 */
import { blockCount } from '../domain/bytes.ts';
import type { DiskKey, PointId } from '../domain/ids.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { Checker } from './checkers.ts';
import { diskAt } from './files.ts';
import { type Image, readBlock } from './image.ts';
import type { SimulatedVm } from './vm.ts';
import type { World } from './world.ts';

/**
 * 6: of the newest point's marks, and of those that production carries since a switchover. A replica that
 * serves over a damaged layer reads the damage, and production does not: a failback moves what either has written, not what
 * somebody wrote behind their backs. Its commit is refused until the damaged layer is repaired, so that no run builds on it.
 */
export const marksForgetNothing: Checker = (world, { replicas, points }) =>
  replicas.flatMap((replica) => {
    const vm = homeOf(world, replica);
    const since = sinceWhen(replica, points.get(replica.id)?.at(-1) ?? null);
    if (vm === undefined || since === null) return [];
    return vm.state.disks.flatMap(({ key }) => forgotten(world, vm, key, since));
  });

function homeOf(world: World, { phase, sourceHostId, sourceVmId, failback }: Replica) {
  if (phase === 'Permanent' || phase === 'Removed') return undefined;
  const home = failback?.switched == null ? null : failback.home;
  const id = home?.vmId ?? sourceVmId;
  return world.hosts.get(home?.hostId ?? sourceHostId)?.vms.get(id);
}

type Since = {
  readonly pointId: PointId;
  readonly takenAt: number;
  /** Nobody has made a restore point of it yet. */
  readonly isUndecided: boolean;
};

function sinceWhen({ failback }: Replica, newest: { id: PointId; takenAt: number } | null) {
  if (failback?.switched != null) return { ...failback.switched, isUndecided: true };
  // While production's disks stand still beneath working layers, nobody asks them by name.
  if (failback !== null || newest === null) return null;
  return { pointId: newest.id, takenAt: newest.takenAt, isUndecided: false };
}

function forgotten(world: World, vm: SimulatedVm, key: DiskKey, since: Since): readonly string[] {
  const image = openOf(world, vm, key);
  const dirty = image?.marks.get(`us-${since.pointId}`)?.dirty;
  if (image === null || dirty === undefined) return [];
  const instants = world.instants.filter(({ takenAt }) => takenAt === since.takenAt);
  const wanted = instants.flatMap(({ disks }) => disks.get(key) ?? []);
  const differences = wanted.map(({ content, damaged }) => {
    for (let block = 0; block < blockCount(image.sizeBytes); block += 1) {
      const [is, was] = [readBlock(image, block), content.get(block) ?? 0];
      if (is !== was && !dirty.has(block) && !(since.isUndecided && damaged.has(block)))
        return `block ${block} is ${is}, was ${was}`;
    }
    return null;
  });
  if (differences.length === 0 || differences.includes(null)) return [];
  return [
    `the mark of ${since.pointId} on disk ${key} of ${vm.state.name} forgot a write: ${differences[0]}`,
  ];
}

function openOf(world: World, vm: SimulatedVm, key: DiskKey): Image | null {
  const slot = vm.state.disks.find((disk) => disk.key === key);
  if (slot === undefined) return null;
  return vm.power === 'off' ? diskAt(world.files, slot.path) : vm.image(key);
}
