/** The simulated host's working layers against the suite that every driver must pass. */
import assert from 'node:assert/strict';
import type { HomeVm } from '../conformance/production-disks/harness.ts';
import { productionDisksSuite } from '../conformance/production-disks.ts';
import { BLOCK_BYTES } from '../domain/bytes.ts';
import { diskKey } from '../domain/ids.ts';
import { diskAt } from './files.ts';
import type { SimulatedHost } from './host.ts';
import { PRODUCTION } from './two-hosts.ts';
import { createWorld, type World } from './world.ts';

productionDisksSuite('the simulated host', async () => {
  const world = createWorld({ seed: 1 });
  const host = world.addHost({ id: PRODUCTION });
  const ports = await world.connect().hosts.commands(PRODUCTION);
  let made = 0;
  return {
    ...ports,
    makeVm: async () => {
      made += 1;
      return makeHomeVm(world, host, `home-${made}`);
    },
    read: async (endpoint, block) => Number(world.endpoints.view(endpoint).read(block)),
    write: async (endpoint, block, value) => {
      const { write } = world.endpoints.view(endpoint);
      assert.ok(write !== null);
      write(block, value);
    },
    selected: async (endpoint, extents) => {
      const view = world.endpoints.view(endpoint);
      return extents.type === 'allocated'
        ? view.allocated()
        : (view.changed(extents.metaContext) ?? []);
    },
    settled: (call) => world.clock.run(call),
    [Symbol.asyncDispose]: async () => {},
  };
});

function makeHomeVm(world: World, host: SimulatedHost, name: string): HomeVm {
  const [tracked, raw] = [diskKey('vda'), diskKey('vdb')];
  const sizeBytes = 256 * BLOCK_BYTES;
  const disks = [
    { key: tracked, sizeBytes },
    { key: raw, sizeBytes, format: 'raw' as const },
  ];
  const vm = world.addVm(host, { name, disks });
  const own = vm.state.disks;
  return {
    id: vm.id,
    disks: { tracked, raw },
    write: async (disk, block, value) => vm.write(disk, block, value),
    start: async () => vm.start(),
    stop: async () => vm.stop(),
    saveState: async () => vm.save(),
    fingerprint: async () => {
      const { guest: _, ...definition } = vm.state;
      const contents = own.map(({ path }) => {
        const image = diskAt(world.files, path);
        return image === null ? null : [...image.blocks];
      });
      return structuredClone({ definition, contents });
    },
    remove: async () => {
      vm.stop();
      host.vms.delete(vm.id);
    },
  };
}
