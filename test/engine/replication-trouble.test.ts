/** Replication, removal and repair when hosts are away, clocks jump and people interfere. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostId } from '../../src/domain/ids.ts';
import { options, Stage, VDA } from './stage.ts';

async function points(stage: Stage) {
  return stage.life.ports.catalog.points((await stage.replica()).id);
}

async function history(stage: Stage, operation: Awaited<ReturnType<Stage['replicate']>>) {
  const events = await stage.life.ports.durable.history(operation.id, 0);
  return events.map(({ message }) => message).join('\n');
}

/** A point was made of each write. */
async function replicateWrites(stage: Stage, values: readonly string[]): Promise<void> {
  for (const value of values) {
    stage.vm.write(VDA, 1, value);
    assert.equal((await stage.replicate()).state, 'succeeded');
  }
}

function marks(stage: Stage): readonly string[] {
  return [...stage.vm.image(VDA).marks.keys()];
}

test('a target lost while old points are retired does not cost the new one, nor stop the next run', async () => {
  await using stage = await Stage.open();
  await stage.protect({ retention: { keepLast: 1, tiers: [] } });
  await replicateWrites(stage, ['one']);
  const { controller, ports } = stage.life;
  stage.vm.write(VDA, 1, 'two');
  stage.world.faults.on('recovery.store.retirePoint', 1, 'slow', { delayMs: 1000 });
  const [run] = await stage.run(controller.runJob('nightly', null, options));
  await stage.until(() => stage.world.faults.happened.length === 1);
  stage.recovery.isUnreachable = true;
  assert.ok(run !== undefined);
  const done = await stage.run(ports.durable.settled(run.id, options));
  assert.equal(done.state, 'succeeded', done.error?.message);
  stage.recovery.isUnreachable = false;
  await replicateWrites(stage, ['three']);
  assert.deepEqual(await stage.violations('whenIdle'), []);
  assert.equal((await points(stage)).length, 1);
});

