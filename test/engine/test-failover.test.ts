/** Test failovers and bisects on the simulated world: what they find out, and that nothing else notices. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asUnderstudyError } from '../../src/domain/error.ts';
import { operationId, type PointId } from '../../src/domain/ids.ts';
import type { OperationRecord } from '../../src/domain/operation/operation.ts';
import type { PointTest } from '../../src/domain/test-failover/point-test.ts';
import { parseProbe } from '../../src/domain/test-failover/probe.ts';
import { scheduleTests } from '../../src/engine/schedule-tests.ts';
import type { PointSelector, TestOrder } from '../../src/ports/controller.ts';
import { SICK } from '../../src/simulator/test-bench.ts';
import { options, Stage, VDA } from './stage.ts';

const HTTP = [parseProbe('http:80/health@30s')];

const named = (point: string): PointSelector =>
  point === 'latest' ? { type: 'latest' } : { type: 'reference', reference: point };

function order(points: readonly string[], changes: Partial<TestOrder> = {}): TestOrder {
  return { points: points.map(named), probes: HTTP, holdSeconds: 0, ...changes };
}

async function begin(
  stage: Stage,
  points: readonly string[],
  changes: Partial<TestOrder> = {},
): Promise<readonly OperationRecord[]> {
  return stage.run(
    stage.life.controller.testFailover('web-replica', order(points, changes), options),
  );
}

async function settle(stage: Stage, { id }: OperationRecord): Promise<OperationRecord> {
  return stage.run(stage.life.ports.durable.settled(id, options));
}

async function testNow(stage: Stage, point = 'latest'): Promise<PointTest> {
  const [operation] = await begin(stage, [point]);
  assert.ok(operation);
  const settled = await settle(stage, operation);
  assert.equal(settled.state, 'succeeded', settled.error?.message);
  return settled.result as unknown as PointTest;
}

/** Points of a VM that was healthy in the first `healthy` of `count`. */
async function protect(stage: Stage, count: number, healthy: number): Promise<readonly PointId[]> {
  const { id } = await stage.protect({ retention: { keepLast: 20, tiers: [] } });
  for (let nth = 0; nth < count; nth += 1) {
    stage.vm.write(VDA, 9, nth < healthy ? `fine-${nth}` : SICK);
    assert.equal((await stage.replicate()).state, 'succeeded');
  }
  return (await stage.life.ports.catalog.points(id)).map((point) => point.id);
}

async function quiet(stage: Stage): Promise<void> {
  assert.deepEqual(await stage.violations('whenIdle'), []);
}

test('a healthy point passes and a sick one fails; the replica is as it was', async () => {
  await using stage = await Stage.open();
  const [first = '', second = ''] = await protect(stage, 2, 1);
  const before = await stage.replica();
  const good = await testNow(stage, first);
  assert.equal(good.passed, true);
  assert.equal(good.isolation.kind, 'network');
  assert.ok(good.runningAfterMs !== null && good.runningAfterMs >= 500);
  assert.ok(good.answeringAfterMs !== null && good.answeringAfterMs >= 2500);
  assert.deepEqual(
    good.verdicts.map(({ probe, passed }) => [probe, passed]),
    [['http:80/health@30s', true]],
  );
  const bad = await testNow(stage, second);
  assert.equal(bad.passed, false);
  assert.match(
    bad.summary,
    /Probe http:80\/health@30s failed: the connection was refused, for 30 s/,
  );
  assert.deepEqual(await stage.replica(), before);
  await quiet(stage);
});

test('an answer after the deadline of its probe comes too late', async () => {
  await using stage = await Stage.open();
  await protect(stage, 1, 1);
  const probes = [parseProbe('http:80/health@1s'), parseProbe('http:80/health@9s')];
  const [operation] = await begin(stage, ['latest'], { probes });
  assert.ok(operation);
  const { verdicts } = (await settle(stage, operation)).result as unknown as PointTest;
  assert.deepEqual(
    verdicts.map(({ passed }) => passed),
    [false, true],
  );
});

