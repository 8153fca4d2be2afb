/** The life of a replica, told on a simulated world: the production engine, everything else made of air. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB } from '../../src/domain/bytes.ts';
import { diskKey, hostId } from '../../src/domain/ids.ts';
import { addDisk, losePower, resizeDisk } from '../../src/simulator/calamities.ts';
import { options, Stage, VDA, VDB } from './stage.ts';

async function quiet(stage: Stage): Promise<void> {
  assert.deepEqual(await stage.violations('whenIdle'), []);
}

test('replicate: full, then only what changed, with the reason recorded', async () => {
  await using stage = await Stage.open();
  const replica = await stage.protect();
  assert.equal((await stage.replicate()).state, 'succeeded');
  stage.vm.write(VDA, 3, 'changed');
  assert.equal((await stage.replicate()).state, 'succeeded');
  const points = await stage.life.ports.catalog.points(replica.id);
  const how = points.map((point) =>
    point.disks.map((disk) => `${disk.key} ${disk.transfer}: ${disk.because}`),
  );
  assert.deepEqual(how, [
    ['vda full: there is no restore point yet', 'vdb full: there is no restore point yet'],
    ['vda incremental: its change mark is valid', 'vdb incremental: its change mark is valid'],
  ]);
  assert.equal((await stage.replica()).phase, 'Ready');
  await quiet(stage);
});

test('failover to an older point, undo, incremental again: the chain is as it was', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect();
  for (const value of ['one', 'two', 'three']) {
    stage.vm.write(VDA, 1, value);
    await stage.replicate();
  }
  const [oldest] = await stage.life.ports.catalog.points(id);
  assert.equal((await stage.failover(oldest?.id ?? '')).state, 'succeeded');
  assert.equal((await stage.replica()).phase, 'Failover');
  assert.deepEqual(await stage.violations('everyStep'), []);
  assert.equal((await stage.undo()).state, 'succeeded');
  stage.vm.write(VDA, 2, 'after undo');
  assert.equal((await stage.replicate()).state, 'succeeded');
  const newest = (await stage.life.ports.catalog.points(id)).at(-1);
  assert.deepEqual(
    newest?.disks.map((disk) => disk.transfer),
    ['incremental', 'incremental'],
  );
  await quiet(stage);
});

test('a replica starts disconnected beside a running source, connected when the source is off', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await stage.failover();
  assert.equal((await stage.replica()).failover?.isConnected, false);
  await stage.undo();
  await stage.failover('latest', 'power-off');
  const { failover } = await stage.replica();
  assert.equal(failover?.isConnected, true);
  assert.equal(stage.vm.power, 'off');
  assert.notEqual(failover?.answeringAfterMs, null);
  await stage.undo();
  assert.equal(stage.vm.power, 'running', 'undo lifts the fence');
  await quiet(stage);
});

test('permanent failover: an ordinary VM, its source excluded from the job', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect();
  await stage.replicate();
  await stage.failover('latest', 'power-off');
  const done = await stage.finish((controller) =>
    controller.permanentFailover('web-replica', {
      signal: new AbortController().signal,
      seed: null,
    }),
  );
  assert.equal(done.state, 'succeeded');
  assert.equal((await stage.replica()).phase, 'Permanent');
  assert.deepEqual(await stage.life.ports.catalog.points(id), []);
  const [job] = await stage.life.ports.catalog.jobs();
  assert.match(job?.value.vms[0]?.excludedBecause ?? '', /made permanent/);
  await assert.rejects(stage.replicate(), {
    code: 'vm-excluded',
    message: /`understudy job show nightly`/,
  });
});

test('power lost at the source: marks are gone, the next run compares instead of copying', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect();
  await stage.replicate();
  stage.vm.write(VDA, 5, 'written before the power went');
  losePower(stage.world, stage.production);
  stage.vm.start();
  assert.equal((await stage.replicate()).state, 'succeeded');
  const newest = (await stage.life.ports.catalog.points(id)).at(-1);
  assert.equal(newest?.disks[0]?.transfer, 'resync');
  assert.equal(newest?.disks[0]?.sentBytes, 64 * 1024);
  await quiet(stage);
});

test('a disk grown and a disk added: older points stay, the new disk is copied in full', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect();
  await stage.replicate();
  resizeDisk(stage.vm, VDA, 12 * MIB);
  const vdc = diskKey('vdc');
  addDisk(stage.world, stage.production, stage.vm, { key: vdc, sizeBytes: 4 * MIB });
  stage.vm.write(VDA, 150, 'in the new part');
  stage.vm.write(vdc, 1, 'on the new disk');
  assert.equal((await stage.replicate()).state, 'succeeded');
  const points = await stage.life.ports.catalog.points(id);
  assert.deepEqual(
    points.map((point) => point.disks.length),
    [2, 3],
  );
  assert.deepEqual(
    points.at(-1)?.disks.map((disk) => disk.transfer),
    ['incremental', 'incremental', 'full'],
  );
  await quiet(stage);
});

test('retention keeps what the policy wants and merges the rest away', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect({ retention: { keepLast: 2, tiers: [] } });
  for (let run = 0; run < 5; run += 1) {
    stage.vm.write(VDB, run, `run-${run}`);
    await stage.replicate();
  }
  assert.equal((await stage.life.ports.catalog.points(id)).length, 2);
  await quiet(stage);
});

test('a guest without an agent channel is not waited for', async () => {
  await using stage = await Stage.open(1, { hasAgent: false });
  await stage.protect();
  await stage.replicate();
  const before = stage.world.clock.monotonicMs();
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  assert.ok(stage.world.clock.monotonicMs() - before < 10_000);
  assert.equal((await stage.replica()).failover?.answeringAfterMs, null);
});

test('a full target fails the run, harms nothing, and the next run after making room is exact', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  const { capacityBytes } = stage.recovery.storage;
  stage.recovery.storage.capacityBytes = stage.recovery.storage.usedBytes + 64 * 1024;
  for (let block = 0; block < 40; block += 1) stage.vm.write(VDB, block, `more-${block}`);
  const failed = await stage.replicate();
  assert.equal(failed.state, 'failed');
  assert.equal(failed.error?.code, 'target-full');
  assert.deepEqual(stage.vm.pauses, []);
  await quiet(stage);
  stage.recovery.storage.capacityBytes = capacityBytes;
  assert.equal((await stage.replicate()).state, 'succeeded');
  await quiet(stage);
});

test('a failover does not wait for a run that hangs on the lost site', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  stage.vm.write(VDA, 1, 'never arrives');
  stage.world.faults.on('production.pointSource.freeze', 1, 'hang');
  const { controller, ports } = stage.life;
  const [run] = await stage.run(controller.runJob('nightly', null, options));
  await stage.until(() => stage.world.faults.happened.length === 1);
  stage.production.isUnreachable = true;
  const done = await stage.failover();
  assert.equal(done.state, 'succeeded');
  assert.equal((await ports.durable.operation(run?.id ?? done.id))?.state, 'cancelled');
  const { failover } = await stage.replica();
  assert.equal(failover?.isConnected, true);
  const conditions = await ports.catalog.conditions((await stage.replica()).id);
  assert.deepEqual(
    conditions.map(({ name }) => name),
    ['unfenced-source'],
  );
});

test('forced undo while the target is away: nothing is replicated until it is clean', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect();
  await stage.replicate();
  await stage.failover();
  stage.recovery.isUnreachable = true;
  assert.equal((await stage.undo(false)).state, 'failed');
  assert.equal((await stage.replica()).phase, 'Failover');
  assert.equal((await stage.undo(true)).state, 'succeeded');
  const names = async () => (await stage.life.ports.catalog.conditions(id)).map(({ name }) => name);
  assert.ok((await names()).includes('cleanup-pending'));
  assert.notEqual((await stage.replicate()).state, 'succeeded');
  stage.recovery.isUnreachable = false;
  await stage.settleAll();
  assert.equal((await stage.replicate()).state, 'succeeded');
  assert.ok(!(await names()).includes('cleanup-pending'));
  await quiet(stage);
});

test('the scheduler keeps the RPO and tells a breach before it happens', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect({ isScheduled: true, rpoSeconds: 600 });
  await stage.tick();
  assert.equal((await stage.life.ports.catalog.points(id)).length, 1);
  await stage.world.clock.advance(60_000);
  await stage.tick();
  assert.equal((await stage.life.ports.catalog.points(id)).length, 1, 'not due yet');
  await stage.world.clock.advance(450_000);
  await stage.tick();
  assert.equal((await stage.life.ports.catalog.points(id)).length, 2);
  stage.production.isUnreachable = true;
  for (let minute = 0; minute < 12; minute += 1) {
    await stage.world.clock.advance(60_000);
    await stage.tick();
    const conditions = await stage.life.ports.catalog.conditions(id);
    const told = conditions.find(({ name }) => name === 'rpo-breached');
    const newest = (await stage.life.ports.catalog.points(id)).at(-1);
    const isOld = stage.world.clock.now() - (newest?.takenAt ?? 0) > 600_000;
    if (isOld) assert.ok(told !== undefined && told.since <= (newest?.takenAt ?? 0) + 600_000);
  }
  assert.equal((await stage.life.ports.catalog.points(id)).length, 2);
});

test('a failover does not wait for tidying on a host that hangs', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  stage.vm.write(VDA, 1, 'never arrives');
  const { faults, clock } = stage.world;
  faults.on('recovery.mover.transfer', 1, 'hang');
  for (let nth = 1; nth <= 20; nth += 1) faults.on('production.pointSource.end', nth, 'hang');
  await stage.run(stage.life.controller.runJob('nightly', null, options));
  await stage.until(() => faults.happened.length === 1);
  const askedAt = clock.monotonicMs();
  const done = await stage.failover();
  assert.equal(done.state, 'succeeded');
  const { startedAt } = (await stage.replica()).failover ?? {};
  assert.ok((startedAt ?? 0) - done.createdAt < 5_000);
  assert.ok(clock.monotonicMs() - askedAt < 60_000);
});

test('two replicas of one VM on two targets: both stay incremental', async () => {
  await using stage = await Stage.open();
  const third = stage.world.addHost({ id: hostId('elsewhere') });
  await stage.knowHost(third.id);
  const near = await stage.protect();
  const far = await stage.protect({ name: 'far', targetHost: 'elsewhere', replicaSuffix: '-far' });
  const runs = (name: string) =>
    stage.finish(async (controller) => {
      const [operation] = await controller.runJob(name, null, options);
      if (operation === undefined) throw new Error('no run was started');
      return operation;
    });
  for (let round = 0; round < 3; round += 1) {
    stage.vm.write(VDA, round, `round-${round}`);
    for (const name of ['nightly', 'far']) assert.equal((await runs(name)).state, 'succeeded');
  }
  for (const { id } of [near, far]) {
    const points = await stage.life.ports.catalog.points(id);
    assert.deepEqual(
      points.map((point) => point.disks[0]?.transfer),
      ['full', 'incremental', 'incremental'],
    );
  }
  await quiet(stage);
});
