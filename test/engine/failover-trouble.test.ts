/** Failover and undo when things are not as they should be: no way in without a way out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readBranch } from '../../src/simulator/observation.ts';
import { failoverOrder, options, Stage, VDA } from './stage.ts';

async function withPoints(stage: Stage, count: number, keepLast = 5): Promise<void> {
  await stage.protect({ retention: { keepLast, tiers: [] } });
  for (let run = 0; run < count; run += 1) {
    stage.vm.write(VDA, 1, `run-${run}`);
    await stage.replicate();
  }
}

function replicaVm(stage: Stage) {
  const found = [...stage.recovery.vms.values()].find((vm) => vm.state.replicaId !== null);
  if (found === undefined) throw new Error('the replica VM is not defined');
  return found;
}

test('a source that does not answer cannot be fenced: told at once, and nothing stands in the way', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 1);
  stage.production.isUnreachable = true;
  const refused = await stage.failover('latest', 'power-off');
  assert.equal(refused.state, 'failed');
  assert.equal(refused.error?.code, 'fence-failed');
  assert.equal((await stage.replica()).phase, 'Ready');
  assert.equal((await stage.failover('latest', 'none')).state, 'succeeded');
});

test('a source that was off before stays off, whether the failover fails or is undone', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 1);
  stage.vm.stop();
  stage.world.faults.on('recovery.store.createBranch', 1, 'fail', { code: 'target-full' });
  assert.equal((await stage.failover('latest', 'power-off')).state, 'failed');
  assert.equal(stage.vm.power, 'off', 'after the failed failover');
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  assert.equal((await stage.replica()).failover?.isConnected, true);
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.equal(stage.vm.power, 'off', 'after the undo');
});

test('undo when somebody has undefined the replica VM', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 1);
  await stage.failover();
  const vm = replicaVm(stage);
  vm.stop();
  stage.recovery.vms.delete(vm.id);
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.equal(replicaVm(stage).power, 'off');
  assert.equal((await stage.replicate()).state, 'succeeded');
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('undo when somebody has removed the branch', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 1);
  const { id } = await stage.replica();
  await stage.failover();
  replicaVm(stage).stop();
  stage.recovery.replicas.get(id)?.branches.clear();
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.equal((await stage.replica()).phase, 'Ready');
});

test('permanent when the guest has powered itself off', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 2);
  await stage.failover('latest', 'power-off');
  replicaVm(stage).stop();
  const done = await stage.finish((controller) =>
    controller.permanentFailover('web-replica', options),
  );
  assert.equal(done.state, 'succeeded');
  assert.equal((await stage.replica()).phase, 'Permanent');
});

test('permanent although the point was lost to the catalogue: nothing reads through a layer that goes', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 2);
  const { id } = await stage.replica();
  await stage.failover('latest', 'power-off');
  const pointId = (await stage.replica()).failover?.pointId;
  assert.ok(pointId !== undefined);
  await stage.life.ports.catalog.apply([{ type: 'point-removed', replicaId: id, pointId }]);
  const done = await stage.finish((controller) =>
    controller.permanentFailover('web-replica', options),
  );
  assert.equal(done.state, 'succeeded', done.error?.message);
  assert.equal(replicaVm(stage).read(VDA, 1), 'run-1');
});

test('the latest point is the latest once the run that was in the way has ended', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 1, 1);
  const { controller, ports } = stage.life;
  const { id } = await stage.replica();
  stage.vm.write(VDA, 1, 'just before the disaster');
  stage.vm.state.definition = `${stage.vm.state.definition} `; // so that the replica VM is defined anew
  stage.world.faults.on('recovery.hypervisor.defineReplica', 1, 'slow', { delayMs: 5000 });
  const [run] = await stage.run(controller.runJob('nightly', null, options));
  await stage.until(() => stage.world.faults.happened.length === 1);
  const done = await stage.failover();
  assert.equal((await ports.durable.operation(run?.id ?? done.id))?.state, 'succeeded');
  assert.equal(done.state, 'succeeded', done.error?.message);
  const newest = (await ports.catalog.points(id)).at(-1);
  assert.equal((await stage.replica()).failover?.pointId, newest?.id);
  assert.equal(replicaVm(stage).read(VDA, 1), 'just before the disaster');
});

test('a host that is lost while the guest boots costs the figure, not the failover', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 1);
  const { controller, ports } = stage.life;
  const order = failoverOrder('latest');
  const begun = await stage.run(controller.failover('web-replica', order, options));
  await stage.until(() => stage.world.faults.calls('recovery.hypervisor.guest') > 0);
  stage.recovery.isUnreachable = true;
  const done = await stage.run(ports.durable.settled(begun.id, options));
  assert.equal(done.state, 'succeeded', done.error?.message);
  assert.equal((await stage.replica()).failover?.answeringAfterMs, null);
});

test('a clock that goes back does not keep a failover waiting for its guest', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 1);
  stage.vm.state.guest.hasAgent = false;
  await stage.replicate();
  const { controller, ports } = stage.life;
  const order = failoverOrder('latest');
  const begun = await stage.run(controller.failover('web-replica', order, options));
  await stage.until(() => stage.world.faults.calls('recovery.hypervisor.guest') > 0);
  for (const vm of stage.recovery.vms.values()) vm.state.guest.hasAgent = false;
  stage.world.clock.jumpWall(-30 * 24 * 3600 * 1000);
  const startedMs = stage.world.clock.monotonicMs();
  const done = await stage.run(ports.durable.settled(begun.id, options));
  assert.equal(done.state, 'succeeded');
  assert.ok(stage.world.clock.monotonicMs() - startedMs < 400_000);
});

async function forcedBack(stage: Stage): Promise<void> {
  await withPoints(stage, 1);
  await stage.failover();
  stage.recovery.isUnreachable = true;
  assert.equal((await stage.undo(true)).state, 'succeeded');
  stage.recovery.isUnreachable = false;
}

test('after a forced undo the next run leaves the replica VM at rest', async () => {
  await using stage = await Stage.open();
  await forcedBack(stage);
  assert.equal((await stage.replicate()).state, 'succeeded');
  const { power, state } = replicaVm(stage);
  assert.equal(power, 'off');
  assert.ok(state.disks.every(({ path }) => path.includes('/branches/none/')));
  assert.ok(state.nics.every(({ isConnected }) => !isConnected));
});

test('after a forced undo the target is cleaned up by itself when its host is back', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 2);
  await stage.failover('latest', 'power-off');
  replicaVm(stage).write(VDA, 9, 'before the host was lost');
  stage.recovery.isUnreachable = true;
  assert.equal((await stage.undo(true)).state, 'succeeded');
  assert.deepEqual(await stage.conditionNames(), ['cleanup-pending']);
  assert.equal((await stage.replicate()).state, 'failed', 'nothing is replicated until then');
  const { durable } = stage.life.ports;
  const sweeps = () => durable.operations({ kind: 'sweep', limit: 100 });
  const before = (await sweeps()).length;
  for (let round = 0; round < 20; round += 1) {
    await stage.world.clock.advance(60_000);
    await stage.sweep();
  }
  assert.ok((await sweeps()).length - before <= 4, 'a host that is away for long fills no history');
  replicaVm(stage).write(VDA, 10, 'written while nobody could stop it');
  stage.recovery.isUnreachable = false;
  await stage.world.clock.advance(60_000);
  await stage.sweep();
  assert.deepEqual(await stage.conditionNames(), []);
  assert.equal(replicaVm(stage).power, 'off');
  const [last] = await sweeps();
  const history = await durable.history(last?.id ?? ('' as never), 0);
  const notes = history.filter(({ type }) => type === 'note').map(({ message }) => message);
  assert.match(notes.join(), /was running, connected, when its host answered again/);
  const { id, archives } = await stage.replica();
  const archived = readBranch(stage.recovery, id, archives[0]?.branchId ?? ('' as never), VDA);
  assert.equal(archived?.content.get(10), 'written while nobody could stop it');
  assert.equal((await stage.replicate()).state, 'succeeded');
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('a clean-up that fails is tried again, and the replica VM may be off or gone by then', async () => {
  for (const becomes of ['off', 'gone']) {
    await using stage = await Stage.open();
    await withPoints(stage, 1);
    await stage.failover('latest', 'power-off');
    stage.recovery.isUnreachable = true;
    await stage.undo(true);
    stage.recovery.isUnreachable = false;
    const vm = replicaVm(stage);
    vm.stop();
    if (becomes === 'gone') stage.recovery.vms.delete(vm.id);
    for (let nth = 1; nth <= 4; nth += 1) {
      stage.world.faults.on('recovery.store.archiveBranch', nth, 'fail');
    }
    await stage.sweep();
    assert.deepEqual(await stage.conditionNames(), ['cleanup-pending']);
    await stage.world.clock.advance(20_000);
    await stage.sweep();
    assert.deepEqual(await stage.conditionNames(), [], becomes);
    assert.deepEqual(await stage.violations('whenIdle'), []);
  }
});

test('after a forced undo the next failover cleans up, too', async () => {
  await using stage = await Stage.open();
  await forcedBack(stage);
  assert.equal(replicaVm(stage).power, 'running');
  const done = await stage.failover();
  assert.equal(done.state, 'succeeded', done.error?.message);
  assert.deepEqual(await stage.conditionNames(), []);
});

test('after a forced undo the replica VM may be gone for good', async () => {
  await using stage = await Stage.open();
  await forcedBack(stage);
  const vm = replicaVm(stage);
  vm.stop();
  stage.recovery.vms.delete(vm.id);
  const done = await stage.replicate();
  assert.equal(done.state, 'succeeded', done.error?.message);
  assert.deepEqual(await stage.conditionNames(), []);
});

test('an undo that is stuck on a lost target can be forced without giving it up first', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 1);
  await stage.failover();
  const { controller, ports } = stage.life;
  stage.world.faults.on('recovery.store.archiveBranch', 1, 'slow', { delayMs: 1_000 });
  const begun = await stage.run(controller.undoFailover('web-replica', { force: false }, options));
  await stage.until(() => stage.world.faults.happened.length === 1);
  stage.recovery.isUnreachable = true;
  assert.equal((await stage.run(ports.durable.settled(begun.id, options))).state, 'suspended');
  assert.equal((await stage.undo(true)).state, 'succeeded');
  assert.equal((await stage.replica()).phase, 'Ready');
  assert.ok((await stage.conditionNames()).includes('cleanup-pending'));
});

test('what makes way for a failover says so: who waits for it did not cancel it', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 1);
  const { controller, ports } = stage.life;
  stage.world.faults.on('recovery.store.openReading', 1, 'slow', { delayMs: 5_000 });
  const reading = await stage.run(controller.verify('web-replica', null, options));
  await stage.until(() => stage.world.faults.happened.length === 1);
  assert.equal((await stage.failover()).state, 'succeeded');
  const history = await ports.durable.history(reading.id, 0);
  const request = history.find(({ type }) => type === 'cancel-requested');
  assert.equal(request?.message, 'It makes way for failover.');
});

test('a wish that is refused anyway stops nobody', async () => {
  await using stage = await Stage.open();
  await withPoints(stage, 1);
  await stage.failover();
  const { controller, ports } = stage.life;
  stage.world.faults.on('recovery.store.openReading', 1, 'slow', { delayMs: 5_000 });
  const reading = await stage.run(controller.verify('web-replica', null, options));
  await stage.until(() => stage.world.faults.happened.length === 1);
  await assert.rejects(stage.failover(), { code: 'not-allowed-in-phase' });
  const done = await stage.run(ports.durable.settled(reading.id, options));
  assert.equal(done.state, 'succeeded');
});

test('a failover whose branch cannot be taken back fails all the same: the sweeper comes back for it', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  const { faults } = stage.world;
  faults.on('recovery.hypervisor.defineReplica', 1, 'fail', { code: 'access-denied' });
  for (let nth = 1; nth <= 10; nth += 1) faults.on('recovery.store.deleteBranch', nth, 'fail');
  const done = await stage.failover('latest', 'power-off');
  assert.deepEqual([done.state, done.error?.code], ['failed', 'access-denied']);
  assert.equal(stage.vm.power, 'running', 'its source did not wait for the target');
  faults.clear();
  await stage.sweep();
  assert.deepEqual(await stage.violations('whenIdle'), []);
  assert.equal((await stage.failover()).state, 'succeeded');
});

test('a failover given up on its way back leaves no branch behind', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  const { faults } = stage.world;
  faults.on('recovery.hypervisor.defineReplica', 1, 'fail', { code: 'access-denied' });
  for (let nth = 1; nth <= 10; nth += 1) faults.on('production.hypervisor.start', nth, 'fail');
  const stuck = await stage.failover('latest', 'power-off');
  assert.equal(stuck.state, 'suspended');
  await stage.run(stage.life.controller.cancelOperation(stuck.id, options));
  faults.clear();
  await stage.sweep();
  assert.deepEqual(await stage.violations('whenIdle'), []);
  stage.vm.start();
  assert.equal((await stage.failover()).state, 'succeeded');
});
