/** The target is lost when the last delta has been moved: production takes over, and what the target missed is made up for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OperationRecord } from '../../src/domain/operation/operation.ts';
import {
  assertIncremental,
  assertTookOver,
  commit,
  failback,
  failedOver,
  replicaVm,
  switchOver,
  undo,
  undoing,
} from './failback-stage.ts';
import { options, Stage, VDA } from './stage.ts';

const CALLS = [
  'recovery.store.keepSidecars',
  'recovery.hypervisor.placeDisks',
  'recovery.store.noteBranch',
];

function loseCalls(stage: Stage, calls: readonly string[], times = 99): void {
  for (const call of calls) {
    for (let nth = 1; nth <= times; nth += 1) {
      stage.world.faults.on(call, nth, 'fail', { code: 'host-unreachable' });
    }
  }
}

/** Nothing that is to be told gets through. */
async function switchedUntold(stage: Stage, calls = CALLS, times = 99): Promise<void> {
  await failedOver(stage);
  await failback(stage);
  replicaVm(stage).state.sidecars = new Map([['nvram', 'of the replica']]);
  loseCalls(stage, calls, times);
  await switchOver(stage);
  assert.equal(stage.vm.power, 'running');
  await assertTookOver(stage);
}

async function conditionsOf(stage: Stage) {
  const { id } = await stage.replica();
  return stage.life.ports.catalog.conditions(id);
}

/** One that came to nothing is not repeated at once. */
async function sweepLater(stage: Stage): Promise<void> {
  await stage.world.clock.advance(60_000);
  await stage.sweep();
}

async function startable(stage: Stage): Promise<string> {
  const found = (await conditionsOf(stage)).find(({ name }) => name === 'replica-startable');
  return found?.message ?? '';
}

const namesOf = async (stage: Stage) => (await conditionsOf(stage)).map(({ name }) => name);

