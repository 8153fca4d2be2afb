/** A host that keeps VMs whose replicas serve from starting: held and let go by every operation, and by the watch where a host was away. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { watchSources } from '../../src/engine/watch-sources.ts';
import { reloadHost } from '../../src/simulator/start-guard.ts';
import { undoing } from './failback-stage.ts';
import { failoverOrder, options, Stage, VDA } from './stage.ts';

const HELD = { code: 'start-held' };

async function guarded(): Promise<Stage> {
  const stage = await Stage.open();
  await stage.protect();
  stage.vm.write(VDA, 1, 'one');
  await stage.replicate();
  await install(stage);
  return stage;
}

async function install(stage: Stage): Promise<void> {
  const { controller } = stage.life;
  const { state } = await stage.run(controller.installGuard('production', null, options));
  assert.equal(state, 'dormant');
  reloadHost(stage.production);
  assert.equal((await stage.run(controller.guard('production', options))).state, 'active');
}

async function held(stage: Stage): Promise<readonly (string | null)[]> {
  const view = await stage.run(stage.life.controller.guard('production', options));
  return view.held.map(({ vmName }) => vmName);
}

const lift = (stage: Stage, vm = 'web') =>
  stage.run(stage.life.controller.liftGuard('production', vm, options));

test('a failover holds its source, an undo lets it go before it is started', async () => {
  await using stage = await guarded();
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  assert.deepEqual(await held(stage), ['web']);
  assert.throws(() => stage.vm.start(), HELD);
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.equal(stage.vm.power, 'running');
  assert.deepEqual(await held(stage), []);
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('a trial beside the running source, or an accepted duplicate, holds nobody', async () => {
  for (const acceptDuplicate of [false, true]) {
    await using stage = await guarded();
    const order = { ...failoverOrder('latest'), acceptDuplicate };
    await stage.finish((c) => c.failover('web-replica', order, options));
    await stage.watch();
    assert.deepEqual(await held(stage), []);
  }
});

test('a host that was away is told as soon as it answers, and one that missed the undo lets go', async () => {
  await using stage = await guarded();
  stage.vm.losePower();
  stage.production.isUnreachable = true;
  assert.equal((await stage.failover()).state, 'succeeded');
  await stage.watch();
  stage.production.isUnreachable = false;
  assert.deepEqual(await held(stage), []);
  await stage.watch();
  assert.deepEqual(await held(stage), ['web']);
  assert.throws(() => stage.vm.start(), HELD);

  stage.production.isUnreachable = true;
  const undone = await stage.undo();
  assert.equal(undone.state, 'succeeded');
  const history = await stage.life.ports.durable.history(undone.id, 0);
  assert.ok(history.some(({ message }) => message?.includes('still kept from starting') === true));
  await stage.watch();
  stage.production.isUnreachable = false;
  assert.throws(() => stage.vm.start(), HELD);
  await stage.watch();
  assert.deepEqual(await held(stage), []);
  stage.vm.start();
});

test('a guard that cannot be told fails no failover, and its history says so', async () => {
  await using stage = await guarded();
  stage.vm.stop();
  for (const kind of ['fail', 'hang'] as const) {
    stage.world.faults.on('production.startGuard.hold', 1, kind);
    const done = await stage.failover();
    assert.equal(done.state, 'succeeded', done.error?.message);
    const history = await stage.life.ports.durable.history(done.id, 0);
    assert.ok(
      history.some(({ message }) => message?.includes('not kept from starting yet') === true),
    );
    await stage.watch();
    assert.deepEqual(await held(stage), ['web']);
    await stage.undo();
  }
});

test('fence holds, unfence lets go and so it stays', async () => {
  await using stage = await guarded();
  await stage.failover('latest', 'power-off');
  const unfenced = await stage.finish((c) => c.unfenceSource('web-replica', true, options));
  assert.equal(unfenced.state, 'succeeded', unfenced.error?.message);
  assert.equal(stage.vm.power, 'running');
  await stage.watch();
  assert.deepEqual(await held(stage), []);
  await stage.finish((c) => c.fenceSource('web-replica', 'power-off', options));
  assert.deepEqual(await held(stage), ['web']);
  assert.throws(() => stage.vm.start(), HELD);
});

test('a planned failover that goes back starts its source again', async () => {
  await using stage = await guarded();
  stage.world.faults.on('recovery.hypervisor.start', 1, 'fail');
  stage.world.faults.on('recovery.hypervisor.start', 2, 'fail');
  const order = {
    reason: '',
    passesMax: 2,
    lastDeltaMsMax: 5000,
    shutdownDeadlineMs: 60_000,
    onMissedDeadline: 'give-up',
  } as const;
  const planned = () => stage.finish((c) => c.plannedFailover('web-replica', order, options));
  assert.equal((await planned()).state, 'failed');
  assert.equal(stage.vm.power, 'running');
  assert.deepEqual(await held(stage), []);
  stage.world.faults.clear();
  assert.equal((await planned()).state, 'succeeded');
  assert.throws(() => stage.vm.start(), HELD);
});

test('production takes over at the switchover; undone, it is held again before the replica starts', async () => {
  await using stage = await guarded();
  await stage.failover('latest', 'power-off');
  const order = {
    to: { type: 'original' },
    switchover: { type: 'manual' },
    applyChanges: false,
    discardSavedState: false,
    shutdownDeadlineMs: 120_000,
  } as const;
  await failBack(stage, order);
  assert.equal((await stage.replica()).phase, 'Failback');
  assert.equal(stage.vm.power, 'running');
  assert.deepEqual(await held(stage), []);
  await stage.watch();
  assert.deepEqual(await held(stage), []);
  const undone = await stage.finish((c) => c.undoFailback('web-replica', undoing(false), options));
  assert.equal(undone.state, 'succeeded', undone.error?.message);
  assert.deepEqual(await held(stage), ['web']);
  assert.throws(() => stage.vm.start(), HELD);
  await failBack(stage, order);
  await stage.finish((c) => c.commitFailback('web-replica', options));
  await stage.watch();
  assert.deepEqual(await held(stage), []);
  assert.equal((await stage.replica()).phase, 'Ready');
});

async function failBack(
  stage: Stage,
  order: Parameters<Stage['life']['controller']['failback']>[1],
) {
  const done = await stage.finish((c) => c.failback('web-replica', order, options));
  assert.equal(done.state, 'succeeded', done.error?.message);
  const shutdown = { shutdownDeadlineMs: 60_000, onMissedDeadline: 'power-off' } as const;
  const switched = await stage.finish((c) => c.switchOver('web-replica', shutdown, options));
  assert.equal(switched.state, 'succeeded', switched.error?.message);
}

test('after a permanent failover the old source stays held until a person lets it go', async () => {
  await using stage = await guarded();
  stage.vm.stop();
  await stage.failover();
  await stage.finish((c) => c.permanentFailover('web-replica', options));
  await stage.watch();
  assert.deepEqual(await held(stage), ['web']);
  assert.throws(() => stage.vm.start(), /took its place for good/);
  assert.deepEqual((await lift(stage)).held, []);
  await stage.watch();
  stage.vm.start();
  await assert.rejects(lift(stage, 'nobody'), { code: 'vm-missing' });
});

test('a guard that goes frees what it held, and keeps its host from being forgotten', async () => {
  await using stage = await guarded();
  stage.vm.stop();
  await stage.failover();
  const { controller } = stage.life;
  await stage.run(controller.removeGuard('production', options));
  stage.vm.start();
  stage.vm.stop();
  await stage.watch();
  const view = await stage.run(controller.guard('production', options));
  assert.deepEqual([view.state, view.held, view.host.startGuard], ['absent', [], null]);
  await install(stage);
  const shared = stage.run(controller.installGuard('recovery', null, options));
  await assert.rejects(shared, /holds the hooks of host production/);
  await stage.run(controller.installGuard('recovery', '/opt/hooks', options));
  await stage.life.ports.catalog.apply(
    (await stage.life.ports.catalog.replicas()).map(({ value, version }) => {
      const replica = { ...value, phase: 'Removed', failover: null } as const;
      return { type: 'replica-saved', replica, expectedVersion: version };
    }),
  );
  await stage.run(controller.deleteJob('nightly', options));
  const refused = stage.run(controller.removeHost('recovery', options));
  await assert.rejects(refused, /start guard/);
});

test('an old copy of the controller can neither hold nor let go', async () => {
  await using stage = await guarded();
  stage.vm.stop();
  await stage.failover();
  using old = stage.oldCopy();
  await stage.undo();
  stage.vm.stop();
  await stage.failover();
  const before = [...stage.production.held.values()];
  await stage.run(watchSources(old.ports, { ...options, onReturned: () => undefined }));
  assert.deepEqual([...stage.production.held.values()], before);
});

test('killed before or after the host was told, it goes on, and the host holds what it should', async () => {
  for (const method of ['hold', 'release'] as const) {
    for (const kind of ['crash-before', 'crash-after', 'away-before', 'power-after'] as const) {
      await using stage = await guarded();
      stage.vm.stop();
      if (method === 'release') await stage.failover();
      stage.world.faults.on(`production.startGuard.${method}`, 1, kind);
      const act = method === 'hold' ? stage.failover() : stage.undo();
      await act.catch(() => undefined); // the controller died
      if (stage.life.view.isDead()) await stage.restart();
      await stage.settleAll();
      await stage.world.clock.advance(10 * 60_000);
      await stage.watch();
      const what = `${method} ${kind}`;
      assert.deepEqual(await held(stage), method === 'hold' ? ['web'] : [], what);
      assert.equal((await stage.replica()).phase, method === 'hold' ? 'Failover' : 'Ready', what);
      assert.deepEqual(await stage.violations('whenIdle'), [], what);
      if (method === 'hold') assert.throws(() => stage.vm.start(), HELD);
      else stage.vm.start();
    }
  }
});

test('a source that comes up while its failover still waits for the guest is told', async () => {
  await using stage = await Stage.open(1, { hasAgent: true, bootMs: 3_600_000 });
  await stage.protect();
  await stage.replicate();
  stage.production.isUnreachable = true;
  const { controller, ports } = stage.life;
  const begun = await stage.run(
    controller.failover('web-replica', failoverOrder('latest'), options),
  );
  await stage.world.clock.advance(60_000);
  stage.production.isUnreachable = false;
  const told: string[] = [];
  await stage.run(watchSources(ports, { ...options, onReturned: (text) => void told.push(text) }));
  assert.equal((await ports.durable.operation(begun.id))?.state, 'running');
  assert.equal(told.length, 1);
});
