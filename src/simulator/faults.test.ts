import assert from 'node:assert/strict';
import { test } from 'node:test';
import { operationId, operationKey, pointId } from '../domain/ids.ts';
import { createCheckers, EMPTY_VIEW } from './checkers.ts';
import { CrashSignal } from './faults.ts';
import {
  createTwoHosts,
  NEVER,
  PRODUCTION,
  RECOVERY,
  REPLICA,
  replicateOnce,
} from './two-hosts.ts';

const START = 'production.hypervisor.start';
const KEY = operationKey(operationId('op-test'), 'step');

async function stoppedVm() {
  const { world, vm } = createTwoHosts();
  vm.stop();
  const controller = world.connect();
  const { hypervisor } = await controller.hosts.commands(PRODUCTION);
  const start = (options = NEVER) =>
    world.clock.run(hypervisor.start({ key: KEY, vmId: vm.id }, options));
  return { world, vm, controller, start };
}

test('fail: nothing is done; the next call is well again', async () => {
  const { world, vm, start } = await stoppedVm();
  world.faults.on(START, 1, 'fail', { code: 'host-unreachable' });
  await assert.rejects(start(), { code: 'host-unreachable' });
  assert.equal(vm.power, 'off');
  await start();
  assert.equal(vm.power, 'running');
  assert.deepEqual(world.faults.happened, [`${START} fail`]);
});

test('fail-after: it is done, and nobody knows', async () => {
  const { world, vm, start } = await stoppedVm();
  world.faults.on(START, 1, 'fail-after');
  await assert.rejects(start(), { code: 'hypervisor-refused' });
  assert.equal(vm.power, 'running');
});

test('hang: no answer until the caller gives up', async () => {
  const { world, vm, start } = await stoppedVm();
  world.faults.on(START, 1, 'hang');
  const stop = new AbortController();
  const started = start({ signal: stop.signal });
  const impatient = world.clock.sleep(10_000, NEVER).then(() => stop.abort());
  await assert.rejects(started, { code: 'cancelled' });
  await impatient;
  assert.equal(vm.power, 'off');
});

test('slow: done late', async () => {
  const { world, start } = await stoppedVm();
  world.faults.on(START, 1, 'slow', { delayMs: 7000 });
  await start();
  assert.equal(world.clock.monotonicMs(), 7500);
});

test('a crash ends a controller with all that it had under way; the next one finds the world as it was', async () => {
  for (const kind of ['crash-before', 'crash-after'] as const) {
    const { world, vm, controller, start } = await stoppedVm();
    let deaths = 0;
    const other = world.connect({ onCrash: () => (deaths += 1) });
    world.faults.on(START, 1, kind);
    const sleeping = controller.clock.sleep(3_600_000, NEVER);
    const asleep = assert.rejects(sleeping, CrashSignal);
    await assert.rejects(start(), CrashSignal);
    await asleep;
    assert.ok(world.clock.monotonicMs() < 3_600_000, 'the dead do not make time pass');
    assert.equal(vm.power, kind === 'crash-before' ? 'off' : 'running');
    await assert.rejects(start(), CrashSignal, 'a dead controller does nothing');
    assert.deepEqual([other.isDead(), deaths], [false, 0]);
    other.kill();
    assert.deepEqual([other.isDead(), deaths], [true, 1]);
  }
});

test('silence: a dead controller never hears back', async () => {
  const { world, vm } = createTwoHosts();
  const controller = world.connect({ crashStyle: 'silence' });
  const { hypervisor } = await controller.hosts.commands(PRODUCTION);
  world.faults.on('*', 1, 'crash-before');
  let isSettled = false;
  const settle = () => {
    isSettled = true;
  };
  hypervisor.power(vm.id, NEVER).then(settle, settle);
  await world.clock.settle();
  await world.clock.advance(1000);
  assert.deepEqual([isSettled, controller.isDead()], [false, true]);
});

test('a run that dies at any call and moment starts over exact, with nothing left behind', async () => {
  const calls = await countCalls();
  assert.ok(calls > 12, `only ${calls} calls`);
  for (let nth = 1; nth <= calls; nth += 1) {
    for (const kind of ['crash-before', 'crash-after'] as const) await dieAndGoOn(nth, kind);
  }
});

async function countCalls(): Promise<number> {
  const { world, vm } = createTwoHosts();
  await world.clock.run(replicateOnce({ controller: world.connect(), vm, name: 'pt-2' }));
  return world.faults.calls('*');
}

/** Starting over as the engine does: what the dead run left is removed by its names, then the run is new. */
async function dieAndGoOn(nth: number, kind: 'crash-before' | 'crash-after'): Promise<void> {
  const { world, vm } = createTwoHosts();
  const checkers = createCheckers();
  await world.clock.run(replicateOnce({ controller: world.connect(), vm, name: 'pt-1' }));
  vm.write(vm.state.disks[0]?.key ?? assert.fail(), 5, 'new');
  world.faults.on('*', nth, kind);
  const doomed = replicateOnce({ controller: world.connect(), vm, name: 'pt-2' });
  await assert.rejects(world.clock.run(doomed), CrashSignal);
  assert.deepEqual(checkers.everyStep(world, EMPTY_VIEW), []);
  const controller = world.connect();
  const { store } = await controller.hosts.commands(RECOVERY);
  const { pointSource } = await controller.hosts.commands(PRODUCTION);
  const freezeKey = operationKey(operationId('pt-2'), 'freeze');
  const command = { key: KEY, replicaId: REPLICA, epoch: 1, pointId: pointId('pt-2') };
  await world.clock.run(pointSource.end({ key: freezeKey, vmId: vm.id }, NEVER));
  await world.clock.run(store.discardPartial(command, NEVER));
  await world.clock.run(replicateOnce({ controller, vm, name: 'pt-3' }));
  assert.deepEqual(checkers.whenIdle(world, EMPTY_VIEW), [], `${kind} at call ${nth}`);
}
