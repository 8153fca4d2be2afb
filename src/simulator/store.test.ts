import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { branchId, type LayerId, operationId, operationKey, pointId } from '../domain/ids.ts';
import { instant } from '../domain/instant.ts';
import type { ReplicaStore } from '../ports/replica-store.ts';
import { removeLayer, resizeDisk, rotLayer, tamperLayer, touchLayer } from './calamities.ts';
import { createCheckers, EMPTY_VIEW, pointsAreExact } from './checkers.ts';
import { served } from './mover.ts';
import { createTwoHosts, NEVER, RECOVERY, REPLICA, ROOT, replicateOnce } from './two-hosts.ts';

const KEY = operationKey(operationId('op-test'), 'step');
const COMMAND = { key: KEY, replicaId: REPLICA, epoch: 1 };

async function withPoints(count: number) {
  const hosts = createTwoHosts({ vm: { guest: {} } });
  const { world, vm } = hosts;
  const controller = world.connect();
  const { store } = await controller.hosts.commands(RECOVERY);
  const replicate = (name: string) => world.clock.run(replicateOnce({ controller, vm, name }));
  const points = [];
  for (let number = 1; number <= count; number += 1) {
    vm.write(ROOT, number, `point ${number}`);
    points.push(await replicate(`pt-${number}`));
  }
  const run = <T>(work: (store: ReplicaStore) => Promise<T>) => world.clock.run(work(store));
  return { ...hosts, controller, points, replicate, run };
}

function firstLayer(points: Awaited<ReturnType<typeof withPoints>>['points']): LayerId {
  return points[0]?.disks[0]?.layerId ?? assert.fail();
}

test('an older epoch is refused and changes nothing', async () => {
  const { run } = await withPoints(1);
  await run((store) => store.raiseEpoch({ ...COMMAND, epoch: 5 }, NEVER));
  const retire = run((store) => store.retirePoint({ ...COMMAND, pointId: pointId('pt-1') }, NEVER));
  await assert.rejects(retire, { code: 'epoch-refused' });
  assert.equal((await run((store) => store.points(REPLICA, NEVER))).length, 1);
});

test('a tampered layer is found before anything is written, and its points are dropped on request', async () => {
  const { world, recovery, points, replicate, run } = await withPoints(2);
  tamperLayer(recovery, { replicaId: REPLICA, layerId: firstLayer(points) }, 1, 'tampered');
  await assert.rejects(replicate('pt-3'), { code: 'replica-drifted' });
  let [finding] = await run((store) => store.inspect(REPLICA, NEVER));
  assert.deepEqual([finding?.kind, finding?.repair], ['layer-changed', 'rehash-layer']);
  assert.deepEqual(finding?.pointIds, ['pt-1', 'pt-2']);
  for (const repair of ['rehash-layer', 'drop-points']) {
    [finding] = await run((store) => store.inspect(REPLICA, NEVER));
    assert.ok(finding !== undefined);
    const findings = [finding];
    assert.equal(finding.repair, repair);
    await run((store) => store.repair({ ...COMMAND, findings }, NEVER));
  }
  assert.deepEqual(await run((store) => store.points(REPLICA, NEVER)), []);
  assert.equal(world.instants.length > 2, true);
});

test('a layer that was only touched is accepted after it was read again', async () => {
  const { recovery, points, run, world } = await withPoints(2);
  touchLayer(recovery, { replicaId: REPLICA, layerId: firstLayer(points) });
  const findings = await run((store) => store.inspect(REPLICA, NEVER));
  await run((store) => store.repair({ ...COMMAND, findings }, NEVER));
  assert.deepEqual(await run((store) => store.inspect(REPLICA, NEVER)), []);
  assert.deepEqual(pointsAreExact(world), []);
});

