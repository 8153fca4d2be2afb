/** A source that is defined otherwise after its job was made, in a way that the target may not be able to honour. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GIB } from '../../src/domain/bytes.ts';
import { changeMemory, replug } from '../../src/simulator/calamities.ts';
import { failoverOrder, options, Stage } from './stage.ts';

async function run(stage: Stage): Promise<readonly string[]> {
  const { id, state, error } = await stage.replicate();
  assert.equal(state, 'succeeded', error?.message);
  const events = await stage.life.ports.durable.history(id, 0);
  return events.filter(({ type }) => type === 'note').map(({ message }) => message);
}

async function conditions(stage: Stage) {
  const { id } = await stage.replica();
  return stage.life.ports.catalog.conditions(id);
}

const calls = (stage: Stage) => {
  let count = 0;
  const { hosts } = stage.life.ports;
  const commands = hosts.commands;
  hosts.commands = async (host) => {
    const ports = await commands(host);
    const preflightTarget: typeof ports.hypervisor.preflightTarget = (...args) => {
      count += 1;
      return ports.hypervisor.preflightTarget(...args);
    };
    return { ...ports, hypervisor: { ...ports.hypervisor, preflightTarget } };
  };
  return () => count;
};

test('the target is asked only when the definition changed, and again while something stands', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  const asked = calls(stage);
  await run(stage);
  await run(stage);
  assert.equal(asked(), 0);
  stage.recovery.memoryBytes = 32 * GIB;
  changeMemory(stage.vm, 48 * GIB);
  await run(stage);
  const [first] = await conditions(stage);
  assert.equal(first?.name, 'target-unfit');
  assert.match(first.message, /memory: It has more memory than host recovery/);
  const before = asked();
  await stage.world.clock.advance(60_000);
  await run(stage);
  assert.ok(asked() > before);
  assert.deepEqual(await conditions(stage), [first], 'since when it stands is kept');
  stage.recovery.memoryBytes = 64 * GIB;
  await run(stage);
  assert.deepEqual(await conditions(stage), []);
});

test('what a replica does without is told when it is new, not again with every other change', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await run(stage);
  replug(stage.vm, 'network:dmz');
  assert.match((await run(stage)).join(), /has no network network:dmz; the NIC stays disconnected/);
  changeMemory(stage.vm, GIB);
  assert.deepEqual(await run(stage), []);
  assert.deepEqual(await conditions(stage), []);
});

test('a target that cannot be asked costs no restore point, and the next run asks again', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect();
  await run(stage);
  for (const [kind, delayMs, words] of [
    ['fail', 0, /injected fault/],
    ['slow', 600_000, /took too long/],
  ] as const) {
    changeMemory(stage.vm, stage.vm.state.memoryBytes + GIB);
    for (let nth = 1; nth <= 8; nth += 1) {
      stage.world.faults.on('recovery.hypervisor.preflightTarget', nth, kind, { delayMs });
    }
    const points = (await stage.life.ports.catalog.points(id)).length;
    await run(stage);
    assert.equal((await stage.life.ports.catalog.points(id)).length, Math.min(points + 1, 5));
    const [told] = await conditions(stage);
    assert.match(
      told?.message ?? '',
      /and whether its target could run that was not to be found out\. /,
    );
    assert.match(told?.message ?? '', words);
    assert.doesNotMatch(told?.message ?? '', /could not run/);
    stage.world.faults.clear();
    await run(stage);
    assert.deepEqual(await conditions(stage), []);
  }
});

test('the dry run of a failover says what stands in the way', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await run(stage);
  stage.recovery.memoryBytes = GIB;
  changeMemory(stage.vm, 2 * GIB);
  await run(stage);
  const order = failoverOrder('latest');
  const { warnings } = await stage.run(
    stage.life.controller.previewFailover('web-replica', order, options),
  );
  assert.ok(warnings.some((warning) => warning.startsWith('target-unfit: ')));
});