test('a point whose sealing was never confirmed, nor asked about, is found by the next run, which goes on from it', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await replicateWrites(stage, ['one']);
  stage.vm.write(VDA, 1, 'two');
  for (const nth of [1, 2, 3, 4]) {
    stage.world.faults.on('recovery.store.sealPartial', nth, 'fail-after');
  }
  stage.world.faults.on('recovery.store.discardPartial', 1, 'fail');
  assert.equal((await stage.replicate()).state, 'failed');
  assert.equal((await points(stage)).length, 1);
  await replicateWrites(stage, ['three']);
  assert.equal((await points(stage)).length, 3);
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

/** A run that has sealed its point and not heard so yet. */
async function sealWithoutAnswer(stage: Stage, fault: 'fail-after' | 'away-after') {
  await stage.protect();
  await replicateWrites(stage, ['one']);
  stage.vm.write(VDA, 1, 'two');
  stage.world.faults.on('recovery.store.sealPartial', 1, fault);
  const [run] = await stage.run(stage.life.controller.runJob('nightly', null, options));
  assert.ok(run !== undefined);
  const { id } = await stage.replica();
  await stage.until(() => stage.recovery.replicas.get(id)?.points.size === 2);
  return run;
}

test('a run that is cancelled in the moment of its seal lists the point, which the next run goes on from', async () => {
  await using stage = await Stage.open();
  const run = await sealWithoutAnswer(stage, 'fail-after');
  await stage.run(stage.life.ports.durable.cancel(run.id));
  const ended = await stage.run(stage.life.ports.durable.settled(run.id, options));
  assert.equal(ended.state, 'cancelled');
  const newest = (await points(stage)).at(-1);
  assert.equal((await points(stage)).length, 2);
  assert.equal((await stage.replica()).newestPointId, newest?.id);
  assert.match(await history(stage, ended), /is sealed, and kept/);
  assert.deepEqual(marks(stage), [`us-${newest?.id}`]);
  assert.deepEqual(await stage.violations('whenIdle'), []);
  await replicateWrites(stage, ['three']);
  assert.deepEqual(
    (await points(stage)).at(-1)?.disks.map(({ transfer }) => transfer),
    ['incremental', 'incremental'],
  );
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('a failover in the moment of a seal takes the point that is sealed', async () => {
  await using stage = await Stage.open();
  const run = await sealWithoutAnswer(stage, 'fail-after');
  stage.production.isUnreachable = true;
  assert.equal((await stage.failover()).state, 'succeeded');
  assert.equal((await stage.life.ports.durable.operation(run.id))?.state, 'cancelled');
  const newest = (await points(stage)).at(-1);
  assert.equal((await points(stage)).length, 2);
  assert.equal((await stage.replica()).failover?.pointId, newest?.id);
  stage.production.isUnreachable = false;
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('a seal that nobody can ask about is found out when the target is back; until then its mark stays', async () => {
  await using stage = await Stage.open();
  const run = await sealWithoutAnswer(stage, 'away-after');
  stage.recovery.isUnreachable = true;
  await stage.run(stage.life.ports.durable.cancel(run.id));
  await stage.run(stage.life.ports.durable.settled(run.id, options));
  assert.equal((await points(stage)).length, 1);
  assert.equal(marks(stage).length, 2);
  await stage.sweep();
  assert.equal(marks(stage).length, 2);
  assert.deepEqual(await stage.violations('whenIdle'), []);
  stage.recovery.isUnreachable = false;
  await stage.world.clock.advance(10 * 60_000);
  await stage.sweep();
  const newest = (await points(stage)).at(-1);
  assert.equal((await points(stage)).length, 2);
  assert.deepEqual(marks(stage), [`us-${newest?.id}`]);
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('the first point, sealed but never confirmed, makes the replica ready after a rescan', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  for (const nth of [1, 2, 3, 4]) {
    stage.world.faults.on('recovery.store.sealPartial', nth, 'fail-after');
  }
  stage.world.faults.on('recovery.store.discardPartial', 1, 'fail');
  assert.equal((await stage.replicate()).state, 'failed');
  assert.equal((await stage.replica()).phase, 'Pending');
  await stage.finish((controller) => controller.rescan('web-replica', true, options));
  assert.equal((await stage.replica()).phase, 'Ready');
  assert.deepEqual(await stage.conditionNames(), []);
  assert.equal((await stage.failover()).state, 'succeeded');
});

test('a clock that goes back: the last point sealed is the newest, and the next run goes on from it', async () => {
  await using stage = await Stage.open();
  await stage.protect({ retention: { keepLast: 2, tiers: [] } });
  await replicateWrites(stage, ['one', 'two']);
  stage.world.clock.jumpWall(-24 * 3600 * 1000);
  await replicateWrites(stage, ['three', 'four']);
  const newest = (await points(stage)).at(-1);
  assert.equal((await stage.replica()).newestPointId, newest?.id);
  assert.deepEqual(
    newest?.disks.map((disk) => disk.transfer),
    ['incremental', 'incremental'],
  );
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('a definition that fails for a moment is tried again; one that cannot be is told, and told no more once it can', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  stage.world.faults.on('recovery.hypervisor.defineReplica', 1, 'fail');
  await replicateWrites(stage, ['one']);
  assert.deepEqual(await stage.conditionNames(), []);
  stage.vm.state.definition = `${stage.vm.state.definition} `;
  stage.world.faults.on('recovery.hypervisor.defineReplica', 1, 'fail', { code: 'name-taken' });
  await replicateWrites(stage, ['two']);
  assert.deepEqual(await stage.conditionNames(), ['definition-outdated']);
  await replicateWrites(stage, ['three']);
  assert.deepEqual(await stage.conditionNames(), []);
});

test('quiescing that was wished and not possible is told in the history', async () => {
  await using stage = await Stage.open();
  await stage.protect({ quiesce: 'if-possible' });
  stage.vm.state.guest.hasAgent = false;
  const done = await stage.replicate();
  assert.equal(done.state, 'succeeded');
  assert.match(await history(stage, done), /its agent does not answer/);
});

async function addThird(stage: Stage): Promise<void> {
  const third = stage.world.addHost({ id: hostId('third') });
  await stage.knowHost(third.id);
}

test('two replicas of one VM take turns: neither ends the other freeze', async () => {
  await using stage = await Stage.open();
  await addThird(stage);
  await stage.protect();
  await stage.protect({ name: 'far', targetHost: 'third' });
  const { controller } = stage.life;
  stage.world.faults.on('recovery.store.openPartial', 1, 'slow', { delayMs: 5000 });
  const [near] = await stage.run(controller.runJob('nightly', null, options));
  await stage.until(() => stage.world.faults.happened.length === 1);
  const [far] = await stage.run(controller.runJob('far', null, options));
  await stage.settleAll();
  for (const run of [near, far]) {
    assert.ok(run !== undefined);
    const { state, error } = await stage.run(controller.operation(run.id, options));
    assert.equal(state, 'succeeded', error?.message);
  }
});

test('a sound point says nothing about another one that is not', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await replicateWrites(stage, ['one', 'two']);
  const [oldest, newest] = await points(stage);
  const verify = (point: string | undefined) =>
    stage.finish((controller) =>
      controller.verify('web-replica', { type: 'reference', reference: point ?? '' }, options),
    );
  const folder = stage.recovery.replicas.get((await stage.replica()).id);
  const layer = folder?.layers.get(newest?.disks[0]?.layerId ?? ('' as never));
  layer?.image.blocks.set(1, 'rotten');
  await verify(newest?.id);
  assert.deepEqual(await stage.conditionNames(), ['unverified']);
  await verify(oldest?.id);
  assert.deepEqual(await stage.conditionNames(), ['unverified']);
});

test('a deletion that is refused leaves the change marks, so that the next run is incremental', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await replicateWrites(stage, ['one']);
  stage.world.faults.on('recovery.hypervisor.undefine', 1, 'fail', { code: 'vm-not-off' });
  const refused = await stage.finish((controller) =>
    controller.deleteReplica('web-replica', options),
  );
  assert.equal(refused.state, 'failed');
  await replicateWrites(stage, ['two']);
  assert.equal((await points(stage)).at(-1)?.disks[0]?.transfer, 'incremental');
});

test('marks of a removed replica go even when its source was away; another replica keeps its own', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await replicateWrites(stage, ['one']);
  stage.production.isUnreachable = true;
  await stage.finish((controller) => controller.removeReplica('web-replica', options));
  assert.equal((await stage.replica()).phase, 'Removed');
  stage.production.isUnreachable = false;
  await stage.sweep();
  assert.deepEqual(marks(stage), []);
  assert.deepEqual(await stage.life.ports.catalog.temporaries(), []);
});

test('a removed replica takes no mark that another one needs', async () => {
  await using stage = await Stage.open();
  await addThird(stage);
  await stage.protect();
  await replicateWrites(stage, ['one']);
  await stage.protect({ name: 'far', targetHost: 'third' });
  const all = await stage.life.ports.catalog.replicas();
  const far = all.find(({ value }) => value.targetHostId === hostId('third'))?.value;
  await stage.finish((controller) => controller.removeReplica(far?.id ?? '', options));
  assert.equal(marks(stage).length, 1);
});

test('a point that is pinned while a run is on its way is not retired by it', async () => {
  await using stage = await Stage.open();
  await stage.protect({ retention: { keepLast: 1, tiers: [] } });
  await replicateWrites(stage, ['one']);
  const [first] = await points(stage);
  const { controller } = stage.life;
  stage.vm.write(VDA, 1, 'two');
  stage.world.faults.on('recovery.store.tidy', 1, 'slow', { delayMs: 5000 });
  await stage.run(controller.runJob('nightly', null, options));
  await stage.until(() => stage.world.faults.happened.length === 1);
  const selector = { type: 'reference', reference: first?.id ?? '' } as const;
  await stage.run(controller.setPointPinned('web-replica', selector, true, options));
  await stage.settleAll();
  const left = await points(stage);
  assert.deepEqual(
    left.map(({ isPinned }) => isPinned),
    [true, false],
  );
});

test('a replica VM that never could be defined is defined by a rescan with repair, and known then', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  stage.world.faults.on('recovery.hypervisor.defineReplica', 1, 'fail', { code: 'name-taken' });
  await replicateWrites(stage, ['one']);
  assert.equal((await stage.replica()).targetVmId, null);
  await stage.finish((controller) => controller.rescan('web-replica', true, options));
  assert.notEqual((await stage.replica()).targetVmId, null);
  assert.deepEqual(await stage.conditionNames(), []);
});

test('where one host is source and target, what a cancelled run left is swept without the change mark', async () => {
  await using stage = await Stage.open();
  await stage.protect({ targetHost: 'production' });
  await replicateWrites(stage, ['one']);
  stage.world.faults.on('production.store.openPartial', 1, 'slow', { delayMs: 1000 });
  const { controller, ports } = stage.life;
  const [run] = await stage.run(controller.runJob('nightly', null, options));
  assert.ok(run !== undefined);
  await stage.until(() => stage.world.faults.happened.length === 1);
  await stage.run(ports.durable.cancel(run.id));
  const ended = await stage.run(ports.durable.settled(run.id, options));
  assert.equal(ended.state, 'cancelled');
  await stage.sweep();
  const [one] = await points(stage);
  assert.deepEqual(marks(stage), [`us-${one?.id}`]);
  await replicateWrites(stage, ['two']);
  const newest = (await points(stage)).at(-1);
  assert.deepEqual(
    newest?.disks.map(({ transfer }) => transfer),
    ['incremental', 'incremental'],
  );
});