test('what was seen can be fetched afterwards', async () => {
  await using stage = await Stage.open();
  await protect(stage, 1, 1);
  const [operation] = await begin(stage, ['latest']);
  assert.ok(operation);
  const { result } = await settle(stage, operation);
  const { testId, evidence } = result as unknown as PointTest;
  assert.deepEqual(
    evidence.map(({ name, type }) => [name, type]),
    [
      ['screen.png', 'image/png'],
      ['serial.txt', 'text/plain'],
    ],
  );
  const fetched = (name: string) =>
    stage.run(stage.life.controller.testEvidence(operation.id, { testId, name }, options));
  const picture = Buffer.from((await fetched('screen.png')).base64, 'base64');
  assert.equal(picture.subarray(1, 4).toString(), 'PNG');
  assert.match(Buffer.from((await fetched('serial.txt')).base64, 'base64').toString(), /running/);
  await assert.rejects(fetched('../../token'), /no evidence/);
});

test('points are tested at once, as many as the host has slots for, while replication goes on', async () => {
  await using stage = await Stage.open();
  const points = await protect(stage, 3, 3);
  const operations = await begin(stage, points, { holdSeconds: 60 });
  assert.equal(operations.length, 3);
  await stage.until(() => testVms(stage).length === 2);
  stage.vm.write(VDA, 9, 'meanwhile');
  assert.equal((await stage.replicate()).state, 'succeeded');
  assert.equal(testVms(stage).length, 2, 'never more than the slots');
  assert.deepEqual(await stage.violations('everyStep'), []);
  const view = await stage.run(stage.life.controller.replica('web-replica', options));
  assert.equal(view.openOperation, null);
  assert.equal(view.openTests.length, 3);
  for (const operation of operations)
    await stage.run(stage.life.controller.endTest(operation.id, options));
  for (const operation of operations) {
    assert.equal((await settle(stage, operation)).state, 'succeeded');
  }
  await quiet(stage);
});

function testVms(stage: Stage) {
  return [...stage.recovery.vms.values()].filter(({ state }) => state.testId !== undefined);
}

test('two copies of one VM are on networks of their own, with identities of their own', async () => {
  await using stage = await Stage.open();
  const points = await protect(stage, 2, 2);
  await begin(stage, points, { holdSeconds: 600 });
  await stage.until(() => testVms(stage).length === 2);
  const [one, two] = testVms(stage);
  assert.ok(one && two);
  assert.equal(new Set([one.id, two.id, stage.vm.id]).size, 3);
  assert.deepEqual(
    one.state.nics.map(({ mac }) => mac),
    two.state.nics.map(({ mac }) => mac),
  );
  assert.notEqual(one.state.nics[0]?.network, two.state.nics[0]?.network);
  assert.equal(one.isConnected, false);
  await stage.settleAll();
  await quiet(stage);
});

test('where no isolated network can be made, it is unplugged and says so', async () => {
  await using stage = await Stage.open();
  await protect(stage, 1, 1);
  stage.recovery.noTestNetworksBecause = 'a session daemon has no networks';
  const { isolation } = await testNow(stage);
  assert.deepEqual(isolation, {
    kind: 'unplugged',
    because: 'a session daemon has no networks',
  });
});

test('a held test is ended by a word, or by its time; a cancel takes it away at once', async () => {
  await using stage = await Stage.open();
  await protect(stage, 1, 1);
  const { clock } = stage.world;
  const [held] = await begin(stage, ['latest'], { holdSeconds: 3600 });
  assert.ok(held);
  await stage.run(clock.sleep(60_000, options));
  assert.equal(testVms(stage).length, 1);
  await stage.run(stage.life.controller.endTest(held.id, options));
  assert.equal((await settle(stage, held)).state, 'succeeded');
  assert.ok(clock.monotonicMs() < 3_600_000);

  const [cancelled] = await begin(stage, ['latest'], { holdSeconds: 3600 });
  assert.ok(cancelled);
  await stage.until(() => testVms(stage).length === 1);
  await stage.run(stage.life.controller.cancelOperation(cancelled.id, options));
  assert.equal((await settle(stage, cancelled)).state, 'cancelled');
  assert.deepEqual(testVms(stage), []);
  await stage.sweep();
  await quiet(stage);
});

