/** The controller's data is gone: the catalogue from the replica folders alone, and what goes on from there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Replica } from '../../src/domain/replica/replica.ts';
import type { RebuildOrder, RebuildReport } from '../../src/ports/rebuild-report.ts';
import { readPoint } from '../../src/simulator/observation.ts';
import { failoverOrder, options, Stage, VDA } from './stage.ts';

async function quiet(stage: Stage): Promise<void> {
  assert.deepEqual(await stage.violations('whenIdle'), []);
}

function replicaVm(stage: Stage) {
  const found = [...stage.recovery.vms.values()].find((vm) => vm.state.replicaId !== null);
  return found ?? assert.fail('the replica VM is not defined');
}

async function withPoints(stage: Stage): Promise<void> {
  await stage.protect({
    retention: { keepLast: 3, tiers: [] },
    rpoSeconds: 300,
    isScheduled: true,
  });
  for (const value of ['one', 'two', 'three', 'four']) {
    stage.vm.write(VDA, 1, value);
    await stage.replicate();
  }
}

function fencesOf({ failover }: Replica) {
  const { fence, fencedNics, reason, isSourceReleased, isDuplicateAccepted } = failover ?? {};
  return { fence, fencedNics, reason, isSourceReleased, isDuplicateAccepted };
}

function rebuild(stage: Stage, order: Partial<RebuildOrder> = {}): Promise<RebuildReport> {
  const whole = { hosts: null, sourceHost: null, repairs: false, isDryRun: false, ...order };
  return stage.run(stage.life.controller.rebuild(whole, options));
}

test('ready: the same replica and points, its job paused, the next run incremental', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  const before = await stage.replica();
  const { catalog } = stage.life.ports;
  const points = await catalog.points(before.id);
  const [job] = await catalog.jobs();
  await stage.loseData();
  const dry = await rebuild(stage, { isDryRun: true });
  assert.equal(dry.folders[0]?.outcome, 'rebuilt');
  assert.deepEqual(await stage.life.ports.catalog.replicas(), [], 'a dry run changes nothing');
  const report = await rebuild(stage);
  assert.deepEqual(
    report.folders.map(({ name, outcome, phase, pointCount, jobName }) => [
      name,
      outcome,
      phase,
      pointCount,
      jobName,
    ]),
    [['web-replica', 'rebuilt', 'Ready', 3, 'nightly']],
  );
  const after = await stage.replica();
  const [again] = await stage.life.ports.catalog.jobs();
  const jobId = again?.value.id ?? null;
  assert.deepEqual(after, { ...before, jobId, epoch: before.epoch + 1 });
  assert.deepEqual(await stage.life.ports.catalog.points(after.id), points);
  const { createdAt: _, ...wanted } = { ...job?.value, id: jobId, isPaused: true };
  const { createdAt: __, ...found } = again?.value ?? assert.fail();
  assert.deepEqual(found, wanted);
  await stage.world.clock.advance(1000_000);
  await stage.tick();
  const runs = { kind: 'replicate', limit: 10 } as const;
  assert.deepEqual(await stage.life.ports.durable.operations(runs), [], 'nothing starts by itself');
  assert.equal((await rebuild(stage)).folders[0]?.outcome, 'known');
  stage.vm.write(VDA, 2, 'after the loss');
  assert.equal((await stage.replicate()).state, 'succeeded');
  const newest = (await stage.life.ports.catalog.points(after.id)).at(-1);
  assert.deepEqual(
    newest?.disks.map(({ transfer }) => transfer),
    ['incremental', 'incremental'],
  );
  await quiet(stage);
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  assert.equal(replicaVm(stage).read(VDA, 2), 'after the loss');
  await stage.undo();
  await quiet(stage);
});

test('a pin survives, because it is written down with the next run', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  const { id } = await stage.replica();
  const [oldest] = await stage.life.ports.catalog.points(id);
  assert.ok(oldest);
  const selector = { type: 'reference', reference: oldest.id } as const;
  await stage.run(stage.life.controller.setPointPinned('web-replica', selector, true, options));
  await stage.replicate();
  await stage.loseData();
  await rebuild(stage);
  for (const value of ['five', 'six', 'seven', 'eight']) {
    stage.vm.write(VDA, 1, value);
    await stage.replicate();
  }
  const left = await stage.life.ports.catalog.points(id);
  assert.ok(left.some((point) => point.id === oldest.id && point.isPinned));
});

test('in Failover: it goes on serving, is told as such, and can be undone', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await stage.failover('latest', 'power-off');
  replicaVm(stage).write(VDA, 9, 'served');
  const before = await stage.replica();
  await stage.loseData();
  const report = await rebuild(stage);
  assert.equal(report.folders[0]?.phase, 'Failover');
  assert.match(report.folders[0]?.notes.join() ?? '', /is in Failover, running/);
  const after = await stage.replica();
  assert.equal(after.failover?.branchId, before.failover?.branchId);
  assert.equal(after.failover?.pointId, before.failover?.pointId);
  assert.equal(after.failover?.isConnected, true);
  assert.equal(replicaVm(stage).power, 'running');
  const told = await stage.life.ports.catalog.conditions(after.id);
  assert.deepEqual(told, [], 'its source was powered off for it');
  assert.deepEqual(fencesOf(after), fencesOf(before));
  await assert.rejects(stage.replicate(), { code: 'not-allowed-in-phase' });
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.equal(stage.vm.power, 'running', 'the undo lifts the fence');
  assert.equal((await stage.replicate()).state, 'succeeded');
  const newest = (await stage.life.ports.catalog.points(after.id)).at(-1);
  assert.equal(newest?.disks[0]?.transfer, 'incremental');
  await quiet(stage);
});

test('NICs that an undo left disconnected are remembered, and connected by the next one', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  const fence = { ...failoverOrder('latest'), fence: 'nics' } as const;
  const failover = () =>
    stage.finish((controller) => controller.failover('web-replica', fence, options));
  assert.equal((await failover()).state, 'succeeded');
  const keeping = { force: false, keepFence: true };
  await stage.finish((controller) => controller.undoFailover('web-replica', keeping, options));
  const { leftFencedNics } = await stage.replica();
  assert.equal(leftFencedNics?.length, 1);
  await stage.loseData();
  await rebuild(stage);
  assert.deepEqual((await stage.replica()).leftFencedNics, leftFencedNics);
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.ok(stage.vm.isConnected);
  await stage.replicate();
  await stage.loseData();
  await rebuild(stage);
  assert.deepEqual((await stage.replica()).leftFencedNics, []);
  await quiet(stage);
});

test('archives come back, over one another, and are not swept at once', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await stage.failover('latest', 'power-off');
  await stage.undo();
  const [first] = (await stage.replica()).archives;
  assert.ok(first);
  const order = { ...failoverOrder('latest', 'power-off'), archive: first.branchId };
  await stage.finish((controller) => controller.failover('web-replica', order, options));
  await stage.undo();
  const before = (await stage.replica()).archives;
  await stage.world.clock.advance(25 * 3600 * 1000);
  await stage.loseData();
  await rebuild(stage);
  const { archives } = await stage.replica();
  const shape = (list: typeof archives) =>
    list.map(({ archivedAt: _a, keepUntil: _k, ...rest }) => rest);
  assert.deepEqual(shape(archives), shape(before));
  await stage.sweep();
  assert.equal((await stage.replica()).archives.length, 2);
  await stage.world.clock.advance(31 * 24 * 3600 * 1000);
  await stage.sweep();
  assert.deepEqual((await stage.replica()).archives, []);
  await quiet(stage);
});

test('a branch that no VM is on is kept as an archive, and said', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  stage.world.faults.on('recovery.hypervisor.defineReplica', 1, 'crash-before');
  const begun = stage.life.controller.failover('web-replica', failoverOrder('latest'), options);
  await stage.run(begun);
  await stage.until(() => stage.life.view.isDead());
  await stage.loseData();
  const report = await rebuild(stage);
  assert.equal(report.folders[0]?.phase, 'Ready');
  assert.match(report.folders[0]?.notes.join() ?? '', /kept as an archive/);
  assert.equal((await stage.replica()).archives.length, 1);
  assert.equal((await stage.replicate()).state, 'succeeded');
  await quiet(stage);
});

test('older folders say nothing: the source host is asked for, the job made anew takes it over', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  const before = await stage.replica();
  const folder = stage.recovery.replicas.get(before.id);
  assert.ok(folder);
  folder.about = null;
  await stage.loseData();
  const refused = await rebuild(stage);
  assert.equal(refused.folders[0]?.outcome, 'skipped');
  assert.match(refused.folders[0]?.notes[0] ?? '', /--source-host/);
  const report = await rebuild(stage, { sourceHost: 'production' });
  assert.equal(report.folders[0]?.outcome, 'rebuilt');
  const { jobId, sourceVmId, targetVmId } = await stage.replica();
  assert.deepEqual([jobId, sourceVmId, targetVmId], [null, before.sourceVmId, before.targetVmId]);
  await stage.protect({});
  assert.notEqual((await stage.replica()).jobId, null);
  assert.equal((await stage.replica()).id, before.id);
  assert.equal((await stage.replicate()).state, 'succeeded');
  const newest = (await stage.life.ports.catalog.points(before.id)).at(-1);
  assert.equal(newest?.disks[0]?.transfer, 'incremental');
  await quiet(stage);
});

test('a host that is away is told, and what is permanent or was removed is left alone', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await stage.loseData();
  stage.recovery.isUnreachable = true;
  const away = await rebuild(stage);
  assert.deepEqual(away.folders, []);
  assert.deepEqual(
    away.unreachable.map(({ hostName }) => hostName),
    ['recovery'],
  );
  stage.recovery.isUnreachable = false;
  await rebuild(stage);
  await stage.finish((controller) => controller.removeReplica('web-replica', options));
  const removed = await rebuild(stage);
  assert.equal(removed.folders[0]?.outcome, 'skipped');
  await stage.loseData();
  await rebuild(stage);
  await stage.failover('latest', 'power-off');
  await stage.finish((controller) => controller.permanentFailover('web-replica', options));
  await stage.loseData();
  const permanent = await rebuild(stage);
  assert.equal(permanent.folders[0]?.outcome, 'skipped');
  assert.match(permanent.folders[0]?.notes[0] ?? '', /permanent/);
});

test('a controller that was not lost after all is shut out', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  const { id, epoch } = await stage.replica();
  await stage.loseData();
  await rebuild(stage);
  await stage.replicate();
  const { store } = await stage.life.view.hosts.commands(stage.recovery.id);
  const old = { key: 'op-old/step' as never, replicaId: id, epoch };
  await assert.rejects(stage.run(store.tidy(old, options)), { code: 'epoch-refused' });
  assert.ok(
    readPoint(stage.recovery, id, (await stage.replica()).newestPointId ?? ('' as never), VDA),
  );
});

test('interrupted anywhere, nothing has happened or everything; repeated, it is all there', async (t) => {
  let count = 0;
  for (const trouble of ['crash-before', 'crash-after', 'fail'] as const) {
    for (let nth = 1; ; nth += 1) {
      await using stage = await Stage.open();
      await withPoints(stage);
      await stage.failover('latest', 'power-off');
      const { failover } = await stage.replica();
      await stage.loseData();
      stage.world.faults.on('*', nth, trouble);
      const before = stage.world.faults.happened.length;
      await rebuild(stage).catch(() => null); // a dead controller answers nobody
      if (stage.world.faults.happened.length === before) break;
      count += 1;
      if (stage.life.view.isDead()) await stage.restart();
      const [half] = await stage.life.ports.catalog.replicas();
      const points = half === undefined ? [] : await stage.life.ports.catalog.points(half.value.id);
      assert.equal(points.length, half === undefined ? 0 : 3, 'one transaction');
      await rebuild(stage);
      const after = await stage.replica();
      assert.equal(after.failover?.branchId, failover?.branchId);
      assert.equal((await stage.undo()).state, 'succeeded');
      assert.equal(stage.vm.power, 'running');
      assert.equal((await stage.replicate()).state, 'succeeded');
      await quiet(stage);
    }
  }
  assert.ok(count > 0);
  t.diagnostic(`${count} times, always to a sound end`);
});
