/** Planned failover on a simulated world: nothing is lost, and until the replica runs everything leads back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OperationRecord } from '../../src/domain/operation/operation.ts';
import type { PlannedFailoverOrder } from '../../src/ports/orders.ts';
import { options, Stage, VDA, VDB } from './stage.ts';

const ORDER: PlannedFailoverOrder = {
  reason: 'maintenance',
  passesMax: 5,
  lastDeltaMsMax: 5000,
  shutdownDeadlineMs: 60_000,
  onMissedDeadline: 'give-up',
};

const LEDGER = { ledger: { disk: VDB, everyMs: 100 } };

function planned(
  stage: Stage,
  order: Partial<PlannedFailoverOrder> = {},
): Promise<OperationRecord> {
  return stage.finish((controller) =>
    controller.plannedFailover('web-replica', { ...ORDER, ...order }, options),
  );
}

function replicaVm(stage: Stage) {
  const found = [...stage.recovery.vms.values()].find((vm) => vm.state.replicaId !== null);
  if (found === undefined) throw new Error('the replica VM is not defined');
  return found;
}

/** Until the source was shut down, and not a moment longer. */
async function untilOff({ vm, world }: Stage): Promise<void> {
  for (let round = 0; vm.power !== 'off'; round += 1) {
    assert.ok(round < 10_000, 'it was never shut down');
    await world.clock.advance(1);
  }
}

async function assertBack(stage: Stage): Promise<void> {
  assert.equal((await stage.replica()).phase, 'Ready');
  assert.equal(stage.vm.power, 'running', 'the source runs again');
  await stage.sweep();
  assert.deepEqual(await stage.violations('whenIdle'), []);
  assert.equal((await stage.replicate()).state, 'succeeded');
  const { id } = await stage.replica();
  const newest = (await stage.life.ports.catalog.points(id)).at(-1);
  assert.deepEqual(
    newest?.disks.map((disk) => disk.transfer),
    ['incremental', 'incremental'],
    'the mark of the newest point was kept',
  );
}

test('no record of the ledger is lost, and the source is off', async () => {
  await using stage = await Stage.open(1, LEDGER);
  await stage.protect();
  await stage.world.clock.advance(5_000);
  const done = await planned(stage);
  assert.equal(done.state, 'succeeded', done.error?.message);
  const replica = await stage.replica();
  assert.equal(replica.phase, 'Failover');
  assert.deepEqual(
    [replica.failover?.fence, replica.failover?.isConnected, stage.vm.power],
    ['shutdown', true, 'off'],
  );
  const written = stage.vm.ledger();
  assert.ok(written.length > 40);
  assert.deepEqual(replicaVm(stage).ledger().slice(0, written.length), written);
  assert.deepEqual(await stage.violations('whenIdle'), []);
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.equal(stage.vm.power, 'running', 'undo starts the source again');
});

test('passes leave no point behind: one more than before, within retention', async () => {
  await using stage = await Stage.open(1, LEDGER);
  const { id } = await stage.protect({ retention: { keepLast: 3, tiers: [] } });
  for (let run = 0; run < 3; run += 1) {
    stage.vm.write(VDA, 1, `run-${run}`);
    await stage.replicate();
  }
  const before = (await stage.life.ports.catalog.points(id)).map((point) => point.id);
  const done = await planned(stage, { passesMax: 3, lastDeltaMsMax: 0 });
  assert.equal(done.state, 'succeeded', done.error?.message);
  assert.deepEqual((done.result as { passes: number }).passes >= 2, true);
  const after = (await stage.life.ports.catalog.points(id)).map((point) => point.id);
  assert.equal(after.length, 3);
  assert.deepEqual(after.slice(0, 2), before.slice(1));
});

test('a source that is off already is not started by an undo', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  stage.vm.write(VDA, 4, 'last words');
  stage.vm.stop();
  assert.equal((await planned(stage)).state, 'succeeded');
  assert.equal(replicaVm(stage).read(VDA, 4), 'last words');
  assert.equal((await stage.replica()).failover?.fence, 'none');
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.equal(stage.vm.power, 'off');
});

test('a guest that does not shut down: given up, and the source was never stopped', async () => {
  await using stage = await Stage.open(1, { shutdownMs: null });
  await stage.protect();
  const done = await planned(stage, { onMissedDeadline: 'give-up' });
  assert.deepEqual([done.state, done.error?.code], ['failed', 'not-shut-down']);
  await assertBack(stage);
});

test('a source that is paused is not shut down, and the way out that is named is one', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  stage.vm.pause('its disk is full');
  const done = await planned(stage, { onMissedDeadline: 'power-off' });
  assert.deepEqual([done.state, done.error?.code], ['failed', 'not-fit-to-shut-down']);
  assert.match(done.error?.message ?? '', /it is paused.*resume or start it/);
  assert.doesNotMatch(done.error?.message ?? '', /power-off/);
  stage.vm.resume();
  assert.equal((await planned(stage)).state, 'succeeded');
});

