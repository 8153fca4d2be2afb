/** Moves that people make so that a first run has something at the target to be compared with. */
import { diskKey } from '../../domain/ids.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { SeedOrder } from '../../ports/orders.ts';
import { contentOf, createImage, writeBlock } from '../../simulator/image.ts';
import type { SimulatedVm } from '../../simulator/vm.ts';
import { about, hostsOf, type Move, ownVms, pick, type Scene } from './scene.ts';
import { BY_HAND } from './site.ts';

export const SEED_WISHES: readonly Move[] = [
  about('seed', 6, ['Pending'], async (controller, replica, scene) => {
    await controller.seedReplica(replica.id, someSeed(scene, replica), BY_HAND);
    return [];
  }),
];

type SeedTarget = Pick<Replica, 'sourceVmName' | 'targetHostId'>;

/** Null: none. What is named may be unfit, or nowhere. */
export function someSeed(scene: Scene, wanted: SeedTarget): SeedOrder | null {
  const type = scene.random.pick(['files', 'files', 'vm', 'replica', 'none'] as const);
  switch (type) {
    case 'files':
      return bringFile(scene, wanted);
    case 'vm': {
      const there = ownVms(scene).filter(({ host }) => host.id === wanted.targetHostId);
      return { type, vm: pick(scene, there)?.vm.state.name ?? 'none' };
    }
    case 'replica':
      return { type, replica: pick(scene, scene.replicas)?.id ?? 'none' };
    case 'none':
      return null;
  }
}

/** Somebody carries a copy of the first disk to the target: most of its blocks, and some that are not its own. */
function bringFile(scene: Scene, { sourceVmName, targetHostId }: SeedTarget): SeedOrder | null {
  const source = ownVms(scene).find(({ vm }) => vm.state.name === sourceVmName)?.vm;
  const target = hostsOf(scene).find(({ id }) => id === targetHostId);
  const disk = diskKey('vda');
  if (target === undefined || source?.state.disks.some(({ key }) => key === disk) !== true)
    return null;
  const path = `${target.pool.path}/brought-${scene.random.hex(6)}.qcow2`;
  copyInto(scene, source, { path, disk, room: target.pool });
  return { type: 'files', files: [{ disk, path }] };
}

function copyInto(
  { random, site }: Scene,
  source: SimulatedVm,
  {
    path,
    disk,
    room,
  }: Pick<Parameters<typeof createImage>[0], 'path' | 'room'> & {
    readonly disk: ReturnType<typeof diskKey>;
  },
): void {
  const from = source.image(disk);
  const { sizeBytes } = from;
  const image = createImage({ path, format: 'qcow2', sizeBytes, backing: null, room });
  for (const [block, token] of contentOf(from)) {
    if (random.chance(0.8)) writeBlock(image, block, random.chance(0.9) ? token : 'not its own');
  }
  site.world.files.set(path, { type: 'disk', image });
}