test('a missing layer is told', async () => {
  const { world, recovery, points, run } = await withPoints(1);
  removeLayer(world, recovery, { replicaId: REPLICA, layerId: firstLayer(points) });
  const [finding] = await run((store) => store.inspect(REPLICA, NEVER));
  assert.deepEqual([finding?.kind, finding?.repair], ['layer-missing', 'drop-points']);
});

test('rot that no identity shows is found by verifying, and by the checkers', async () => {
  const { world, recovery, points, controller, run } = await withPoints(1);
  rotLayer(recovery, { replicaId: REPLICA, layerId: firstLayer(points) }, 1, 'rotten');
  assert.match(pointsAreExact(world).join(), /block 1 is rotten instead of point 1/);
  const of = { pointId: pointId('pt-1') };
  const [disk] = await run((store) => store.openReading({ ...COMMAND, of }, NEVER));
  assert.ok(disk !== undefined && disk.hashesPath !== null);
  const { endpoint, sizeBytes, hashesPath } = disk;
  const request = { endpoint, sizeBytes, hashesPath };
  const found = await world.clock.run(controller.mover.verify(request, NEVER));
  assert.deepEqual([found.wrongBlockCount, found.wrongBlocks], [1, [1]]);
  await run((store) => store.closeReading(COMMAND, NEVER));
});

test('a grown disk keeps its older points, a shrunk one starts a new base', async () => {
  const { world, vm, replicate } = await withPoints(1);
  resizeDisk(vm, ROOT, 80 * 65_536);
  vm.write(ROOT, 70, 'beyond');
  const grown = await replicate('pt-2');
  assert.equal(grown.disks[0]?.transfer, 'incremental');
  resizeDisk(vm, ROOT, 32 * 65_536);
  const shrunk = await replicate('pt-3');
  assert.equal(shrunk.disks[0]?.transfer, 'full');
  assert.deepEqual(createCheckers().whenIdle(world, EMPTY_VIEW), []);
});

test('a disk that shrank and grew again shows nothing of before', async () => {
  const { world, vm, replicate, run } = await withPoints(1);
  vm.write(ROOT, 60, 'long ago');
  await replicate('pt-2');
  resizeDisk(vm, ROOT, 32 * 65_536);
  await replicate('pt-3');
  resizeDisk(vm, ROOT, 64 * 65_536);
  await replicate('pt-4');
  for (const name of ['pt-1', 'pt-2', 'pt-3']) {
    await run((store) => store.retirePoint({ ...COMMAND, pointId: pointId(name) }, NEVER));
    assert.deepEqual(pointsAreExact(world), []);
  }
});

test('a resync makes zeros of what the guest trimmed meanwhile', async () => {
  const { world, vm, replicate } = await withPoints(3);
  vm.losePower();
  vm.start();
  vm.discard(ROOT, 2);
  const point = await replicate('pt-4');
  assert.deepEqual([point.disks[0]?.transfer, point.disks[0]?.sentBytes], ['resync', 0]);
  assert.deepEqual(pointsAreExact(world), []);
});

test('a partial for a resync that is opened again starts empty', async () => {
  const { world, vm, run, replicate, controller } = await withPoints(1);
  const disks = [
    { key: ROOT, sizeBytes: 64 * 65_536, base: 'parent', wantsKnownHashes: true },
  ] as const;
  const parentPointId = pointId('pt-1');
  const request = { ...COMMAND, pointId: pointId('pt-2'), parentPointId, disks };
  const [before] = await run((store) => store.openPartial(request, NEVER));
  assert.ok(before !== undefined);
  world.endpoints.view(served(before.target)).write?.(1, 'half a run');
  const [after] = await run((store) => store.openPartial(request, NEVER));
  assert.ok(after !== undefined);
  assert.equal(world.endpoints.view(served(after.target)).read(1), 'point 1');
  await run((store) => store.discardPartial(request, NEVER));
  assert.equal(controller.isDead(), false);
  vm.write(ROOT, 1, 'later');
  await replicate('pt-3');
  assert.deepEqual(createCheckers().whenIdle(world, EMPTY_VIEW), []);
});

