import assert from 'node:assert/strict';
import { test } from 'node:test';
import { branchId, operationId, operationKey } from '../domain/ids.ts';
import { instant } from '../domain/instant.ts';
import { losePower } from './calamities.ts';
import { createCheckers, EMPTY_VIEW } from './checkers.ts';
import { CrashSignal } from './faults.ts';
import { ledgerFault } from './guest.ts';
import { readPoint } from './observation.ts';
import {
  createTwoHosts,
  LEDGER,
  NEVER,
  PRODUCTION,
  RECOVERY,
  REPLICA,
  ROOT,
  replicateOnce,
} from './two-hosts.ts';

const KEY = operationKey(operationId('op-test'), 'step');
const COMMAND = { key: KEY, replicaId: REPLICA, epoch: 1 };

test('a running guest is replicated exactly, first in full and then by what changed', async () => {
  const { world, vm } = createTwoHosts();
  const controller = world.connect();
  const checkers = createCheckers();
  await world.clock.advance(10_000);
  const first = await world.clock.run(replicateOnce({ controller, vm, name: 'pt-1' }));
  assert.deepEqual(checkers.everyStep(world, EMPTY_VIEW), []);
  await world.clock.advance(5000);
  vm.write(ROOT, 3, 'changed');
  vm.write(ROOT, 0, 0);
  const second = await world.clock.run(replicateOnce({ controller, vm, name: 'pt-2' }));
  assert.deepEqual(checkers.whenIdle(world, EMPTY_VIEW), []);
  assert.deepEqual(
    first.disks.map(({ transfer }) => transfer),
    ['full', 'full'],
  );
  assert.deepEqual(
    second.disks.map(({ transfer }) => transfer),
    ['incremental', 'incremental'],
  );
  assert.equal(second.disks[0]?.sentBytes, 65_536, 'zeros take no payload');
  assert.notEqual(first.rootHash, second.rootHash);
});

test('the same seed makes the same log and the same points', async () => {
  const story = async (seed: number) => {
    const { world, vm } = createTwoHosts({ seed });
    const controller = world.connect();
    const run = async () => {
      const points = [];
      for (let round = 0; round < 5; round += 1) {
        vm.write(ROOT, world.random.below(64), world.random.hex(8));
        points.push(await replicateOnce({ controller, vm, name: `pt-${round}` }));
        await controller.clock.sleep(world.random.below(10_000), NEVER);
      }
      return points;
    };
    const points = await world.clock.run(run());
    return JSON.stringify([world.log, points]);
  };
  assert.equal(await story(7), await story(7));
  assert.notEqual(await story(7), await story(8));
});

test('a mark lost with its power is told, and a resync moves only what differs', async () => {
  const { world, vm, production } = createTwoHosts();
  const controller = world.connect();
  await world.clock.advance(3000);
  await world.clock.run(replicateOnce({ controller, vm, name: 'pt-1' }));
  vm.write(ROOT, 5, 'just before the crash');
  losePower(world, production);
  vm.start();
  const point = await world.clock.run(replicateOnce({ controller, vm, name: 'pt-2' }));
  assert.equal(point.disks[0]?.transfer, 'resync');
  assert.match(point.disks[0]?.because ?? '', /is gone/);
  assert.equal(point.disks[0]?.sentBytes, 65_536);
  assert.deepEqual(createCheckers().whenIdle(world, EMPTY_VIEW), []);
});

test('a raw disk is compared, a powered-off VM is read as it lies there', async () => {
  const disks = [{ key: ROOT, sizeBytes: 64 * 65_536, format: 'raw' as const }];
  const { world, vm } = createTwoHosts({ vm: { disks, guest: {} } });
  const controller = world.connect();
  await world.clock.run(replicateOnce({ controller, vm, name: 'pt-1' }));
  vm.write(ROOT, 1, 'new');
  vm.stop();
  const point = await world.clock.run(replicateOnce({ controller, vm, name: 'pt-2' }));
  assert.deepEqual([point.disks[0]?.transfer, point.disks[0]?.mark], ['resync', null]);
  assert.equal(point.disks[0]?.sentBytes, 65_536);
  assert.deepEqual(createCheckers().whenIdle(world, EMPTY_VIEW), []);
});

test('retiring points merges their layers and every kept point stays exact', async () => {
  const { world, vm, recovery } = createTwoHosts();
  const controller = world.connect();
  const checkers = createCheckers();
  const { store } = await controller.hosts.commands(RECOVERY);
  for (let round = 1; round <= 5; round += 1) {
    await world.clock.advance(2000);
    vm.write(ROOT, round, `round ${round}`);
    const point = await world.clock.run(replicateOnce({ controller, vm, name: `pt-${round}` }));
    assert.deepEqual(checkers.everyStep(world, EMPTY_VIEW), []);
    if (round < 3) continue;
    const [oldest] = await world.clock.run(store.points(REPLICA, NEVER));
    assert.ok(oldest !== undefined && oldest.id !== point.id);
    await world.clock.run(store.retirePoint({ ...COMMAND, pointId: oldest.id }, NEVER));
    assert.deepEqual(checkers.whenIdle(world, EMPTY_VIEW), []);
  }
  assert.equal(recovery.replicas.get(REPLICA)?.layers.size, 2 * 2, 'two points, two disks');
});

