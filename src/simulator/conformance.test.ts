/** The simulated host against the suites that every driver must pass. */
import assert from 'node:assert/strict';
import { hostEpochsSuite } from '../conformance/host-epochs.ts';
import { hypervisorSuite } from '../conformance/hypervisor.ts';
import { pointSourceSuite, type SourceVm } from '../conformance/point-source.ts';
import { type ReplicaStoreHarness, replicaStoreSuite } from '../conformance/replica-store.ts';
import { startGuardSuite } from '../conformance/start-guard.ts';
import { testBenchSuite } from '../conformance/test-bench.ts';
import { BLOCK_BYTES, blockCount } from '../domain/bytes.ts';
import { diskKey, operationId, operationKey } from '../domain/ids.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import { diskAt, recordsAt, sidecarAt } from './files.ts';
import { hashOfToken } from './hashes.ts';
import type { SimulatedHost } from './host.ts';
import { createImage, readBlock, type Token, writeBlock } from './image.ts';
import { served } from './mover.ts';
import { reloadHost } from './start-guard.ts';
import { createTwoHosts, NEVER, PRODUCTION, RECOVERY } from './two-hosts.ts';
import { createWorld, type World } from './world.ts';

hypervisorSuite('the simulated host', async () => {
  const { world, production, vm } = createTwoHosts();
  vm.stop();
  const { hypervisor } = await world.connect().hosts.commands(PRODUCTION);
  return {
    hypervisor,
    sourceVm: vm.id,
    makeDisks: diskMaker(world, production),
    [Symbol.asyncDispose]: async () => {},
  };
});

for (const isolation of ['network', 'unplugged'] as const) {
  testBenchSuite(`the simulated host, ${isolation}`, async () => {
    const { world, production, vm } = createTwoHosts();
    vm.stop();
    if (isolation === 'unplugged') production.noTestNetworksBecause = 'there are none';
    const { hypervisor, testBench } = await world.connect().hosts.commands(PRODUCTION);
    return {
      hypervisor,
      testBench,
      isolation,
      sourceVm: vm.id,
      makeDisks: diskMaker(world, production),
      [Symbol.asyncDispose]: async () => {},
    };
  });
}

startGuardSuite('the simulated host', async () => {
  const { world, production, vm } = createTwoHosts();
  vm.stop();
  const disks = [{ key: diskKey('vda'), sizeBytes: BLOCK_BYTES }];
  const other = world.addVm(production, { name: 'other', disks });
  const { hypervisor, startGuard } = await world.connect().hosts.commands(PRODUCTION);
  return {
    hypervisor,
    startGuard,
    vms: [vm.id, other.id],
    reload: async () => reloadHost(production),
    [Symbol.asyncDispose]: async () => {},
  };
});

hostEpochsSuite('the simulated host', async () => {
  const { world } = createTwoHosts();
  return {
    reopen: async () => (await world.connect().hosts.commands(PRODUCTION)).epochs,
    [Symbol.asyncDispose]: async () => {},
  };
});

function diskMaker(world: World, host: SimulatedHost) {
  let made = 0;
  return async (source: VmDescription) => {
    made += 1;
    return source.disks.map(({ key, sizeBytes }) => {
      const path = `${host.storage.path}/conformance-${made}/${key}.qcow2`;
      const room = host.storage;
      const image = createImage({ path, format: 'qcow2', sizeBytes, backing: null, room });
      world.files.set(path, { type: 'disk', image });
      return { key, path, format: 'qcow2' as const };
    });
  };
}

pointSourceSuite('the simulated host', async () => {
  const world = createWorld({ seed: 1 });
  const host = world.addHost({ id: PRODUCTION });
  const { pointSource } = await world.connect().hosts.commands(PRODUCTION);
  const blocks = (limit: number) => Array.from({ length: limit }, (_, index) => index);
  return {
    pointSource,
    makeVm: async () => makeSourceVm(world, host),
    read: async ({ endpoint }, block) => Number(world.endpoints.view(endpoint).read(block)),
    selected: async ({ endpoint, extents, sizeBytes }) => {
      const view = world.endpoints.view(endpoint);
      const selected =
        extents.type === 'allocated' ? view.allocated() : view.changed(extents.metaContext);
      return blocks(blockCount(sizeBytes)).filter((index) => selected?.includes(index) === true);
    },
    settled: (call) => world.clock.run(call),
    [Symbol.asyncDispose]: async () => {},
  };
});

