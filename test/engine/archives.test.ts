/** What failovers left behind: hopping between points, failing over to an archive again, keeping, deleting, exporting. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BranchId } from '../../src/domain/ids.ts';
import { instant } from '../../src/domain/instant.ts';
import type { Controller } from '../../src/ports/controller.ts';
import { differenceBetween, readBranch, readPoint } from '../../src/simulator/observation.ts';
import { failoverOrder, options, Stage, VDA, VDB } from './stage.ts';

async function quiet(stage: Stage): Promise<void> {
  assert.deepEqual(await stage.violations('whenIdle'), []);
}

/** Points `one`, `two`, `three` in block 1. */
async function withPoints(stage: Stage, keepLast = 5): Promise<readonly string[]> {
  const { id } = await stage.protect({ retention: { keepLast, tiers: [] } });
  for (const value of ['one', 'two', 'three']) {
    stage.vm.write(VDA, 1, value);
    await stage.replicate();
  }
  return (await stage.life.ports.catalog.points(id)).map((point) => point.id);
}

function replicaVm(stage: Stage) {
  const found = [...stage.recovery.vms.values()].find((vm) => vm.state.replicaId !== null);
  return found ?? assert.fail('the replica VM is not defined');
}

function hop(stage: Stage, point: string, archive: string | null = null) {
  return stage.finish((controller) =>
    controller.hop('web-replica', { ...failoverOrder(point), archive }, options),
  );
}

function failoverToArchive(stage: Stage, archive: string) {
  const order = { ...failoverOrder('latest', 'power-off'), archive };
  return stage.finish((controller) => controller.failover('web-replica', order, options));
}

async function archivesOf(stage: Stage): Promise<readonly BranchId[]> {
  return (await stage.replica()).archives.map(({ branchId }) => branchId);
}

/** What the archive reads in block 1 and 9 of the first disk. */
async function told(stage: Stage, archive: BranchId) {
  const { id } = await stage.replica();
  const content = readBranch(stage.recovery, id, archive, VDA)?.content;
  return [content?.get(1), content?.get(9)];
}

test('hop: from point to point and back, each stretch archived, undo to the source', async () => {
  await using stage = await Stage.open();
  const [one, two] = await withPoints(stage);
  await stage.failover('latest', 'power-off');
  replicaVm(stage).write(VDA, 9, 'on three');
  const before = await stage.replica();
  assert.equal((await hop(stage, one ?? '')).state, 'succeeded');
  const after = await stage.replica();
  assert.equal(after.phase, 'Failover');
  assert.ok(after.epoch > before.epoch);
  assert.equal(after.failover?.pointId, one);
  assert.equal(after.failover?.fence, 'power-off', 'an undo still lifts it');
  assert.equal(after.failover?.isConnected, true);
  assert.notEqual(after.failover?.runningAfterMs, null);
  assert.equal(replicaVm(stage).power, 'running');
  assert.equal(replicaVm(stage).read(VDA, 1), 'one');
  replicaVm(stage).write(VDA, 9, 'on one');
  assert.equal((await hop(stage, two ?? '')).state, 'succeeded');
  assert.equal(replicaVm(stage).read(VDA, 1), 'two');
  const [first, second] = await archivesOf(stage);
  assert.deepEqual(await told(stage, first as BranchId), ['three', 'on three']);
  assert.deepEqual(await told(stage, second as BranchId), ['one', 'on one']);
  assert.deepEqual(await stage.violations('everyStep'), []);
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.equal(stage.vm.power, 'running');
  assert.equal((await archivesOf(stage)).length, 3);
  stage.vm.write(VDA, 2, 'after all that');
  assert.equal((await stage.replicate()).state, 'succeeded');
  const newest = (await stage.life.ports.catalog.points(after.id)).at(-1);
  assert.deepEqual(
    newest?.disks.map((disk) => disk.transfer),
    ['incremental', 'incremental'],
  );
  await quiet(stage);
});