test('a merge that dies at any moment is finished by tidy', async () => {
  for (const moment of ['unlisted', 'intended', 'committed', 'repointed']) {
    const { world, vm, recovery } = createTwoHosts();
    const checkers = createCheckers();
    let controller = world.connect();
    const points = [];
    for (const name of ['pt-1', 'pt-2', 'pt-3']) {
      vm.write(ROOT, 2, name);
      points.push(await world.clock.run(replicateOnce({ controller, vm, name })));
    }
    checkers.everyStep(world, EMPTY_VIEW);
    world.faults.on(`recovery.store.retirePoint:${moment}`, 1, 'crash-before');
    const { store } = await controller.hosts.commands(RECOVERY);
    const [first] = points;
    assert.ok(first !== undefined);
    const retire = store.retirePoint({ ...COMMAND, pointId: first.id }, NEVER);
    await assert.rejects(world.clock.run(retire), CrashSignal);
    assert.equal(controller.isDead(), true);
    assert.deepEqual(checkers.everyStep(world, EMPTY_VIEW), [], moment);
    controller = world.connect();
    const again = await controller.hosts.commands(RECOVERY);
    await world.clock.run(again.store.tidy(COMMAND, NEVER));
    assert.deepEqual(checkers.whenIdle(world, EMPTY_VIEW), [], moment);
    assert.equal(recovery.replicas.get(REPLICA)?.layers.size, 4, moment);
  }
});

test('a replica boots from its branch, goes on with the ledger, and leaves the point alone', async () => {
  const { world, vm, recovery } = createTwoHosts();
  const controller = world.connect();
  const checkers = createCheckers();
  await world.clock.advance(20_000);
  const point = await world.clock.run(replicateOnce({ controller, vm, name: 'pt-1' }));
  const { store, hypervisor } = await controller.hosts.commands(RECOVERY);
  const define = (disks: Parameters<typeof hypervisor.defineReplica>[0]['disks']) =>
    hypervisor.defineReplica(
      {
        ...COMMAND,
        name: 'web-replica',
        source: point.vm,
        vmId: null,
        disks,
        networkMap: {},
        connectNics: true,
        sidecars: [],
      },
      NEVER,
    );
  const vmId = await world.clock.run(define(store.restingDisks(REPLICA, [ROOT, LEDGER])));
  assert.equal(vmId, vm.id, 'the identity is free on the other host');
  const start = () => world.clock.run(hypervisor.start({ key: KEY, vmId }, NEVER));
  await assert.rejects(start(), { code: 'hypervisor-refused' });

  const branch = { ...COMMAND, branchId: branchId('br-1'), pointId: point.id };
  const { disks } = await world.clock.run(store.createBranch(branch, NEVER));
  await world.clock.run(define(disks));
  await start();
  assert.equal(checkers.everyStep(world, EMPTY_VIEW).length, 1, 'two of one identity are told');
  vm.losePower();
  assert.deepEqual(checkers.everyStep(world, EMPTY_VIEW), []);
  await world.clock.advance(10_000);
  const replica = recovery.vms.get(vmId);
  assert.ok(replica !== undefined);
  assert.equal(ledgerFault(replica.ledger(), 128), null);
  assert.ok((replica.ledger().at(-1) ?? 0) >= 30);
  await assert.rejects(
    world.clock.run(store.archiveBranch({ ...branch, keepUntil: instant(0) }, NEVER)),
    { code: 'disk-in-use' },
  );
  await world.clock.run(hypervisor.powerOff({ key: KEY, vmId }, NEVER));
  await world.clock.run(store.archiveBranch({ ...branch, keepUntil: instant(0) }, NEVER));
  await assert.rejects(start(), { code: 'hypervisor-refused' });
  assert.deepEqual(checkers.everyStep(world, EMPTY_VIEW), []);
  assert.ok(readPoint(recovery, REPLICA, point.id, ROOT) !== null);
});

test('an unreachable host answers nobody, and its guests run on', async () => {
  const { world, vm, production } = createTwoHosts();
  const { hypervisor } = await world.connect().hosts.commands(PRODUCTION);
  production.isUnreachable = true;
  await assert.rejects(world.clock.run(hypervisor.power(vm.id, NEVER)), {
    code: 'host-unreachable',
  });
  await world.clock.advance(5000);
  assert.ok(vm.ledger().length >= 5);
  production.isUnreachable = false;
  assert.equal(await world.clock.run(hypervisor.power(vm.id, NEVER)), 'running');
});

test('a target that fills up says so and keeps its points', async () => {
  const { world, vm, recovery } = createTwoHosts();
  const controller = world.connect();
  await world.clock.run(replicateOnce({ controller, vm, name: 'pt-1' }));
  recovery.storage.capacityBytes = recovery.storage.usedBytes + 65_536;
  for (let block = 10; block < 20; block += 1) vm.write(ROOT, block, 'more');
  await assert.rejects(world.clock.run(replicateOnce({ controller, vm, name: 'pt-2' })), {
    code: 'target-full',
  });
  assert.deepEqual(createCheckers().everyStep(world, EMPTY_VIEW), []);
});
