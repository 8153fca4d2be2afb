/** Failback when something goes wrong, or somebody interferes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB } from '../../src/domain/bytes.ts';
import { differenceBetween } from '../../src/simulator/observation.ts';
import {
  assertIncremental,
  assertTookOver,
  commit,
  facts,
  failback,
  failedOver,
  replicaVm,
  SHUTDOWN,
  stateOf,
  switchOver,
  undo,
  undoing,
} from './failback-stage.ts';
import { options, Stage, VDA } from './stage.ts';

test('production cannot be started at the switchover: the replica starts again, ready as before', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  stage.world.faults.on('production.hypervisor.start', 1, 'fail', { code: 'vm-not-off' });
  const failed = await stage.finish((controller) =>
    controller.switchOver('web-replica', SHUTDOWN, options),
  );
  assert.equal(failed.state, 'failed');
  assert.deepEqual(facts(await stage.replica()), ['ReadyToSwitch', true, true]);
  assert.deepEqual([stage.vm.power, replicaVm(stage).power], ['off', 'running']);
  replicaVm(stage).write(VDA, 21, 'after the failed switchover');
  await switchOver(stage);
  await assertTookOver(stage);
  await commit(stage);
  await assertIncremental(stage);
});

test('production dies before it is attached: nothing waits for it, and the replica starts again', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  const { faults } = stage.world;
  const away = { code: 'host-unreachable' } as const;
  for (let nth = 1; nth <= 20; nth += 1) {
    faults.on('production.hypervisor.vm', nth, 'fail', away);
    faults.on('production.productionDisks.park', nth, 'fail', away);
  }
  const failed = await stage.finish((it) => it.switchOver('web-replica', SHUTDOWN, options));
  assert.deepEqual([failed.state, failed.error?.code], ['failed', 'host-unreachable']);
  assert.equal((await stage.replica()).phase, 'ReadyToSwitch');
  assert.equal(replicaVm(stage).power, 'running');
  faults.clear();
  await switchOver(stage);
  await assertTookOver(stage);
});

test('undo past a production host that does not answer: told as unfenced, and cleaned up when it is back', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  await switchOver(stage);
  stage.production.isUnreachable = true;
  const stuck = await stage.finish((controller) =>
    controller.undoFailback('web-replica', undoing(false), options),
  );
  assert.notEqual(stuck.state, 'succeeded');
  await undo(stage, true);
  const { id } = await stage.replica();
  const names = async () => (await stage.life.ports.catalog.conditions(id)).map(({ name }) => name);
  assert.ok((await names()).includes('unfenced-source'));
  assert.equal(replicaVm(stage).power, 'running');
  stage.production.isUnreachable = false;
  await stage.sweep();
  assert.equal(stage.vm.power, 'off', 'production on dropped layers is not left running');
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('the target goes away at the commit: what is left of the branch is swept when it is back', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  await switchOver(stage);
  for (let nth = 1; nth <= 8; nth += 1) {
    stage.world.faults.on('recovery.store.deleteBranch', nth, 'fail', { code: 'host-unreachable' });
  }
  await commit(stage);
  assert.equal((await stage.replica()).phase, 'Ready');
  stage.world.faults.clear();
  await stage.sweep();
  assert.deepEqual(await stage.violations('whenIdle'), []);
  await assertIncremental(stage);
});

test('after the switchover nobody can start the replica by hand, until an undo does', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  replicaVm(stage).state.memoryBytes = 768 * MIB;
  await switchOver(stage);
  const state = await stateOf(stage, VDA);
  assert.throws(() => replicaVm(stage).start(), /no such file/);
  await undo(stage);
  assert.equal(replicaVm(stage).power, 'running');
  assert.equal(differenceBetween(await stateOf(stage, VDA), state), null);
  assert.equal(replicaVm(stage).state.memoryBytes, 768 * MIB, 'all else of its definition is kept');
  await failback(stage);
  await switchOver(stage);
  await commit(stage);
  await assertIncremental(stage);
});

test('a switchover that keeps failing by itself takes the replica down three times, not for ever, and is told', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  for (let nth = 1; nth <= 40; nth += 1) {
    stage.world.faults.on('production.hypervisor.start', nth, 'fail');
  }
  await failback(stage, { switchover: { type: 'automatic' } });
  // The clock was ahead until now: what comes is older than the beginning of the failback.
  stage.world.clock.jumpWall(-3600_000);
  const conditions = async () => {
    const { id } = await stage.replica();
    return (await stage.life.ports.catalog.conditions(id)).map(({ name }) => name);
  };
  for (let minute = 0; minute < 20; minute += 1) {
    await stage.world.clock.advance(60_000);
    await stage.tick();
  }
  const { id, phase } = await stage.replica();
  const tried = await stage.life.ports.durable.operations({
    subject: id,
    kind: 'switch-over',
    limit: 99,
  });
  assert.deepEqual(
    [phase, tried.map(({ state }) => state)],
    ['ReadyToSwitch', ['failed', 'failed', 'failed']],
  );
  assert.deepEqual(await conditions(), ['switchover-failed']);
  assert.equal(replicaVm(stage).power, 'running');
  stage.world.faults.clear();
  await switchOver(stage);
  assert.deepEqual(await conditions(), []);
  assert.equal(stage.vm.power, 'running');
});