test('a dry run names the archive that it would go on from', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await stage.failover('latest', 'power-off');
  await stage.undo();
  const [archive] = await archivesOf(stage);
  const preview = (order: Parameters<Controller['previewFailover']>[1]) =>
    stage.run(stage.life.controller.previewFailover('web-replica', order, options));
  const order = failoverOrder('latest');
  assert.equal((await preview(order)).archiveId, null);
  assert.equal((await preview({ ...order, archive: archive ?? '' })).archiveId, archive);
});

test('a hop that fails brings the replica back where it was, running', async () => {
  for (const call of ['store.createBranch', 'hypervisor.defineReplica']) {
    await using stage = await Stage.open();
    const [one] = await withPoints(stage);
    await stage.failover('latest', 'power-off');
    replicaVm(stage).write(VDA, 9, 'kept');
    const { failover } = await stage.replica();
    stage.world.faults.on(`recovery.${call}`, 1, 'fail', { code: 'target-full' });
    assert.equal((await hop(stage, one ?? '')).state, 'failed', call);
    const after = await stage.replica();
    assert.deepEqual(after.failover, failover);
    assert.equal(replicaVm(stage).power, 'running', call);
    assert.equal(replicaVm(stage).isConnected, true, call);
    assert.deepEqual(
      [1, 9].map((at) => replicaVm(stage).read(VDA, at)),
      ['three', 'kept'],
    );
    assert.deepEqual(after.archives, []);
    await stage.sweep();
    await quiet(stage);
    assert.equal((await stage.undo()).state, 'succeeded');
  }
});

test('a hop whose start fails is suspended, and can be retried, hopped on or undone', async () => {
  await using stage = await Stage.open();
  const [one, two] = await withPoints(stage);
  await stage.failover('latest', 'power-off');
  for (const nth of [1, 2]) stage.world.faults.on('recovery.hypervisor.start', nth, 'fail');
  const stuck = await hop(stage, one ?? '');
  assert.equal(stuck.state, 'suspended');
  assert.equal((await stage.replica()).failover?.pointId, one);
  const retried = await stage.finish((controller) => controller.retryOperation(stuck.id, options));
  assert.equal(retried.state, 'succeeded');
  assert.equal(replicaVm(stage).read(VDA, 1), 'one');
  for (const nth of [1, 2]) stage.world.faults.on('recovery.hypervisor.start', nth, 'fail');
  assert.equal((await hop(stage, two ?? '')).state, 'suspended');
  assert.equal((await stage.undo()).state, 'succeeded', 'undone though never started');
  assert.equal((await stage.replicate()).state, 'succeeded');
  await quiet(stage);
});

test('a hop beside a source that runs again starts disconnected', async () => {
  await using stage = await Stage.open();
  const [one] = await withPoints(stage);
  await stage.failover('latest', 'power-off');
  stage.vm.start();
  const preview = await stage.run(
    stage.life.controller.previewHop('web-replica', failoverOrder(one ?? ''), options),
  );
  assert.equal(preview.refusedBecause, null);
  assert.equal(preview.willConnectNics, false);
  assert.match(preview.warnings[0] ?? '', /set aside/);
  assert.equal((await hop(stage, one ?? '')).state, 'succeeded');
  assert.equal((await stage.replica()).failover?.isConnected, false);
  assert.deepEqual(await stage.violations('everyStep'), []);
});

test('failing over to an archive again: exact, and the archive survives that failover and its undo', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await stage.failover('latest', 'power-off');
  replicaVm(stage).write(VDA, 9, 'first stretch');
  await stage.undo();
  const [first] = await archivesOf(stage);
  assert.ok(first);
  assert.equal((await failoverToArchive(stage, first)).state, 'succeeded');
  const vm = replicaVm(stage);
  assert.deepEqual(
    [1, 9].map((at) => vm.read(VDA, at)),
    ['three', 'first stretch'],
  );
  vm.write(VDA, 9, 'second stretch');
  const running = await stage.replica();
  assert.equal(running.failover?.overBranchId, first);
  const refused = stage.life.controller.deleteArchive('web-replica', first, options);
  await assert.rejects(stage.run(refused), { code: 'branch-needed' });
  assert.equal((await stage.undo()).state, 'succeeded');
  const [, second] = await archivesOf(stage);
  assert.deepEqual(await told(stage, first), ['three', 'first stretch']);
  assert.deepEqual(await told(stage, second as BranchId), ['three', 'second stretch']);
  assert.equal((await stage.replicate()).state, 'succeeded');
  await quiet(stage);
});