function makeSourceVm(world: World, host: SimulatedHost): SourceVm {
  const [first, second, raw] = [diskKey('vda'), diskKey('vdb'), diskKey('vdc')];
  const sizeBytes = 256 * BLOCK_BYTES;
  const disks = [
    { key: first, sizeBytes },
    { key: second, sizeBytes },
    { key: raw, sizeBytes, format: 'raw' as const },
  ];
  const vm = world.addVm(host, { name: 'source', disks });
  return {
    id: vm.id,
    disks: { first, second, raw },
    write: async (disk, block, value, blocks = 1) => {
      for (let nth = 0; nth < blocks; nth += 1) vm.write(disk, block + nth, value);
    },
    start: async () => vm.start(),
    stop: async () => vm.stop(),
    crash: async () => vm.losePower(),
    power: async () => vm.power,
    setForeignMark: async (name) => {
      vm.image(first).marks.set(name, { isOurs: false, dirty: new Set() });
    },
    marks: async () => [
      ...new Set([first, second].flatMap((disk) => [...vm.image(disk).marks.keys()])),
    ],
    remove: async () => {
      vm.stop();
      host.vms.delete(vm.id);
    },
  };
}

replicaStoreSuite('the simulated store', async () => createStoreHarness());

function createStoreHarness(): ReplicaStoreHarness {
  const { world, recovery } = createTwoHosts();
  const { files } = world;
  const fill = (path: string) => diskAt(files, path) ?? assert.fail(`there is no disk ${path}`);
  let sidecars = 0;
  return {
    open: async () => (await world.connect().hosts.commands(RECOVERY)).store,
    write: async ({ target, recordsPath }, blocks, targetReads) => {
      const view = world.endpoints.view(served(target));
      const records = new Map<number, Token>();
      for (const [index, token] of [...blocks].sort(([a], [b]) => a - b)) {
        if (token === 0 && targetReads === 'zeros') continue;
        view.write?.(index, token);
        records.set(index, token);
      }
      files.set(recordsPath, { type: 'records', records });
    },
    read: async (endpoint, sizeBytes) => {
      const view = world.endpoints.view(endpoint);
      return Array.from({ length: blockCount(sizeBytes) }, (_, index) => Number(view.read(index)));
    },
    readImage: async (path, sizeBytes) => {
      const image = fill(path);
      assert.equal(image.backing, null);
      return Array.from({ length: blockCount(sizeBytes) }, (_, at) => Number(readBlock(image, at)));
    },
    writeBranch: async ({ path }, blocks) => {
      for (const [index, token] of blocks) writeBlock(fill(path), index, token);
    },
    crashBranch: async ({ path }, blocks) => {
      for (const [index, token] of blocks) writeBlock(fill(path), index, token);
      fill(path).marks.clear();
    },
    changedBlocks: async (endpoint, metaContext) =>
      world.endpoints.view(endpoint).changed(metaContext) ?? assert.fail(`no ${metaContext}`),
    flattenBranch: async (disk) => {
      const [folder] = recovery.replicas.values();
      assert.ok(folder !== undefined);
      const { hypervisor } = await world.connect().hosts.commands(RECOVERY);
      const key = operationKey(operationId('flatten'), 'step');
      const vm = world.addVm(recovery, { name: `over ${disk.path}`, disks: [] });
      vm.state.disks = [{ ...disk, sizeBytes: 0, unsupportedBecause: null }];
      await hypervisor.flatten({ key, vmId: vm.id, disks: [disk.key] }, NEVER);
      recovery.vms.delete(vm.id);
    },
    hashes: async (path) =>
      new Map(
        [...recordsAt(files, path)].map(([index, token]) => [
          index,
          hashOfToken(token).toString('hex'),
        ]),
      ),
    sidecar: async (name, content) => {
      sidecars += 1;
      const path = `/production/scratch/conformance-${sidecars}/${name}`;
      files.set(path, { type: 'sidecar', content });
      return { name, path };
    },
    sidecarText: async (path) => sidecarAt(files, path),
    exists: async (path) => files.has(path),
    [Symbol.asyncDispose]: async () => {},
  };
}
