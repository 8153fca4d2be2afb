/** The watch on hosts: who does not answer, since when, and what that means. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { watchHosts } from '../../src/engine/watch-hosts.ts';
import { options, Stage } from './stage.ts';

async function look(stage: Stage): Promise<readonly string[]> {
  const told: string[] = [];
  const onNews = (message: string) => void told.push(message);
  await stage.run(watchHosts(stage.life.ports, { ...options, onNews }));
  return told;
}

const silent = async (stage: Stage) =>
  (await stage.life.controller.overview(options)).silentHosts.map(({ host, since, replicas }) => ({
    name: host.name,
    since,
    means: replicas.map(({ replica, role, meaning }) => `${replica.name} ${role}: ${meaning}`),
  }));

test('a host that misses two questions is silent since the first, and told once, until it answers', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  assert.deepEqual(await look(stage), []);
  stage.production.isUnreachable = true;
  const since = stage.world.clock.now();
  assert.deepEqual([await look(stage), await silent(stage)], [[], []]);
  await stage.world.clock.advance(10_000);
  assert.deepEqual(await look(stage), [
    'Host production does not answer: no route to host. Check that its hypervisor runs and can be reached.',
  ]);
  assert.deepEqual(await look(stage), []);
  const [host] = await silent(stage);
  assert.deepEqual([host?.name, host?.since], ['production', since]);
  assert.match(host?.means.join() ?? '', /^web-replica source: .*understudy failover web-replica/);
  stage.production.isUnreachable = false;
  assert.deepEqual(
    [await look(stage), await silent(stage)],
    [['Host production answers again.'], []],
  );
});

test('a host that hangs is silent too, and keeps nobody waiting longer than its deadline', async () => {
  await using stage = await Stage.open();
  for (let nth = 1; nth <= 2; nth += 1) {
    stage.world.faults.on('recovery.hypervisor.vms', nth, 'slow', { delayMs: 60_000 });
  }
  await look(stage);
  const before = stage.world.clock.now();
  assert.deepEqual(await look(stage), ['Host recovery did not answer within 5 s.']);
  assert.ok(stage.world.clock.now() - before <= 6_000);
});

test('one missed question says nothing, and a host that was removed is forgotten', async () => {
  await using stage = await Stage.open();
  stage.recovery.isUnreachable = true;
  await look(stage);
  stage.recovery.isUnreachable = false;
  assert.deepEqual(await look(stage), []);
  stage.recovery.isUnreachable = true;
  await look(stage);
  await look(stage);
  assert.equal((await silent(stage)).length, 1);
  await stage.life.controller.removeHost('recovery', options);
  await look(stage);
  assert.deepEqual([await silent(stage), stage.life.ports.misses.size], [[], 0]);
});