test('an archive outlives its point, and can still be failed over to', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 1);
  await stage.failover('latest', 'power-off');
  replicaVm(stage).write(VDB, 3, 'only here');
  const { failover } = await stage.replica();
  await stage.undo();
  for (const value of ['four', 'five']) {
    stage.vm.write(VDA, 1, value);
    await stage.replicate();
  }
  const points = await stage.life.ports.catalog.points((await stage.replica()).id);
  assert.ok(!points.some(({ id }) => id === failover?.pointId), 'retention took the point');
  const [archive] = await archivesOf(stage);
  assert.equal((await failoverToArchive(stage, archive ?? '')).state, 'succeeded');
  assert.equal(replicaVm(stage).read(VDA, 1), 'three');
  assert.equal(replicaVm(stage).read(VDB, 3), 'only here');
  await stage.undo();
  await quiet(stage);
});

test('permanent on a branch over an archive: everything that it reads is its own', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await stage.failover('latest', 'power-off');
  replicaVm(stage).write(VDA, 9, 'in the archive');
  await stage.undo();
  const [archive] = await archivesOf(stage);
  await failoverToArchive(stage, archive ?? '');
  replicaVm(stage).write(VDA, 10, 'in the branch');
  const done = await stage.finish((controller) =>
    controller.permanentFailover('web-replica', options),
  );
  assert.equal(done.state, 'succeeded', done.error?.message);
  const vm = replicaVm(stage);
  assert.deepEqual(
    [1, 9, 10].map((at) => vm.read(VDA, at)),
    ['three', 'in the archive', 'in the branch'],
  );
});

test('the sweeper takes archives when their time is over, never what something lies over', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await stage.failover('latest', 'power-off');
  await stage.undo();
  const [first] = await archivesOf(stage);
  await failoverToArchive(stage, first ?? '');
  await stage.world.clock.advance(25 * 3600 * 1000);
  await stage.sweep();
  assert.deepEqual(await archivesOf(stage), [first], 'the replica runs on it');
  await stage.undo();
  await stage.sweep();
  assert.equal((await archivesOf(stage)).length, 2, 'the younger archive lies over it');
  await stage.world.clock.advance(25 * 3600 * 1000);
  await stage.sweep();
  assert.deepEqual(await archivesOf(stage), []);
  await quiet(stage);
});

test('keep and delete: longer than the job says, or gone now', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await stage.failover('latest', 'power-off');
  await stage.undo();
  const [archive] = await archivesOf(stage);
  const name = archive?.slice(0, 8) ?? '';
  const begin = (run: (controller: Controller) => ReturnType<Controller['hop']>) =>
    stage.finish(run);
  const until = instant(stage.world.clock.now() + 3 * 24 * 3600 * 1000);
  const kept = await begin((its) => its.keepArchive('web-replica', name, until, options));
  assert.equal(kept.state, 'succeeded');
  const past = instant(1);
  const refused = stage.life.controller.keepArchive('web-replica', name, past, options);
  await assert.rejects(stage.run(refused), { code: 'invalid-request' });
  await stage.world.clock.advance(2 * 24 * 3600 * 1000);
  await stage.sweep();
  assert.deepEqual(await archivesOf(stage), [archive]);
  const [view] = await stage.run(stage.life.controller.archives('web-replica', options));
  assert.equal(view?.archive.keepUntil, until);
  assert.equal(view?.isPointThere, true);
  assert.equal(view?.bytes, 0);
  const gone = await begin((its) => its.deleteArchive('web-replica', name, options));
  assert.equal(gone.state, 'succeeded');
  assert.deepEqual(await archivesOf(stage), []);
  await quiet(stage);
});

