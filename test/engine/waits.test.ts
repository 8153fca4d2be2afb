/** What operations that are queued say of what they wait for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostId } from '../../src/domain/ids.ts';
import { failoverOrder, options, Stage } from './stage.ts';

/** What the one that is queued waits for; fails when there is not exactly one. */
async function waitsOfQueued(stage: Stage) {
  const { controller, ports } = stage.life;
  const open = await ports.durable.operations({ open: true, limit: 10 });
  const waits = await stage.run(controller.waits(open, options));
  const [queued, ...more] = open.filter(({ state }) => state === 'queued');
  assert.ok(queued !== undefined && more.length === 0);
  assert.deepEqual([...waits.keys()], [queued.id]);
  return waits.get(queued.id) ?? [];
}

test('two replicas of one VM: the second run names the first, which has the disks', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  const far = stage.world.addHost({ id: hostId('far') });
  await stage.knowHost(far.id);
  await stage.protect({ name: 'far away', targetHost: 'far', replicaSuffix: '-far' });
  const { controller } = stage.life;
  const [first] = await stage.run(controller.runJob('nightly', null, options));
  await stage.run(controller.runJob('far away', null, options));
  const [wait, ...more] = await waitsOfQueued(stage);
  assert.deepEqual(more, []);
  assert.equal(
    wait?.message,
    `replicate ${first?.id}: one operation at a time has the disks of a VM`,
  );
  assert.deepEqual([wait?.limit, wait?.taken, wait?.hostId], [1, 1, 'production']);
  await stage.settleAll();
  assert.equal((await stage.run(controller.waits([], options))).size, 0);
});

test('of two failovers of one VM in the same moment the second names the first, which takes the place', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  const far = stage.world.addHost({ id: hostId('far') });
  await stage.knowHost(far.id);
  await stage.protect({ name: 'far away', targetHost: 'far', replicaSuffix: '-far' });
  const { controller } = stage.life;
  await stage.run(controller.runJob('far away', null, options));
  await stage.settleAll();
  const wishes = ['web-replica', 'web-far'].map((name) =>
    controller.failover(name, failoverOrder('latest'), options),
  );
  const [first] = await stage.run(Promise.all(wishes));
  await stage.world.clock.advance(1); // it is begun
  const [wait, ...more] = await waitsOfQueued(stage);
  assert.deepEqual(more, []);
  assert.equal(
    wait?.message,
    `failover ${first?.id}: one operation at a time takes the place of a VM`,
  );
});

test('a test beyond the places of its host names who has them', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  const { controller } = stage.life;
  const order = { points: [{ type: 'latest' }], probes: [], holdSeconds: 600 } as const;
  const begun: string[] = [];
  for (const _ of [1, 2, 3]) {
    const [one] = await stage.run(controller.testFailover('web-replica', order, options));
    begun.push(`test-failover ${one?.id}`);
  }
  const [wait] = await waitsOfQueued(stage);
  const holders = begun.slice(0, 2).join(', ');
  const message = `a place on host recovery, where 2 of 2 for tests are taken: ${holders}`;
  assert.equal(wait?.message, message);
  assert.deepEqual(
    wait?.heldBy.map(({ kind, id }) => `${kind} ${id}`),
    begun.slice(0, 2),
  );
});
