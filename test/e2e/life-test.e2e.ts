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
import {
  bisectResultSchema,
  type PointTestAnswer,
  pointTestSchema,
} from '../../src/contract/test-failover.ts';
import { watchLedger } from '../../src/main/demo/ledger-watch.ts';
import type { TestVm } from '../../src/rig/test-vm.ts';
import { succeed } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import type { Protection } from './stage/operator.ts';

const PASSED = 0;
const NOT_PASSED = 1;

suite('test failover of a real guest', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: TestVm;
  let protection: Protection;
  const ending = new AbortController();

  before(async () => {
    stage = await openStage();
    vm = await stage.guestVm({ name: 'proved', disks: [{ content: 'system' }] });
    await vm.start();
    protection = await stage.protect(vm.name, ['--keep', '4']);
    await vm.waitForHttp({ deadlineMs: 120_000 });
    await stage.replicate(protection);
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
      'command:["false"]@30s',
    );
    assert.deepEqual([exitCode, result.passed, result.isCleanedUp], [NOT_PASSED, false, true]);
    assert.deepEqual(
      result.verdicts.map(({ passed }) => passed),
      [true, false],
    );
    assert.doesNotMatch(await testVms(), /test/);
  });

  test('bisect finds the newest point that passes, and pins it', async () => {
    const operation = await succeed(stage, 'bisect', await id(), '--probe', 'agent@120s');
    const found = bisectResultSchema.parse(operation.result);
    const points = await stage.points(protection);
    const newest = points.find((point) => point.id === found.newestGood);
    assert.equal(found.firstBad, null);
    assert.equal(newest?.isPinned, true);
    await stage.requireNothingLeft(protection);
  });

  const testVms = () => stage.recovery.virsh(['list', '--all', '--name']);
});