test('a point under test stays readable when retention takes it', async () => {
  await using stage = await Stage.open();
  await stage.protect({ retention: { keepLast: 1, tiers: [] } });
  await stage.replicate();
  const [operation] = await begin(stage, ['latest'], { holdSeconds: 600 });
  assert.ok(operation);
  await stage.until(() => testVms(stage).length === 1);
  const [vm] = testVms(stage);
  const seen = vm?.read(VDA, 3);
  for (const value of ['two', 'three']) {
    stage.vm.write(VDA, 3, value);
    assert.equal((await stage.replicate()).state, 'succeeded');
  }
  assert.equal(vm?.read(VDA, 3), seen);
  await stage.settleAll();
  stage.vm.write(VDA, 3, 'four');
  await stage.replicate();
  await quiet(stage);
});

test('failover, undo and test do not mind each other', async () => {
  await using stage = await Stage.open();
  const points = await protect(stage, 2, 2);
  const [operation] = await begin(stage, points.slice(0, 1), { holdSeconds: 600 });
  assert.ok(operation);
  await stage.until(() => testVms(stage).length === 1);
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  assert.equal((await testNow(stage)).passed, true, 'also while the replica serves');
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.equal((await settle(stage, operation)).state, 'succeeded');
  await quiet(stage);
});

test('deleting the replica ends its tests first', async () => {
  await using stage = await Stage.open();
  await protect(stage, 1, 1);
  const [operation] = await begin(stage, ['latest'], { holdSeconds: 600 });
  assert.ok(operation);
  await stage.until(() => testVms(stage).length === 1);
  const deleted = await stage.finish((controller) =>
    controller.deleteReplica('web-replica', options),
  );
  assert.equal(deleted.state, 'succeeded', deleted.error?.message);
  assert.equal((await settle(stage, operation)).state, 'cancelled');
  assert.deepEqual(testVms(stage), []);
  assert.equal(stage.recovery.replicas.size, 0);
});

test('a permanent failover ends the tests beside it first', async () => {
  await using stage = await Stage.open();
  await protect(stage, 1, 1);
  await stage.failover('latest', 'power-off');
  await begin(stage, ['latest'], { holdSeconds: 600 });
  await stage.until(() => testVms(stage).length === 1);
  const done = await stage.finish((controller) =>
    controller.permanentFailover('web-replica', options),
  );
  assert.equal(done.state, 'succeeded', done.error?.message);
  assert.deepEqual(testVms(stage), []);
});

test('a host that is lost during a test: the test fails, and the sweeper takes away what it left', async () => {
  await using stage = await Stage.open();
  await protect(stage, 1, 1);
  const [operation] = await begin(stage, ['latest'], { holdSeconds: 600 });
  assert.ok(operation);
  await stage.until(() => testVms(stage).length === 1);
  stage.recovery.isUnreachable = true;
  const settled = await settle(stage, operation);
  assert.ok(['failed', 'succeeded'].includes(settled.state));
  assert.equal(testVms(stage).length, 1);
  stage.recovery.isUnreachable = false;
  await stage.sweep();
  await quiet(stage);
});

test('bisect boots several points at once, finds the newest that passes and pins it', async () => {
  await using stage = await Stage.open();
  const points = await protect(stage, 9, 4);
  const settled = await stage.finish((controller) =>
    controller.bisect('web-replica', HTTP, options),
  );
  assert.equal(settled.state, 'succeeded', settled.error?.message);
  const result = settled.result as unknown as {
    readonly newestGood: PointId | null;
    readonly firstBad: PointId | null;
    readonly isPinned: boolean;
    readonly rounds: number;
    readonly tests: readonly PointTest[];
  };
  assert.equal(result.newestGood, points[3]);
  assert.equal(result.firstBad, points[4]);
  assert.equal(result.isPinned, true);
  assert.ok(result.rounds <= 4, `${result.rounds} rounds`);
  const pinned = (await stage.life.ports.catalog.points((await stage.replica()).id)).filter(
    (point) => point.isPinned,
  );
  assert.deepEqual(
    pinned.map((point) => point.id),
    [points[3]],
  );
  await quiet(stage);
});

