/** A replica that somebody else changed: whoever finds out says so, and a dry run says it before the bad night. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RestorePoint } from '../../src/domain/restore-point/restore-point.ts';
import { removeLayer, tamperLayer, touchLayer } from '../../src/simulator/calamities.ts';
import { failoverOrder, options, Stage, VDA } from './stage.ts';

async function withPoints(stage: Stage): Promise<readonly RestorePoint[]> {
  await stage.protect();
  for (const text of ['one', 'two']) {
    stage.vm.write(VDA, 1, text);
    assert.equal((await stage.replicate()).state, 'succeeded');
  }
  const { id } = await stage.replica();
  return stage.life.ports.catalog.points(id);
}

async function layerOf(stage: Stage, point: RestorePoint | undefined) {
  const layer = point?.disks.find(({ key }) => key === VDA)?.layerId;
  assert.ok(layer);
  return { replicaId: (await stage.replica()).id, layerId: layer };
}

async function told(stage: Stage): Promise<readonly string[]> {
  const { id } = await stage.replica();
  return (await stage.life.ports.catalog.conditions(id)).map(({ name }) => name);
}

const preview = (stage: Stage) =>
  stage.run(stage.life.controller.previewFailover('web-replica', failoverOrder('latest'), options));

test('a run that finds it raises the condition, a rescan that repairs it clears it', async () => {
  await using stage = await Stage.open();
  const points = await withPoints(stage);
  touchLayer(stage.recovery, await layerOf(stage, points.at(-1)));
  const run = await stage.replicate();
  assert.deepEqual([run.state, run.error?.code], ['failed', 'replica-drifted']);
  assert.deepEqual(await told(stage), ['drifted']);
  await stage.finish((controller) => controller.rescan('web-replica', true, options));
  assert.deepEqual(await told(stage), []);
  assert.equal((await stage.replicate()).state, 'succeeded');
});

test('a failover that finds it raises it, too, and is refused in its dry run before', async () => {
  await using stage = await Stage.open();
  const points = await withPoints(stage);
  assert.equal((await preview(stage)).refusedBecause, null);
  tamperLayer(stage.recovery, await layerOf(stage, points.at(-1)), 1, 'two!');
  assert.match((await preview(stage)).refusedBecause ?? '', /changed by someone else: .*layer/);
  assert.deepEqual(await told(stage), [], 'a dry run changes nothing');
  const failed = await stage.failover();
  assert.deepEqual([failed.state, failed.error?.code], ['failed', 'replica-drifted']);
  assert.deepEqual(await told(stage), ['drifted']);
  assert.equal((await stage.replica()).phase, 'Ready');
});

test('a dry run does not wait for a target whose storage hangs', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  stage.world.faults.on('recovery.store.inspect', 1, 'hang');
  const { refusedBecause, warnings } = await preview(stage);
  assert.equal(refusedBecause, null);
  assert.match(warnings.join(), /target host does not answer/);
});

test('a hop onto a point that somebody changed is refused, and no way around it is offered that there is not', async () => {
  await using stage = await Stage.open();
  const points = await withPoints(stage);
  await stage.failover();
  touchLayer(stage.recovery, await layerOf(stage, points[0]));
  const order = failoverOrder(points[0]?.id ?? '');
  const { controller } = stage.life;
  const { refusedBecause } = await stage.run(controller.previewHop('web-replica', order, options));
  assert.match(refusedBecause ?? '', /changed by someone else/);
  assert.doesNotMatch(refusedBecause ?? '', /--accept-drift/);
});

test('when there is nothing better, a point that was changed is taken as asked, and it is told', async () => {
  await using stage = await Stage.open();
  const points = await withPoints(stage);
  const at = await layerOf(stage, points.at(-1));
  tamperLayer(stage.recovery, at, 1, 'two!');
  const order = { ...failoverOrder('latest', 'power-off'), acceptDrift: true };
  const { controller } = stage.life;
  const told = await stage.run(controller.previewFailover('web-replica', order, options));
  assert.equal(told.refusedBecause, null);
  assert.match(told.warnings.join('\n'), /Taken all the same/);
  const done = await stage.finish((it) => it.failover('web-replica', order, options));
  assert.equal(done.state, 'succeeded', done.error?.message);
  const events = await stage.life.ports.durable.history(done.id, 0);
  assert.ok(events.some(({ message }) => /was changed by someone else, and taken/.test(message)));
  assert.equal((await stage.undo()).state, 'succeeded');
  removeLayer(stage.world, stage.recovery, at);
  const failed = await stage.finish((it) => it.failover('web-replica', order, options));
  assert.equal(failed.error?.code, 'replica-drifted', 'a layer that is gone is no layer');
  assert.equal((await stage.replica()).phase, 'Ready');
});

test('a definition that could not follow its source is still told after a rescan, and renewed by its repair', async () => {
  await using stage = await Stage.open();
  const points = await withPoints(stage);
  stage.vm.state.definition = `${stage.vm.state.definition} `;
  stage.world.faults.on('recovery.hypervisor.defineReplica', 1, 'fail', { code: 'name-taken' });
  assert.equal((await stage.replicate()).state, 'succeeded');
  for (const isRepaired of [false, false, true]) {
    assert.deepEqual(await told(stage), ['definition-outdated']);
    if (isRepaired) {
      touchLayer(stage.recovery, await layerOf(stage, points.at(-1)));
      assert.equal((await stage.replicate()).error?.code, 'replica-drifted');
      assert.deepEqual(await told(stage), ['definition-outdated', 'drifted']);
    }
    const { result } = await stage.finish((it) => it.rescan('web-replica', isRepaired, options));
    assert.match(JSON.stringify(result), /"vm-outdated"/);
  }
  assert.deepEqual(await told(stage), []);
});
