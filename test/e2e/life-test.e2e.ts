/**
 * Test failover of a real guest, as an operator orders it: the point boots where it meets nobody, production serves on, replication
 * is not held up, the pictures can be had, and nothing of it stays.
 */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import { operationSchema } from '../../src/contract/operation.ts';
import type { ReplicaAnswer } from '../../src/contract/replica.ts';
import { type PointTestAnswer, pointTestSchema } from '../../src/contract/test-failover.ts';
import { watchLedger } from '../../src/main/demo/ledger-watch.ts';
import type { TestVm } from '../../src/rig/test-vm.ts';
import { until } from '../../src/rig/until.ts';
import { MIB } from './stage/block-vm.ts';
import { conditionNames } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import type { Protection } from './stage/operator.ts';
import { leftOfTests } from './stage/test-vms.ts';

const PASSED = 0;
const NOT_PASSED = 1;

suite('test failover of a real guest', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: TestVm;
  let protection: Protection;
  /** Of a VM without an operating system, which no test can pass. */
  let emptyOne: Protection;
  const ending = new AbortController();

  before(async () => {
    stage = await openStage();
    vm = await stage.guestVm({ name: 'proved', disks: [{ content: 'system' }] });
    await vm.start();
    const proving = ['--test-every', '10m', '--probe', 'agent@120s', '--probe', 'http:8080/@120s'];
    protection = await stage.protect(vm.name, ['--keep', '4', ...proving]);
    const empty = await stage.blockVm({ name: 'empty', disks: [{ sizeBytes: MIB }] });
    emptyOne = await stage.protect(empty.name, ['--test-every', '10m', '--probe', 'agent@2s']);
    await vm.waitForHttp({ deadlineMs: 120_000 });
    await Promise.all([stage.replicate(protection), stage.replicate(emptyOne)]);
  });
  after(async () => {
    ending.abort();
    await stage?.[Symbol.asyncDispose]();
  });

  const id = async () => (await stage.replica(protection)).id;

  /** Runs a test to its end. @returns its exit code, the operation's id and what it found out. */
  async function prove(...options: readonly string[]) {
    const { exitCode, stdout } = await stage.attempt([
      'test',
      'run',
      await id(),
      ...options,
      '-o',
      'json',
    ]);
    const [operation] = z.array(operationSchema).length(1).parse(JSON.parse(stdout));
    assert.equal(operation?.state, 'succeeded', stdout);
    const result: PointTestAnswer = pointTestSchema.parse(operation.result);
    return { exitCode, operationId: operation.id, result };
  }

  test('the newest points are proved by themselves, as their jobs say', async () => {
    const [proved, failed] = await Promise.all([protection, emptyOne].map(untilTested));
    assert.ok(proved?.lastTest && failed?.lastTest);
    assert.deepEqual([proved.lastTest.passed, proved.conditions], [true, []]);
    assert.equal(proved.lastTest.pointId, proved.newestPointId);
    assert.equal((await stage.attempt(['test', 'show', proved.lastTest.operationId])).exitCode, 0);
    assert.match((await stage.attempt(['replica', 'show', proved.id])).stdout, /last passed/);

    const { operationId } = failed.lastTest;
    assert.equal(failed.lastTest.passed, false);
    assert.deepEqual(conditionNames(failed), ['test-failed']);
    assert.match(
      failed.conditions[0]?.message ?? '',
      new RegExp(`agent@2s failed.*${operationId}`),
    );
    assert.equal((await stage.attempt(['test', 'show', operationId])).exitCode, NOT_PASSED);
    assert.deepEqual([proved.phase, failed.phase], ['Ready', 'Ready']);
    for (const { id } of [proved, failed]) assert.deepEqual(await leftOfTests(stage, id, []), []);
  });

  /** Until its test by the clock has ended. */
  function untilTested(one: Protection): Promise<ReplicaAnswer> {
    return until('a test by the clock has ended', async () => {
      const replica = await stage.replica(one);
      return replica.lastTest !== null && replica.openTests.length === 0 ? replica : undefined;
    });
  }

  test('the newest point is proved, production serves on, and the next run is not held up', async (t) => {
    const watch = await watchLedger(vm, ending.signal);
    await watch.untilWritten(5);
    const proving = prove('--probe', 'agent@120s', '--probe', 'command:["true"]@150s');
    await stage.replicate(protection);
    const { exitCode, operationId, result } = await proving;
    await watch.untilWritten(5);
    await watch.stop();
    t.diagnostic(`isolated by ${result.isolation.kind}; ${result.summary}`);
    t.diagnostic(
      `running after ${result.runningAfterMs} ms, answering after ${result.answeringAfterMs} ms`,
    );
    assert.deepEqual([exitCode, result.passed, result.isCleanedUp], [PASSED, true, true]);
    assert.equal((await stage.replica(protection)).phase, 'Ready');
    assert.equal(await vm.state(), 'running');
    assert.doesNotMatch(await testVms(), /test/);

    const folder = join(stage.folder, 'proof');
    assert.equal(
      (await stage.attempt(['test', 'evidence', operationId, '--to', folder])).exitCode,
      0,
    );
    const names = await readdir(folder);
    assert.equal(names.length, result.evidence.length);
    for (const name of names.filter((one) => one.endsWith('.txt'))) {
      assert.match(await readFile(join(folder, name), 'utf8'), /Linux|init|login|ledger/i);
    }
    assert.ok(
      names.some((name) => name.endsWith('.txt')),
      `${names}`,
    );
  });

  test('a probe that fails is told by name, with exit code 1, and everything is taken away', async () => {
    const { exitCode, result } = await prove(
      '--probe',
      'agent@120s',
      '--probe',
      'command:["false"]@10s',
    );
    assert.deepEqual([exitCode, result.passed, result.isCleanedUp], [NOT_PASSED, false, true]);
    assert.deepEqual(
      result.verdicts.map(({ passed }) => passed),
      [true, false],
    );
    assert.doesNotMatch(await testVms(), /test/);
    await stage.requireNothingLeft(protection, emptyOne);
  });

  const testVms = () => stage.recovery.virsh(['list', '--all', '--name']);
});