test('a guest that does not shut down: powered off where that was asked for', async () => {
  await using stage = await Stage.open(1, { shutdownMs: null });
  await stage.protect();
  const done = await planned(stage, { onMissedDeadline: 'power-off' });
  assert.equal(done.state, 'succeeded', done.error?.message);
  assert.equal((await stage.replica()).failover?.fence, 'power-off');
});

test('a guest that does not shut down: a person is asked, waits once, then has it powered off', async () => {
  await using stage = await Stage.open(1, { shutdownMs: null });
  await stage.protect();
  const { controller, ports } = stage.life;
  const accepted = await stage.run(
    controller.plannedFailover('web-replica', { ...ORDER, onMissedDeadline: 'ask' }, options),
  );
  await stage.run(controller.answerOperation(accepted.id, 'wait', options));
  await stage.run(controller.answerOperation(accepted.id, 'power-off', options));
  const done = await stage.run(ports.durable.settled(accepted.id, options));
  assert.equal(done.state, 'succeeded', done.error?.message);
  const asked = (await ports.durable.history(done.id, 0)).filter(({ step }) =>
    step?.startsWith('ask-'),
  );
  assert.equal(asked.length, 2);
});

test('nobody answers within an hour: given up, and the source goes on', async () => {
  await using stage = await Stage.open(1, { shutdownMs: null });
  await stage.protect();
  const done = await planned(stage, { onMissedDeadline: 'ask' });
  assert.deepEqual([done.state, done.error?.code], ['failed', 'not-shut-down']);
  await assertBack(stage);
});

for (const [call, why] of [
  ['production.pointSource.freeze', 'the last delta cannot be frozen'],
  ['recovery.store.sealPartial', 'the last delta cannot be sealed'],
  ['recovery.store.createBranch', 'there is no room for the branch'],
  ['recovery.hypervisor.defineReplica', 'the replica cannot be defined'],
  ['recovery.hypervisor.start', 'the replica cannot be started'],
] as const) {
  test(`${why}: back to the running source`, async () => {
    await using stage = await Stage.open(1, LEDGER);
    await stage.protect();
    await stage.replicate();
    const isOfRun = call.includes('pointSource') || call.includes('seal');
    stage.world.faults.on(call, isOfRun ? 2 : 1, 'fail', { code: 'vm-not-off' });
    const done = await planned(stage);
    assert.equal(done.state, 'failed', done.state);
    stage.world.faults.clear();
    await assertBack(stage);
  });
}

test('the target dies while the replica is defined: the source does not wait for it, and the replica is put to rest later', async () => {
  await using stage = await Stage.open(1, LEDGER);
  await stage.protect();
  await stage.replicate();
  const { faults } = stage.world;
  faults.on('recovery.hypervisor.defineReplica', 1, 'fail-after', { code: 'access-denied' });
  faults.on('recovery.hypervisor.defineReplica', 2, 'fail', { code: 'host-unreachable' });
  faults.on('recovery.store.deleteBranch', 1, 'fail', { code: 'host-unreachable' });
  const done = await planned(stage);
  assert.deepEqual([done.state, done.error?.code], ['failed', 'access-denied']);
  assert.equal(stage.vm.power, 'running');
  const onBranch = replicaVm(stage).state.disks.map(({ path }) => path);
  await assertBack(stage);
  const resting = replicaVm(stage).state.disks.map(({ path }) => path);
  assert.equal(resting.length, onBranch.length);
  assert.ok(
    resting.every((path) => !onBranch.includes(path)),
    'its definition is at rest again',
  );
});

test('the source is started by hand after it was shut down: found out, and back', async () => {
  await using stage = await Stage.open(1, LEDGER);
  await stage.protect();
  await stage.replicate();
  const { controller, ports } = stage.life;
  const accepted = await stage.run(controller.plannedFailover('web-replica', ORDER, options));
  await untilOff(stage);
  stage.vm.start();
  const done = await stage.run(ports.durable.settled(accepted.id, options));
  assert.equal(done.state, 'failed');
  await assertBack(stage);
});

test('the source site is lost during the last delta: a failover gets its way at once', async () => {
  await using stage = await Stage.open(1, LEDGER);
  await stage.protect();
  await stage.replicate();
  const { controller } = stage.life;
  await stage.run(controller.plannedFailover('web-replica', ORDER, options));
  await untilOff(stage);
  stage.production.isUnreachable = true;
  const done = await stage.failover();
  assert.equal(done.state, 'succeeded', done.error?.message);
  assert.equal((await stage.replica()).phase, 'Failover');
});

test('a disk too large for one pass: the second is short, and the third is the last', async () => {
  await using stage = await Stage.open(1, LEDGER);
  await stage.protect();
  stage.world.link(stage.production.id, stage.recovery.id).bytesPerSecond = 1_000_000;
  const done = await planned(stage, { lastDeltaMsMax: 1500 });
  assert.equal(done.state, 'succeeded', done.error?.message);
  const passes = (done.result as { passes: number }).passes;
  assert.ok(passes >= 2 && passes <= 4, `${passes} passes`);
});
