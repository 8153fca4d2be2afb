/** Fences: with evidence or not at all, before and after a failover, and sources that come back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { watchSources } from '../../src/engine/watch-sources.ts';
import type { FenceOrder } from '../../src/ports/controller.ts';
import { MANUAL } from './failback-stage.ts';
import { failoverOrder, options, Stage, VDA } from './stage.ts';

async function withPoints(stage: Stage): Promise<void> {
  await stage.protect();
  stage.vm.write(VDA, 1, 'one');
  await stage.replicate();
}

function failOver(stage: Stage, fence: FenceOrder | 'none', acceptDuplicate = false) {
  return stage.finish((controller) =>
    controller.failover(
      'web-replica',
      { ...failoverOrder('latest'), fence, acceptDuplicate },
      options,
    ),
  );
}

const fence = (stage: Stage, how: FenceOrder) =>
  stage.finish((controller) => controller.fenceSource('web-replica', how, options));

const unfence = (stage: Stage, accepts: boolean) =>
  stage.finish((controller) => controller.unfenceSource('web-replica', accepts, options));

async function watch(stage: Stage): Promise<readonly string[]> {
  const told: string[] = [];
  const onReturned = (message: string) => void told.push(message);
  await stage.run(watchSources(stage.life.ports, { ...options, onReturned }));
  return told;
}

function links(stage: Stage): readonly boolean[] {
  return stage.vm.state.nics.map((nic) => nic.isConnected);
}

function secondNic(stage: Stage, isConnected: boolean): void {
  const nic = { mac: '52:54:00:00:00:99', network: 'network:default', isConnected };
  stage.vm.state.nics = [...stage.vm.state.nics, nic];
}

/** Instead of what was to be set. */
function onNicsSet(stage: Stage, happen: () => void): void {
  const { nics } = stage.vm.state;
  Object.defineProperty(stage.vm.state, 'nics', { get: () => nics, set: happen });
}

test('an undo connects only what the fence disconnected', async () => {
  await using stage = await Stage.open();
  secondNic(stage, false);
  await withPoints(stage);
  assert.equal((await failOver(stage, 'nics')).state, 'succeeded');
  assert.deepEqual(links(stage), [false, false]);
  assert.equal((await stage.replica()).failover?.fencedNics?.length, 1);
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.deepEqual(links(stage), [true, false]);
});

test('an undo that keeps the fence is remembered: the way back from the next failover connects what nobody has', async () => {
  await using stage = await Stage.open();
  secondNic(stage, true);
  await withPoints(stage);
  const keeping = { force: false, keepFence: true };
  await failOver(stage, 'nics');
  await stage.finish((it) => it.undoFailover('web-replica', keeping, options));
  assert.deepEqual(links(stage), [false, false]);
  assert.equal((await stage.replica()).leftFencedNics?.length, 2);
  const [first, second] = stage.vm.state.nics;
  if (first === undefined || second === undefined) assert.fail();
  stage.vm.state.nics = [first, { ...second, isConnected: true }];
  await failOver(stage, 'shutdown');
  const { failover, leftFencedNics } = await stage.replica();
  assert.deepEqual([failover?.fencedNics, leftFencedNics], [[first.mac], []]);
  const preview = await stage.run(
    stage.life.controller.previewFailback('web-replica', MANUAL, options),
  );
  assert.match(preview.consequence, new RegExp(`its NICs ${first.mac} are connected then`));
  await stage.finish((it) => it.undoFailover('web-replica', keeping, options));
  assert.deepEqual((await stage.replica()).leftFencedNics, [first.mac]);
  assert.equal((await failOver(stage, 'power-off')).state, 'succeeded');
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.deepEqual([links(stage), (await stage.replica()).leftFencedNics], [[true, true], []]);
});

test('a fence that an undo cannot lift is remembered, too', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await failOver(stage, 'nics');
  stage.production.isUnreachable = true;
  assert.equal((await stage.undo()).state, 'succeeded');
  stage.production.isUnreachable = false;
  assert.equal((await stage.replica()).leftFencedNics?.length, 1);
});

test('a fence that the host reports and that did not happen is no fence', async () => {
  for (const how of ['nics', 'power-off', 'shutdown'] as const) {
    await using stage = await Stage.open();
    await withPoints(stage);
    stage.vm.stop = () => undefined; // a hypervisor that says it did, and did not
    onNicsSet(stage, () => undefined);
    const failed = await failOver(stage, how);
    assert.equal(failed.error?.code, 'fence-failed', how);
    assert.equal((await stage.replica()).phase, 'Ready');
    assert.equal(stage.vm.power, 'running');
  }
});

test('a host that stops answering half-way: not fenced, and a failover without a fence gets through', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  onNicsSet(stage, () => {
    stage.production.isUnreachable = true;
  });
  const stuck = await failOver(stage, 'nics');
  assert.equal(stuck.state, 'suspended', 'the fence can neither be proved nor taken back');
  assert.equal((await stage.replica()).phase, 'Ready');
  assert.equal((await failOver(stage, 'none')).state, 'succeeded');
  assert.ok((await stage.conditionNames()).includes('unfenced-source'));
});

