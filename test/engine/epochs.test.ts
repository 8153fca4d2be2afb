/** A second controller on an old copy of the data folder: refused everywhere, and harmless to what it may not touch. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OperationRecord } from '../../src/domain/operation/operation.ts';
import type { Controller } from '../../src/ports/controller.ts';
import { failoverOrder, type Life, options, Stage, VDA } from './stage.ts';

type Wish = (controller: Controller) => Promise<OperationRecord | readonly OperationRecord[]>;

const IN_READY: Readonly<Record<string, Wish>> = {
  replicate: (controller) => controller.runJob('nightly', null, options),
  failover: (controller) =>
    controller.failover('web-replica', failoverOrder('latest', 'power-off'), options),
  'planned failover': (controller) => controller.plannedFailover('web-replica', PLANNED, options),
  rescan: (controller) => controller.rescan('web-replica', true, options),
  verify: (controller) => controller.verify('web-replica', null, options),
  remove: (controller) => controller.removeReplica('web-replica', options),
  delete: (controller) => controller.deleteReplica('web-replica', options),
};

const IN_FAILOVER: Readonly<Record<string, Wish>> = {
  undo: (controller) => controller.undoFailover('web-replica', { force: false }, options),
  'forced undo': (controller) => controller.undoFailover('web-replica', { force: true }, options),
  permanent: (controller) => controller.permanentFailover('web-replica', options),
  fence: (controller) => controller.fenceSource('web-replica', 'power-off', options),
  unfence: (controller) => controller.unfenceSource('web-replica', true, options),
};

const PLANNED = {
  reason: 'by mistake',
  passesMax: 1,
  lastDeltaMsMax: 1000,
  shutdownDeadlineMs: 60_000,
  onMissedDeadline: 'power-off',
} as const;

async function withPoint(stage: Stage): Promise<void> {
  await stage.protect();
  stage.vm.write(VDA, 1, 'one');
  await stage.replicate();
}

async function refused(stage: Stage, life: Life, wish: Wish, name: string): Promise<void> {
  const begun = await stage.run(wish(life.controller));
  const [operation] = Array.isArray(begun) ? begun : [begun];
  const ended = await stage.run(life.ports.durable.settled(operation.id, options));
  assert.deepEqual([ended.state, ended.error?.code], ['failed', 'epoch-refused'], name);
}

function snapshot(stage: Stage): string {
  const vms = [...stage.production.vms.values(), ...stage.recovery.vms.values()];
  const replicas = [...stage.recovery.replicas.values()];
  return JSON.stringify([
    vms.map((vm) => [vm.state.name, vm.power, vm.state.nics, vm.state.definition]),
    replicas.map((one) => [one.epoch, [...one.points.keys()], [...one.branches.keys()]]),
  ]);
}

test('a copy from before the failover may do nothing after it, nor after its undo', async () => {
  await using stage = await Stage.open();
  await withPoint(stage);
  using old = stage.oldCopy();
  assert.equal((await stage.failover()).state, 'succeeded');
  for (const round of ['in failover', 'undone']) {
    if (round === 'undone') await stage.undo();
    const before = snapshot(stage);
    for (const [name, wish] of Object.entries(IN_READY)) {
      await refused(stage, old, wish, `${name} ${round}`);
    }
    assert.equal(snapshot(stage), before, round);
  }
  assert.equal((await stage.replicate()).state, 'succeeded', 'the one in charge goes on');
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('a copy from within a failover may neither end it nor touch the source once another one runs', async () => {
  await using stage = await Stage.open();
  await withPoint(stage);
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  using old = stage.oldCopy();
  await stage.undo();
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  const before = snapshot(stage);
  for (const [name, wish] of Object.entries(IN_FAILOVER)) await refused(stage, old, wish, name);
  assert.equal(snapshot(stage), before);
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('a source host that heard of the one in charge refuses the other, also when the target is away', async () => {
  await using stage = await Stage.open();
  await withPoint(stage);
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  using old = stage.oldCopy();
  await stage.undo();
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  stage.recovery.isUnreachable = true;
  const before = snapshot(stage);
  const unfence: Wish = (controller) => controller.unfenceSource('web-replica', true, options);
  await refused(stage, old, unfence, 'unfence');
  assert.equal(snapshot(stage), before);
});

test('an undo records its epoch before the target host hears of it', async () => {
  await using stage = await Stage.open();
  await withPoint(stage);
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  stage.world.faults.on('recovery.store.archiveBranch', 1, 'slow', { delayMs: 5000 });
  stage.world.faults.on('recovery.hypervisor.defineReplica', 1, 'slow', { delayMs: 5000 });
  const undone = stage.undo();
  for (const nth of [1, 2]) {
    await stage.until(() => stage.world.faults.happened.length === nth);
    assert.deepEqual(await stage.violations('everyStep'), [], stage.world.faults.happened.at(-1));
  }
  assert.equal((await undone).state, 'succeeded');
});
