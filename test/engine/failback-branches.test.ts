/** Failback of what ran on an archive, or hopped there: all that the replica has comes home, not only its own branch. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertTookOver, commit, done, failback, replicaVm, switchOver } from './failback-stage.ts';
import { failoverOrder, options, Stage, VDA, VDB } from './stage.ts';

/** Points with `run-N` in block N, the last one `keepLast`; an archive over the second newest with block 10. */
async function withArchive(stage: Stage, keepLast: number): Promise<string> {
  const { id } = await stage.protect({ retention: { keepLast, tiers: [] } });
  for (let run = 0; run < 3; run += 1) {
    stage.vm.write(VDA, run, `run-${run}`);
    await stage.replicate();
  }
  const points = await stage.life.ports.catalog.points(id);
  await stage.failover(points.at(-2)?.id ?? '', 'power-off');
  replicaVm(stage).write(VDA, 10, 'in the archive');
  await stage.undo();
  return (await stage.replica()).archives[0]?.branchId ?? '';
}

async function goHome(stage: Stage): Promise<void> {
  await failback(stage);
  await switchOver(stage);
  await assertTookOver(stage);
  await commit(stage);
  assert.equal((await stage.replica()).phase, 'Ready');
  assert.equal((await stage.replicate()).state, 'succeeded');
  assert.deepEqual(await stage.violations('whenIdle'), []);
}

async function onArchive(stage: Stage, archive: string): Promise<void> {
  const order = { ...failoverOrder('latest', 'power-off'), archive };
  await done(stage, (controller) => controller.failover('web-replica', order, options));
  replicaVm(stage).write(VDB, 3, 'in the branch');
}

test('from an archive: what the archive wrote comes home, too', async () => {
  await using stage = await Stage.open();
  const archive = await withArchive(stage, 5);
  stage.vm.write(VDA, 12, 'never replicated');
  await onArchive(stage, archive);
  await goHome(stage);
  assert.deepEqual(
    [1, 2, 10, 12].map((block) => stage.vm.read(VDA, block)),
    ['run-1', 'boot-2', 'in the archive', 'boot-12'],
  );
  assert.equal(stage.vm.read(VDB, 3), 'in the branch');
});

test('after a hop: what counts is where the replica is now', async () => {
  await using stage = await Stage.open();
  await withArchive(stage, 5);
  await stage.failover('latest', 'power-off');
  replicaVm(stage).write(VDA, 11, 'left behind');
  const [oldest] = await stage.life.ports.catalog.points((await stage.replica()).id);
  const order = failoverOrder(oldest?.id ?? '');
  await done(stage, (controller) => controller.hop('web-replica', order, options));
  replicaVm(stage).write(VDB, 3, 'after the hop');
  await goHome(stage);
  assert.deepEqual(
    [0, 1, 2, 11].map((block) => stage.vm.read(VDA, block)),
    ['run-0', 'boot-1', 'boot-2', 'boot-11'],
  );
  assert.equal(stage.vm.read(VDB, 3), 'after the hop');
});

test('from an archive whose point retention took: all of it comes home, and the next run begins anew', async () => {
  await using stage = await Stage.open();
  const archive = await withArchive(stage, 2);
  for (const value of ['four', 'five', 'six']) {
    stage.vm.write(VDA, 4, value);
    await stage.replicate();
  }
  const { id, archives } = await stage.replica();
  const points = await stage.life.ports.catalog.points(id);
  assert.ok(!points.some((point) => point.id === archives[0]?.pointId));
  await onArchive(stage, archive);
  await goHome(stage);
  assert.deepEqual(
    [1, 2, 4, 10].map((block) => stage.vm.read(VDA, block)),
    ['run-1', 'boot-2', 'boot-4', 'in the archive'],
  );
  assert.equal(stage.vm.read(VDB, 3), 'in the branch');
});