test('a source that comes back is told at once and once, and no more when it is fenced', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  stage.production.isUnreachable = true;
  assert.equal((await failOver(stage, 'none')).state, 'succeeded');
  assert.deepEqual(await watch(stage), []);
  assert.ok(!(await stage.conditionNames()).includes('source-returned'), 'no answer says nothing');
  stage.production.isUnreachable = false;
  const [told, ...more] = await watch(stage);
  assert.match(told ?? '', /understudy fence web-replica --with nics/);
  assert.deepEqual(more, []);
  assert.ok((await stage.conditionNames()).includes('source-returned'));
  assert.deepEqual(await watch(stage), [], 'told once');
  stage.production.isUnreachable = true;
  await watch(stage);
  assert.ok((await stage.conditionNames()).includes('source-returned'), 'silence is not absence');
  stage.production.isUnreachable = false;
  assert.equal((await fence(stage, 'nics')).state, 'succeeded');
  assert.deepEqual(await stage.conditionNames(), []);
  assert.deepEqual(await watch(stage), []);
  assert.deepEqual(links(stage), [false]);
  assert.deepEqual(await stage.violations('whenIdle'), []);
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.deepEqual(links(stage), [true]);
});

test('a command in a sentence has the name as a shell takes it back', async () => {
  await using stage = await Stage.open();
  await stage.protect({ replicaSuffix: " at Anna's" });
  await stage.replicate();
  stage.production.isUnreachable = true;
  const name = "web at Anna's";
  const failed = await stage.finish((it) => it.failover(name, failoverOrder('latest'), options));
  assert.equal(failed.state, 'succeeded');
  stage.production.isUnreachable = false;
  const [told = ''] = await watch(stage);
  assert.ok(told.includes("`understudy fence 'web at Anna'\\''s' --with nics`"), told);
});

test('an undo leaves the source off or cut off when it is asked to, and its replica is Ready all the same', async () => {
  for (const fence of ['nics', 'power-off'] as const) {
    await using stage = await Stage.open();
    await stage.protect();
    assert.equal((await stage.replicate()).state, 'succeeded');
    assert.equal((await failOver(stage, fence)).state, 'succeeded');
    const order = { force: false, keepFence: true };
    const undone = await stage.finish((c) => c.undoFailover('web-replica', order, options));
    assert.equal(undone.state, 'succeeded');
    assert.equal((await stage.replica()).phase, 'Ready');
    const serves =
      stage.vm.power === 'running' && stage.vm.state.nics.some((nic) => nic.isConnected);
    assert.equal(serves, false, fence);
    assert.deepEqual(await stage.violations('whenIdle'), []);
  }
});

test('the condition goes when the source goes, or the failover is undone', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  stage.production.isUnreachable = true;
  await failOver(stage, 'none');
  stage.production.isUnreachable = false;
  await watch(stage);
  stage.vm.stop();
  await watch(stage);
  assert.ok(!(await stage.conditionNames()).includes('source-returned'));
  stage.vm.start();
  assert.equal((await watch(stage)).length, 1);
  await stage.undo();
  assert.deepEqual(await stage.conditionNames(), []);
});

test('fenced twice, first by NICs, then powered off: undo gives both back', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await failOver(stage, 'nics');
  assert.equal((await fence(stage, 'power-off')).state, 'succeeded');
  assert.equal(stage.vm.power, 'off');
  const { failover } = await stage.replica();
  assert.deepEqual([failover?.fence, failover?.fencedNics?.length], ['power-off', 1]);
  assert.equal((await fence(stage, 'power-off')).state, 'succeeded', 'nothing to do is fine');
  assert.equal((await stage.replica()).failover?.fence, 'power-off');
  await stage.undo();
  assert.equal(stage.vm.power, 'running');
  assert.deepEqual(links(stage), [true]);
});

test('a fence afterwards is refused where the source cannot be asked, and before a failover', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await assert.rejects(fence(stage, 'nics'), { code: 'not-allowed-in-phase' });
  stage.production.isUnreachable = true;
  await failOver(stage, 'none');
  const refused = await fence(stage, 'power-off');
  assert.equal(refused.error?.code, 'fence-failed');
  assert.equal((await stage.replica()).failover?.fence, 'none');
});

test('unfence puts two machines on the network only when that is accepted, which is recorded', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await failOver(stage, 'nics');
  await assert.rejects(unfence(stage, false), { code: 'duplicate-refused' });
  assert.equal((await unfence(stage, true)).state, 'succeeded');
  assert.deepEqual(links(stage), [true]);
  const { failover } = await stage.replica();
  assert.deepEqual([failover?.fence, failover?.isDuplicateAccepted], ['none', true]);
  assert.deepEqual(await stage.conditionNames(), ['unfenced-source']);
  assert.deepEqual(await watch(stage), [], 'an accepted duplicate is no news');
  assert.equal((await fence(stage, 'shutdown')).state, 'succeeded');
  assert.deepEqual(await stage.conditionNames(), []);
});

test('an accepted duplicate is recorded also when the source cannot be looked at after its fence is lifted', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  await failOver(stage, 'nics');
  stage.world.faults.on('production.hypervisor.power', 1, 'fail-after');
  assert.equal((await unfence(stage, true)).state, 'succeeded');
  assert.equal((await stage.replica()).failover?.isDuplicateAccepted, true);
  assert.deepEqual(await stage.conditionNames(), ['unfenced-source']);
  assert.deepEqual(await watch(stage), [], 'an accepted duplicate is no news');
});
