/** The simulator's source of frozen instants keeps the same contract as the real one. */
import { BLOCK_BYTES } from '../domain/bytes.ts';
import { diskKey } from '../domain/ids.ts';
import type { FrozenDisk } from '../ports/point-source.ts';
import { PRODUCTION } from '../simulator/two-hosts.ts';
import type { SimulatedVm } from '../simulator/vm.ts';
import { createWorld } from '../simulator/world.ts';
import { type PointSourceHarness, pointSourceSuite, type SourceVm } from './point-source.ts';

const DISKS = { first: diskKey('vda'), second: diskKey('vdb'), raw: diskKey('vdc') };

pointSourceSuite('the simulator', async (): Promise<PointSourceHarness> => {
  const world = createWorld({ seed: 1 });
  const host = world.addHost({ id: PRODUCTION });
  const { pointSource } = await world.connect().hosts.commands(PRODUCTION);
  const view = ({ endpoint }: FrozenDisk) => world.endpoints.view(endpoint);
  return {
    pointSource,
    settled: (call) => world.clock.run(call),
    async makeVm() {
      const sizeBytes = 256 * BLOCK_BYTES;
      const disks = [
        { key: DISKS.first, sizeBytes },
        { key: DISKS.second, sizeBytes },
        { key: DISKS.raw, sizeBytes, format: 'raw' },
      ] as const;
      return sourceVm(world.addVm(host, { name: 'web', disks }));
    },
    read: async (disk, block) => Number(view(disk).read(block)),
    async selected(disk) {
      const { extents } = disk;
      if (extents.type === 'allocated') return view(disk).allocated();
      return view(disk).changed(extents.metaContext) ?? [];
    },
    async [Symbol.asyncDispose]() {
      // Made of air: nothing to close.
    },
  };
});

function sourceVm(vm: SimulatedVm): SourceVm {
  return {
    id: vm.id,
    disks: DISKS,
    write: async (disk, block, value) => vm.write(disk, block, value),
    start: async () => vm.start(),
    stop: async () => vm.stop(),
    crash: async () => vm.losePower(),
    power: async () => vm.power,
    async setForeignMark(name) {
      vm.image(DISKS.first).marks.set(name, { isOurs: false, dirty: new Set() });
    },
    async marks() {
      const names = Object.values(DISKS).flatMap((disk) => [...vm.image(disk).marks.keys()]);
      return [...new Set(names)];
    },
    remove: async () => vm.stop(),
  };
}
