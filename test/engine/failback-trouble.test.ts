/** Hosts that go away in the middle of a failback: what was served or set for it goes with it, at the latest by the sweeper. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commit, failback, MANUAL, switchOver, undo } from './failback-stage.ts';
import { options, Stage, VDA } from './stage.ts';

async function failedOver(stage: Stage): Promise<void> {
  await stage.protect();
  await stage.replicate();
  await stage.failover('latest', 'power-off');
}

test('a replica host that is away while its point is read serves nothing once the failback is undone', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  stage.world.faults.on('production.mover.survey', 1, 'away-before');
  stage.world.faults.on('recovery.store.closeReading', 1, 'away-before');
  const { id, state } = await stage.finish((it) => it.failback('web-replica', MANUAL, options));
  assert.equal(state, 'suspended', 'the way back needs both hosts');
  await stage.world.clock.advance(10 * 60_000);
  await stage.run(stage.life.ports.durable.retry(id));
  await stage.settleAll();
  assert.equal((await stage.replica()).phase, 'Failover');
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

/** Its replica host goes away with the answer, and the operator gives the commit up. */
async function commitWithoutAnswer(stage: Stage): Promise<void> {
  await failedOver(stage);
  await failback(stage);
  await switchOver(stage);
  stage.world.faults.on('recovery.store.sealPartial', 1, 'away-after');
  const { id } = await stage.finish((it) => it.commitFailback('web-replica', options));
  await stage.world.clock.advance(10 * 60_000);
  await stage.run(stage.life.ports.durable.retry(id));
  await stage.settleAll();
  assert.equal((await stage.life.ports.durable.operation(id))?.state, 'failed');
  assert.equal((await stage.replica()).phase, 'Failback');
}

test('a commit whose seal was never answered succeeds when it is asked for again', async () => {
  await using stage = await Stage.open();
  await commitWithoutAnswer(stage);
  await commit(stage);
  assert.deepEqual(await stage.violations('whenIdle'), []);
  assert.equal((await stage.replicate()).state, 'succeeded');
  const newest = (await stage.life.ports.catalog.points((await stage.replica()).id)).at(-1);
  assert.deepEqual(
    newest?.disks.map(({ transfer }) => transfer),
    ['incremental', 'incremental'],
  );
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('what such a commit sealed is a restore point like any other when the failback is undone', async () => {
  await using stage = await Stage.open();
  await commitWithoutAnswer(stage);
  await undo(stage);
  assert.equal((await stage.undo()).state, 'succeeded');
  stage.vm.write(VDA, 1, 'production again');
  assert.equal((await stage.replicate()).state, 'succeeded');
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('old marks of production that cannot be swept at the commit go when its host is back', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  await switchOver(stage);
  stage.world.faults.on('production.pointSource.sweepMarks', 1, 'away-before');
  await commit(stage);
  await stage.world.clock.advance(10 * 60_000);
  assert.deepEqual(await stage.violations('whenIdle'), []);
  stage.vm.write(VDA, 1, 'after the commit');
  assert.equal((await stage.replicate()).state, 'succeeded');
  assert.deepEqual(await stage.violations('whenIdle'), []);
});