test('a target that was away for a moment is told once production runs', async () => {
  await using stage = await Stage.open();
  await switchedUntold(stage, ['recovery.store.keepSidecars'], 1);
  assert.deepEqual(await namesOf(stage), []);
  assert.throws(() => replicaVm(stage).start(), /no such file/);
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('a target that is back is told by a sweep, with what the replica was switched off with', async () => {
  await using stage = await Stage.open();
  await switchedUntold(stage);
  assert.deepEqual(await namesOf(stage), ['replica-startable']);
  await stage.sweep();
  assert.deepEqual(await namesOf(stage), ['replica-startable']);
  stage.world.faults.clear();
  await sweepLater(stage);
  assert.deepEqual(await namesOf(stage), []);
  assert.throws(() => replicaVm(stage).start(), /no such file/);
  assert.deepEqual(await stage.violations('whenIdle'), []);
  await commit(stage);
  await assertIncremental(stage);
  await stage.failover('latest', 'power-off');
  assert.deepEqual([...replicaVm(stage).state.sidecars], [['nvram', 'of the replica']]);
});

test('a commit tells first what nobody has told yet', async () => {
  await using stage = await Stage.open();
  await switchedUntold(stage);
  stage.world.faults.clear();
  await commit(stage);
  assert.deepEqual(await namesOf(stage), []);
  const { id } = await stage.replica();
  const [newest] = (await stage.life.ports.catalog.points(id)).slice(-1);
  assert.notEqual(newest, undefined);
  await stage.failover('latest', 'power-off');
  assert.deepEqual([...replicaVm(stage).state.sidecars], [['nvram', 'of the replica']]);
});

test('undone before the target was told: the replica serves again, and nothing is left to tell', async () => {
  await using stage = await Stage.open();
  await switchedUntold(stage);
  stage.world.faults.clear();
  await undo(stage);
  assert.equal(replicaVm(stage).power, 'running');
  assert.deepEqual(await namesOf(stage), []);
  await stage.sweep();
  assert.equal(replicaVm(stage).power, 'running');
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

/** Production's host is lost while it is to be stopped: by then the replica may be started. */
async function undoStuck(stage: Stage): Promise<OperationRecord> {
  await failedOver(stage);
  await failback(stage);
  await switchOver(stage);
  loseCalls(stage, ['production.hypervisor.shutdown', 'production.hypervisor.start']);
  const stuck = await stage.finish((it) => it.undoFailback('web-replica', undoing(false), options));
  assert.equal(stuck.state, 'suspended');
  assert.equal(stuck.error?.code, 'host-unreachable');
  return stuck;
}

/** And nobody waits for it to come back. */
async function undoGivenUp(stage: Stage): Promise<void> {
  const stuck = await undoStuck(stage);
  const given = await stage.finish((it) => it.cancelOperation(stuck.id, options));
  assert.equal(given.state, 'failed');
  assert.equal((await stage.replica()).phase, 'Failback');
}

test('the way back of an undo is given up half-way: the replica is kept from starting again', async () => {
  await using stage = await Stage.open();
  await undoGivenUp(stage);
  await stage.sweep();
  assert.throws(() => replicaVm(stage).start(), /no such file/);
  assert.deepEqual(await namesOf(stage), []);
  stage.world.faults.clear();
  await undo(stage);
  assert.equal(replicaVm(stage).power, 'running');
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('and one that was started in between, or whose host is lost, too, is told', async () => {
  await using stage = await Stage.open();
  await undoGivenUp(stage);
  stage.recovery.isUnreachable = true;
  await stage.sweep();
  assert.match(
    (await conditionsOf(stage))[0]?.message ?? '',
    /production is to serve.*startable there/,
  );
  stage.recovery.isUnreachable = false;
  replicaVm(stage).start();
  await sweepLater(stage);
  assert.match(await startable(stage), /although production has taken over/);
  replicaVm(stage).stop();
  await sweepLater(stage);
  assert.throws(() => replicaVm(stage).start(), /no such file/);
  assert.deepEqual(await namesOf(stage), ['replica-changed']);
});

test('a replica that somebody has started meanwhile is told, left to him, and not committed over', async () => {
  await using stage = await Stage.open();
  await switchedUntold(stage);
  stage.world.faults.clear();
  replicaVm(stage).start();
  await stage.sweep();
  assert.match(
    await startable(stage),
    /web-replica runs on its host although production has taken/,
  );
  const refused = await stage.finish((it) => it.commitFailback('web-replica', options));
  assert.equal(refused.error?.code, 'vm-not-off');
  replicaVm(stage).stop();
  await commit(stage);
  await sweepLater(stage);
  await assertExactWithout(stage);
});

/** Production does not have what the replica wrote, and no mark of production's tells of it: no point may. */
async function assertExactWithout(stage: Stage): Promise<void> {
  const { id, phase } = await stage.replica();
  assert.equal(phase, 'Ready');
  assert.deepEqual(await namesOf(stage), []);
  const before = (await stage.life.ports.catalog.points(id)).length;
  const run = await stage.replicate();
  assert.equal(run.state, 'succeeded', run.error?.message);
  assert.equal((await stage.life.ports.catalog.points(id)).length, before + 1);
  assert.deepEqual(await stage.violations('whenIdle'), []);
}

async function writtenByHand(stage: Stage): Promise<void> {
  await switchedUntold(stage);
  stage.world.faults.clear();
  replicaVm(stage).start();
  replicaVm(stage).write(VDA, 9, 'by hand');
}

test('what a replica wrote by hand after the switchover becomes no restore point', async () => {
  await using stage = await Stage.open();
  await writtenByHand(stage);
  await stage.sweep();
  replicaVm(stage).stop();
  await sweepLater(stage);
  assert.deepEqual(await namesOf(stage), ['replica-changed']);
  await commit(stage);
  await assertExactWithout(stage);
});

test('nor does what nobody has seen it write', async () => {
  await using stage = await Stage.open();
  await writtenByHand(stage);
  replicaVm(stage).stop();
  await sweepLater(stage);
  assert.deepEqual(await namesOf(stage), []);
  await commit(stage);
  await assertExactWithout(stage);
});

test('nor does what it wrote in the middle of an undo that is given up', async () => {
  await using stage = await Stage.open();
  const stuck = await undoStuck(stage);
  replicaVm(stage).start();
  replicaVm(stage).write(VDA, 9, 'by hand');
  await stage.finish((it) => it.cancelOperation(stuck.id, options));
  await sweepLater(stage);
  replicaVm(stage).stop();
  stage.world.faults.clear();
  await sweepLater(stage);
  assert.deepEqual(await namesOf(stage), ['replica-changed']);
  await commit(stage);
  await assertExactWithout(stage);
});

test('an undo goes on from what it wrote, and has nothing to tell any more', async () => {
  await using stage = await Stage.open();
  await switchedUntold(stage);
  stage.world.faults.clear();
  replicaVm(stage).start();
  await stage.sweep();
  replicaVm(stage).stop();
  await undo(stage);
  await sweepLater(stage);
  assert.equal(replicaVm(stage).power, 'running');
  assert.deepEqual(await namesOf(stage), []);
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('production that cannot be started, beside a target that is back: the replica serves as before', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  const { faults } = stage.world;
  faults.on('recovery.hypervisor.placeDisks', 1, 'fail', { code: 'host-unreachable' });
  faults.on('production.hypervisor.start', 1, 'fail', { code: 'vm-not-off' });
  const failed = await stage.finish((it) =>
    it.switchOver(
      'web-replica',
      { shutdownDeadlineMs: 60_000, onMissedDeadline: 'give-up' },
      options,
    ),
  );
  assert.equal(failed.state, 'failed');
  assert.equal((await stage.replica()).phase, 'ReadyToSwitch');
  assert.equal(replicaVm(stage).power, 'running');
  assert.deepEqual(await namesOf(stage), ['switchover-failed']);
  await stage.sweep();
  assert.deepEqual(await stage.violations('whenIdle'), []);
  await switchOver(stage);
  await assertTookOver(stage);
});
