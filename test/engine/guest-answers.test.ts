/** When the guest of a replica is said to answer: by its agent or by its address, whoever is first, and never by a stranger. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnderstudyError } from '../../src/domain/error.ts';
import { type AddressProbe, parseAddressProbe } from '../../src/domain/failover/address-probe.ts';
import type { GuestSpec } from '../../src/simulator/guest.ts';
import { failback, SHUTDOWN } from './failback-stage.ts';
import { failoverOrder, options, Stage } from './stage.ts';

const SSH = 'tcp:192.0.2.10:22';
const ELSEWHERE = 'http:192.0.2.99:80/health=204';

async function opened(guest: GuestSpec, ...answers: readonly string[]): Promise<Stage> {
  const stage = await Stage.open(1, guest);
  await stage.protect({
    answers: answers.map((text) => ({ vm: null, at: parseAddressProbe(text) })),
  });
  await stage.replicate();
  return stage;
}

async function failover(stage: Stage) {
  const done = await stage.failover('latest', 'power-off');
  assert.equal(done.state, 'succeeded', done.error?.message);
  const { failover: record } = await stage.replica();
  assert.ok(record);
  return { done, record };
}

test('a guest without an agent answers by its address', async () => {
  await using stage = await opened({ hasAgent: false, bootMs: 3000 }, ELSEWHERE, SSH);
  const { done, record } = await failover(stage);
  assert.equal(record.answeredBy, SSH);
  const bootMs = (record.answeringAfterMs ?? 0) - (record.runningAfterMs ?? 0);
  assert.ok(bootMs > 2500 && bootMs < 4500, `${bootMs}`);
  const { answeredBy, answeringAfterMs } = done.result as Record<string, unknown>;
  assert.deepEqual(
    { answeredBy, answeringAfterMs },
    {
      answeredBy: SSH,
      answeringAfterMs: record.answeringAfterMs,
    },
  );
});

test('whoever answers first counts: the agent, where the address never does', async () => {
  await using stage = await opened({ bootMs: 3000 }, ELSEWHERE);
  const { record } = await failover(stage);
  assert.equal(record.answeredBy, 'agent');
});

test('an address where nobody answers is waited for, until the next one wants the replica', async () => {
  await using stage = await opened({ hasAgent: false }, ELSEWHERE);
  const { controller, ports } = stage.life;
  const order = failoverOrder('latest', 'power-off');
  const begun = await stage.run(controller.failover('web-replica', order, options));
  await stage.world.clock.advance(20_000);
  assert.ok(stage.world.faults.calls('recovery.hypervisor.askAddress') > 4);
  assert.equal((await stage.undo()).state, 'succeeded');
  const done = await stage.run(ports.durable.settled(begun.id, options));
  assert.equal(done.state, 'succeeded');
});

test('what answered before the start does not count, and is named', async () => {
  await using stage = await opened({ hasAgent: false }, SSH);
  const squatter = stage.world.addVm(stage.recovery, { name: 'squatter', disks: [], guest: {} });
  squatter.start();
  await stage.world.clock.advance(5000);
  const { done, record } = await failover(stage);
  assert.equal(record.answeredBy, null);
  const history = await stage.life.ports.durable.history(done.id, 0);
  const notes = history.filter(({ type }) => type === 'note').map((event) => JSON.stringify(event));
  assert.equal(notes.length, 1);
  assert.match(notes[0] ?? '', /Somebody answered at tcp:192\.0\.2\.10:22 before/);
});

test('a replica that is not connected is asked through its agent only', async () => {
  await using stage = await opened({ bootMs: 1000 }, SSH);
  // The source runs and is connected: it is what would answer.
  assert.equal((await stage.failover()).state, 'succeeded');
  assert.equal(stage.world.faults.calls('recovery.hypervisor.askAddress'), 0);
  assert.equal((await stage.replica()).failover?.answeredBy, 'agent');
});

test('a hop is answered by the address, too, after a crash at any call of asking', async () => {
  await using stage = await opened({ hasAgent: false }, SSH);
  await failover(stage);
  stage.world.faults.on('recovery.hypervisor.askAddress', 1, 'crash-after');
  const { controller } = stage.life;
  const order = failoverOrder('latest');
  const begun = await stage.run(controller.hop('web-replica', order, options));
  await stage.world.clock.advance(20_000);
  assert.ok(stage.life.view.isDead());
  await stage.restart();
  const done = await stage.run(stage.life.ports.durable.settled(begun.id, options));
  assert.equal(done.state, 'succeeded', done.error?.message);
  assert.equal((await stage.replica()).failover?.answeredBy, SSH);
});

test('production that takes over is asked at its address, too', async () => {
  await using stage = await opened({ hasAgent: false, bootMs: 3000 }, SSH);
  await failover(stage);
  await failback(stage);
  const done = await stage.finish((controller) =>
    controller.switchOver('web-replica', SHUTDOWN, options),
  );
  assert.equal((done.result as Record<string, unknown>).answeredBy, SSH);
  assert.notEqual((await stage.replica()).failback?.switched?.answeringAfterMs, null);
});

test('an address must be of one of the VMs', async () => {
  await using stage = await Stage.open();
  const refused = (vm: string | null, at: AddressProbe, count = 1) =>
    assert.rejects(
      stage.protect({ answers: new Array(count).fill({ vm, at }) }),
      (error) =>
        error instanceof UnderstudyError && ['invalid-request', 'vm-missing'].includes(error.code),
    );
  await refused('nobody', parseAddressProbe(SSH));
  await refused(null, parseAddressProbe(SSH), 9);
});