test('bisect says so when no point passes', async () => {
  await using stage = await Stage.open();
  await protect(stage, 3, 0);
  const { result } = await stage.finish((controller) =>
    controller.bisect('web-replica', HTTP, options),
  );
  assert.deepEqual(
    [(result as { newestGood: null }).newestGood, (result as { isPinned: boolean }).isPinned],
    [null, false],
  );
  await quiet(stage);
});

test('a job proves its newest points by itself, and tells when one fails', async () => {
  await using stage = await Stage.open();
  await stage.protect({ testing: { everySeconds: 24 * 3600, probes: HTTP } });
  const conditions = async () =>
    (await stage.life.ports.catalog.conditions((await stage.replica()).id)).map(({ name }) => name);
  const tick = async () => {
    await stage.run(scheduleTests(stage.life.ports, options));
    await stage.settleAll();
  };
  const tests = () => stage.life.ports.durable.operations({ kind: 'test-failover', limit: 10 });
  const day = () => stage.run(stage.world.clock.sleep(24 * 3_600_000, options));
  await tick();
  assert.equal((await tests()).length, 0, 'there is no point yet');
  await stage.replicate();
  await tick();
  await tick();
  assert.equal((await tests()).length, 1);
  assert.deepEqual(await conditions(), []);
  const proved = await stage.run(stage.life.controller.replica('web-replica', options));
  assert.equal(proved.lastTest?.passed, true);

  stage.vm.write(VDA, 9, SICK);
  await stage.replicate();
  await day();
  await tick();
  assert.equal((await tests()).length, 2);
  assert.deepEqual(await conditions(), ['test-failed']);
  const failed = await stage.run(stage.life.controller.replica('web-replica', options));
  assert.equal(failed.lastTest?.passed, false);
  assert.equal(failed.lastTest?.lastPassedAt, proved.lastTest?.at);

  stage.vm.write(VDA, 9, 'mended');
  await stage.replicate();
  await day();
  await tick();
  assert.deepEqual(await conditions(), []);
  await quiet(stage);
});

test('tests by hand, however many, neither hide a scheduled one nor make one due', async () => {
  await using stage = await Stage.open();
  await stage.protect({ testing: { everySeconds: 24 * 3600, probes: HTTP } });
  await stage.replicate();
  const tick = async () => {
    await stage.run(scheduleTests(stage.life.ports, options));
    await stage.settleAll();
  };
  const scheduled = async () =>
    (await stage.life.ports.durable.operations({ kind: 'test-failover', limit: 100 })).filter(
      ({ input }) => (input as { readonly isScheduled: boolean }).isScheduled,
    ).length;
  await tick();
  assert.equal(await scheduled(), 1);
  for (let nth = 0; nth < 25; nth += 1) await testNow(stage);
  await tick();
  assert.equal(await scheduled(), 1);
  await stage.run(stage.world.clock.sleep(24 * 3_600_000, options));
  await tick();
  assert.equal(await scheduled(), 2);
});

test('what is no test cannot be ended, and a replica without points not be tested', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  const code = async (work: Promise<unknown>) =>
    work.then(
      () => null,
      (error: unknown) => asUnderstudyError(error).code,
    );
  assert.equal(await code(begin(stage, ['latest'])), 'point-missing');
  await assert.rejects(begin(stage, ['latest']), /Replica web-replica has no restore point yet\./);
  const bisecting = stage.run(stage.life.controller.bisect('web-replica', HTTP, options));
  assert.equal(await code(bisecting), 'point-missing');
  const { id } = await stage.replicate();
  const { controller } = stage.life;
  assert.equal(await code(stage.run(controller.endTest(id, options))), 'operation-missing');
  const nothing = operationId('op-nothing');
  assert.equal(await code(stage.run(controller.endTest(nothing, options))), 'operation-missing');
});