test('archives are listed and compared, and listed also while their host is away', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await stage.failover('latest', 'power-off');
  for (const block of [4, 5, 9]) replicaVm(stage).write(VDA, block, `new-${block}`);
  await stage.undo();
  const { controller } = stage.life;
  const [archive] = await archivesOf(stage);
  const diff = await stage.run(controller.archiveDiff('web-replica', archive ?? '', options));
  const block = 65_536;
  assert.deepEqual(
    diff.disks.map(({ key, writtenBytes, ranges }) => [key, writtenBytes, ranges]),
    [
      [
        VDA,
        3 * block,
        [
          { offset: 4 * block, length: 2 * block, isZero: false },
          { offset: 9 * block, length: block, isZero: false },
        ],
      ],
      [VDB, 0, []],
    ],
  );
  stage.recovery.isUnreachable = true;
  const [away] = await stage.run(controller.archives('web-replica', options));
  assert.equal(away?.bytes, null);
  assert.match(away?.unknownBecause ?? '', /does not answer/);
});

test('an export is exact, stands alone, and does not hold up replication', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 2);
  const { id } = await stage.replica();
  const points = await stage.life.ports.catalog.points(id);
  const [oldest] = points;
  assert.ok(oldest);
  const wanted = readPoint(stage.recovery, id, oldest.id, VDA);
  stage.world.link(stage.recovery.id, stage.recovery.id).bytesPerSecond = 100_000;
  const { controller, ports } = stage.life;
  const selector = { type: 'reference', reference: oldest.id } as const;
  const begun = await stage.run(controller.exportPoint('web-replica', selector, options));
  await stage.until(() => stage.world.faults.calls('recovery.mover.transfer') > 6);
  stage.vm.write(VDA, 1, 'while it is copied');
  assert.equal((await stage.replicate()).state, 'succeeded');
  assert.equal((await ports.durable.operation(begun.id))?.state, 'running', 'still copying');
  const left = await ports.catalog.points(id);
  assert.ok(
    left.some((point) => point.id === oldest.id),
    'retention has to wait for it',
  );
  const done = await stage.run(ports.durable.settled(begun.id, options));
  assert.equal(done.state, 'succeeded', done.error?.message);
  const [exported] = stage.recovery.exports.values();
  const image = exported?.disks.get(VDA);
  assert.ok(image && wanted);
  assert.equal(image.backing, null);
  const found = { sizeBytes: image.sizeBytes, content: image.blocks };
  assert.equal(differenceBetween(found, wanted), null);
  await stage.replicate();
  const kept = await ports.catalog.points(id);
  assert.ok(!kept.some((point) => point.id === oldest.id), 'and takes it then');
  await stage.sweep();
  await quiet(stage);
});

test('an archive that is being exported cannot be deleted', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await stage.failover('latest', 'power-off');
  replicaVm(stage).write(VDA, 9, 'only here');
  await stage.undo();
  const [archive] = await archivesOf(stage);
  assert.ok(archive);
  stage.world.link(stage.recovery.id, stage.recovery.id).bytesPerSecond = 100_000;
  const { controller, ports } = stage.life;
  const begun = await stage.run(controller.exportArchive('web-replica', archive, options));
  await stage.until(() => stage.recovery.exports.size === 1);
  const refused = await stage.finish((its) => its.deleteArchive('web-replica', archive, options));
  assert.equal(refused.error?.code, 'operation-in-progress');
  const done = await stage.run(ports.durable.settled(begun.id, options));
  assert.equal(done.state, 'succeeded', done.error?.message);
  const [exported] = stage.recovery.exports.values();
  assert.equal(exported?.disks.get(VDA)?.blocks.get(9), 'only here');
  const gone = await stage.finish((its) => its.deleteArchive('web-replica', archive, options));
  assert.equal(gone.state, 'succeeded');
  await quiet(stage);
});

test('an export that is cancelled leaves nothing', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  stage.world.link(stage.recovery.id, stage.recovery.id).bytesPerSecond = 1000;
  const { controller, ports } = stage.life;
  const begun = await stage.run(controller.exportPoint('web-replica', { type: 'latest' }, options));
  await stage.until(() => stage.recovery.exports.size === 1);
  await stage.run(controller.cancelOperation(begun.id, options));
  const done = await stage.run(ports.durable.settled(begun.id, options));
  assert.equal(done.state, 'cancelled');
  assert.equal(stage.recovery.exports.size, 0);
  await quiet(stage);
});