test('a promoted branch is all that is left, and only when it stands alone', async () => {
  const { recovery, controller, points, run, world } = await withPoints(2);
  const [point] = points;
  assert.ok(point !== undefined);
  const branch = { ...COMMAND, branchId: branchId('br-1') };
  const { disks } = await run((store) =>
    store.createBranch({ ...branch, pointId: point.id }, NEVER),
  );
  await assert.rejects(
    run((store) => store.promoteBranch(branch, NEVER)),
    { code: 'invalid-request' },
  );
  const { hypervisor } = await controller.hosts.commands(RECOVERY);
  const define = { ...COMMAND, name: 'web-replica', source: point.vm, vmId: null, disks };
  const rest = { networkMap: {}, connectNics: false, sidecars: [] };
  const vmId = await world.clock.run(hypervisor.defineReplica({ ...define, ...rest }, NEVER));
  const keys = disks.map(({ key }) => key);
  await world.clock.run(hypervisor.start({ key: KEY, vmId }, NEVER));
  recovery.vms.get(vmId)?.write(ROOT, 9, 'while it runs');
  await world.clock.run(hypervisor.flatten({ key: KEY, vmId, disks: keys }, NEVER));
  await run((store) => store.promoteBranch(branch, NEVER));
  const vm = recovery.vms.get(vmId);
  assert.deepEqual([vm?.read(ROOT, 1), vm?.read(ROOT, 9)], ['point 1', 'while it runs']);
  assert.equal(recovery.replicas.get(REPLICA)?.layers.size, 0);
});

/** What may happen to a replica, in any order. */
const ACTION = fc.oneof(
  fc.constant({ type: 'replicate' as const }),
  fc.record({ type: fc.constant('retire' as const), which: fc.nat(5) }),
  fc.record({ type: fc.constant('branch' as const), which: fc.nat(5) }),
  fc.record({ type: fc.constant('archive' as const), which: fc.nat(5) }),
  fc.record({ type: fc.constant('delete-branch' as const), which: fc.nat(5) }),
);

test('whatever is retired, branched, archived and deleted, kept points and archives never change', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(ACTION, { maxLength: 25 }), async (actions) => {
      const { world, vm, run, replicate } = await withPoints(1);
      const checkers = createCheckers();
      const branches: ReturnType<typeof branchId>[] = [];
      for (const [step, action] of actions.entries()) {
        const points = await run((store) => store.points(REPLICA, NEVER));
        const index = 'which' in action ? action.which : 0;
        const point = points[index % points.length];
        const branch = branches[index % Math.max(1, branches.length)];
        if (action.type === 'replicate') {
          vm.write(ROOT, step % 5, `step ${step}`);
          await replicate(`pt-r${step}`);
        } else if (action.type === 'retire' && point !== undefined && points.length > 1) {
          await run((store) => store.retirePoint({ ...COMMAND, pointId: point.id }, NEVER));
        } else if (action.type === 'branch' && point !== undefined) {
          const id = branchId(`br-${step}`);
          branches.push(id);
          const request = { ...COMMAND, branchId: id, pointId: point.id };
          await run((store) => store.createBranch(request, NEVER));
        } else if (action.type === 'archive' && branch !== undefined) {
          const request = { ...COMMAND, branchId: branch, keepUntil: instant(0) };
          await run((store) => store.archiveBranch(request, NEVER));
        } else if (action.type === 'delete-branch' && branch !== undefined) {
          branches.splice(branches.indexOf(branch), 1);
          await run((store) => store.deleteBranch({ ...COMMAND, branchId: branch }, NEVER));
          await run((store) => store.tidy(COMMAND, NEVER));
        }
        assert.deepEqual(checkers.everyStep(world, EMPTY_VIEW), []);
      }
    }),
    { numRuns: 60, seed: 4 },
  );
});
