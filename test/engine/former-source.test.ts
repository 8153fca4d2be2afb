/** A VM whose place another one has taken for good may still come back with its host: that is told, and until then not forgotten. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { REPLACED_WATCHED_MS } from '../../src/domain/failover/watched-source.ts';
import { watchSources } from '../../src/engine/watch-sources.ts';
import { addElsewhere, commit, failback, switchOver } from './failback-stage.ts';
import { failoverOrder, options, Stage } from './stage.ts';

async function watch(stage: Stage): Promise<readonly string[]> {
  const told: string[] = [];
  const onReturned = (message: string) => void told.push(message);
  await stage.run(watchSources(stage.life.ports, { ...options, onReturned }));
  return told;
}

/** Its host was lost, and a new VM elsewhere took over. */
async function failedBackElsewhere(stage: Stage, { commits = true } = {}): Promise<void> {
  await addElsewhere(stage);
  await stage.protect();
  await stage.replicate();
  stage.production.isUnreachable = true;
  const failover = await stage.failover('latest');
  assert.equal(failover.state, 'succeeded', failover.error?.message);
  await failback(stage, { to: { type: 'new', host: 'elsewhere', name: 'web-2' } });
  await switchOver(stage);
  if (commits) await commit(stage);
}

test('the source of a lost host comes back after a failback elsewhere: told, until it is off', async () => {
  await using stage = await Stage.open();
  await failedBackElsewhere(stage);
  assert.deepEqual(
    await stage.conditionNames(),
    ['former-source-unfenced'],
    'nobody has seen it off',
  );
  assert.deepEqual(await watch(stage), []);
  assert.deepEqual(await stage.conditionNames(), ['former-source-unfenced'], 'silence is not off');
  stage.production.isUnreachable = false;
  const [told, ...more] = await watch(stage);
  assert.match(
    told ?? '',
    /VM web runs .* whose place web-2 has taken: shut web down at its old host/,
  );
  assert.deepEqual(more, []);
  assert.deepEqual(await stage.conditionNames(), ['former-source-unfenced']);
  assert.deepEqual(await watch(stage), [], 'told once');
  stage.vm.stop();
  await watch(stage);
  assert.deepEqual(await stage.conditionNames(), []);
  assert.equal((await stage.replicate()).state, 'succeeded');
});

test('it is not forgotten when the VM that took its place is failed over, moved and taken back', async () => {
  await using stage = await Stage.open();
  await failedBackElsewhere(stage);
  assert.equal((await stage.replicate()).state, 'succeeded');
  const told = async () => (await stage.conditionNames()).includes('former-source-unfenced');
  const failover = await stage.failover('latest', 'power-off');
  assert.equal(failover.state, 'succeeded', failover.error?.message);
  assert.ok(await told());
  const { id } = await stage.replica();
  const [oldest] = await stage.life.ports.catalog.points(id);
  const hop = await stage.finish((controller) =>
    controller.hop('web-replica', failoverOrder(oldest?.id ?? ''), options),
  );
  assert.equal(hop.state, 'succeeded', hop.error?.message);
  assert.ok(await told());
  stage.production.isUnreachable = false;
  assert.match((await watch(stage))[0] ?? '', /VM web runs .* whose place web-2 has taken/);
  assert.ok(await told());
  const undo = await stage.undo();
  assert.equal(undo.state, 'succeeded', undo.error?.message);
  assert.ok(await told());
  stage.vm.stop();
  assert.deepEqual(await watch(stage), []);
  assert.deepEqual(await stage.conditionNames(), []);
});

test('what runs beside its successor is told for as long as it does, and forgotten with its host', async () => {
  await using stage = await Stage.open();
  await failedBackElsewhere(stage);
  stage.production.isUnreachable = false;
  await watch(stage);
  await stage.world.clock.advance(REPLACED_WATCHED_MS);
  await watch(stage);
  assert.deepEqual(await stage.conditionNames(), ['former-source-unfenced']);
  await stage.run(stage.life.controller.removeHost(stage.production.id, options));
  await watch(stage);
  assert.deepEqual(await stage.conditionNames(), []);
});

test('a source that was off all the while is forgotten quietly', async () => {
  await using stage = await Stage.open();
  await failedBackElsewhere(stage);
  stage.vm.stop();
  stage.production.isUnreachable = false;
  assert.deepEqual(await watch(stage), []);
  assert.deepEqual(await stage.conditionNames(), []);
});

test('made permanent beside a source that was accepted or could not be asked: that stays told', async () => {
  for (const acceptDuplicate of [true, false]) {
    await using stage = await Stage.open();
    await stage.protect();
    await stage.replicate();
    stage.production.isUnreachable = !acceptDuplicate;
    const order = { ...failoverOrder('latest'), acceptDuplicate };
    await stage.finish((controller) => controller.failover('web-replica', order, options));
    const permanent = await stage.finish((controller) =>
      controller.permanentFailover('web-replica', options),
    );
    assert.equal(permanent.state, 'succeeded', permanent.error?.message);
    const { id } = await stage.replica();
    const [condition] = await stage.life.ports.catalog.conditions(id);
    assert.equal(condition?.name, 'unfenced-source');
    assert.match(condition?.message ?? '', /web-replica is production now.*remove it there/);
    stage.production.isUnreachable = false;
    await watch(stage);
    assert.deepEqual(
      new Set(await stage.conditionNames()),
      new Set(['unfenced-source', 'source-returned']),
    );
    stage.vm.stop();
    await watch(stage);
    assert.deepEqual(await stage.conditionNames(), []);
  }
});

test('it is told before the commit, too', async () => {
  await using stage = await Stage.open();
  await failedBackElsewhere(stage, { commits: false });
  stage.production.isUnreachable = false;
  assert.match((await watch(stage))[0] ?? '', /whose place web-2 has taken/);
  stage.vm.stop();
  assert.deepEqual(await watch(stage), []);
  await commit(stage);
  await watch(stage);
  assert.deepEqual(await stage.conditionNames(), []);
});
