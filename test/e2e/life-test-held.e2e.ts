/**
 * Test failovers that outlive something: two points held at once while replication goes on over them, and tests whose server
 * is killed at every step. Neither production nor a restore point notices, and nothing stays.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import { operationDetailSchema, operationSchema } from '../../src/contract/operation.ts';
import type { PointAnswer } from '../../src/contract/point.ts';
import { type PointTestAnswer, pointTestSchema } from '../../src/contract/test-failover.ts';
import { watchLedger } from '../../src/main/demo/ledger-watch.ts';
import { run } from '../../src/rig/command.ts';
import type { TestVm } from '../../src/rig/test-vm.ts';
import { until } from '../../src/rig/until.ts';
import type { Image } from './stage/bytes.ts';
import { watchPauses } from './stage/guest-watch.ts';
import { killAt } from './stage/killing.ts';
import { succeed, transfers } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';
import { ledgerBeside, leftOfTests, testVms, untilTestsRun } from './stage/test-vms.ts';

const PROBES = ['--probe', 'agent@120s', '--probe', 'http:8080/@120s'];

suite('tests that outlive something', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: TestVm;
  let protection: Protection;
  let replicaId: string;
  /** What qemu-img read of the points before any was tested. */
  const copies = new Map<string, Image>();
  const ending = new AbortController();

  before(async () => {
    stage = await openStage();
    vm = await stage.guestVm({ name: 'held', disks: [{ content: 'system' }] });
    await vm.start();
    protection = await stage.protect(vm.name, ['--keep', '9']);
    const { seq } = await vm.waitForHttp({ deadlineMs: 120_000 });
    await copyPoint(await stage.replicate(protection));
    await until('the guest goes on', async () => (await vm.ledger()).seq > seq || undefined);
    await copyPoint(await stage.replicate(protection));
    replicaId = (await stage.replica(protection)).id;
  });
  after(async () => {
    ending.abort();
    await stage?.[Symbol.asyncDispose]();
  });

  async function copyPoint(point: PointAnswer): Promise<void> {
    const { path, format } = stage.layer(point, 'vda');
    const copy: Image = { path: join(stage.folder, `${point.id}.qcow2`), format: 'qcow2' };
    await run('qemu-img', ['convert', '-f', format, '-O', copy.format, '--', path, copy.path]);
    copies.set(point.id, copy);
  }

  async function requireUnchanged(): Promise<void> {
    const listed = await stage.points(protection);
    const tested = listed.filter(({ id }) => copies.has(id));
    assert.equal(tested.length, copies.size);
    for (const point of tested) {
      await stage.requireExact(point, new Map([['vda', copies.get(point.id) ?? assert.fail()]]));
    }
  }

  const show = (id: string) => stage.ask(['operation', 'show', id], operationDetailSchema);

  async function untilHeld(id: string): Promise<void> {
    await until(`test ${id} is held`, async () => {
      const { history, state } = await show(id);
      assert.ok(['queued', 'running'].includes(state), state);
      return history.some(({ step }) => step === 'note-hold') || undefined;
    });
  }

  async function end(id: string): Promise<PointTestAnswer> {
    await succeed(stage, 'test', 'end', id);
    return pointTestSchema.parse((await show(id)).result);
  }

  test('two points are held at once, can be looked at while replication goes on, and end with a word', async (t) => {
    const points = await stage.points(protection);
    const watch = await watchLedger(vm, ending.signal);
    await using pauses = await watchPauses(stage.production, vm.uuid);
    const chosen = points.flatMap(({ id }) => ['--point', id]);
    const args = ['test', 'run', replicaId, ...chosen, ...PROBES, '--keep', '--no-wait'];
    const begun = await stage.ask(args, z.array(operationSchema).length(2));
    const running = await untilTestsRun(stage, 2);
    for (const { id } of begun) await untilHeld(id);

    const first = await Promise.all(running.map((one) => ledgerBeside(stage, one)));
    assert.deepEqual(
      first.map(({ boot, errors }) => [boot, errors]),
      [
        [2, 0],
        [2, 0],
      ],
    );
    assert.notEqual(first[0]?.verified, first[1]?.verified, 'each has the records of its instant');
    for (let round = 0; round < 2; round += 1) {
      await watch.untilWritten(5);
      assert.deepEqual(transfers(await stage.replicate(protection)), ['incremental']);
    }
    assert.equal((await stage.replica(protection)).openTests.length, 2);

    await stage.server.kill9();
    await stage.server.restart();
    assert.deepEqual(await untilTestsRun(stage, 2), running, 'the very same');
    const second = await Promise.all(running.map((one) => ledgerBeside(stage, one)));
    second.forEach(({ seq, boot, errors }, nth) => {
      assert.ok(seq > (first[nth]?.seq ?? seq), 'it writes');
      assert.deepEqual([boot, errors], [2, 0]);
    });

    const results: PointTestAnswer[] = [];
    for (const { id } of begun) results.push(await end(id));
    for (const result of results) {
      assert.deepEqual([result.passed, result.isCleanedUp], [true, true], result.summary);
    }
    const testIds = running.map(({ testId }) => testId);
    assert.deepEqual(await leftOfTests(stage, replicaId, testIds), []);
    await watch.untilWritten(5);
    await watch.stop();
    t.diagnostic(`production was silent for ${watch.longestSilenceMs} ms at most`);
    assert.deepEqual(pauses.seen(), []);
    await requireUnchanged();
  });

  test('a test whose server is killed at every step comes to its end and to the same result', async () => {
    const steps = ['set-up-tests', 'start-tests', 'probe-1', 'collect-evidence', 'tear-down-tests'];
    const id = await killAt(stage, steps, 'test', 'run', replicaId, ...PROBES);
    const operation = await stage.settled(id);
    assert.equal(operation.state, 'succeeded', describe(operation));
    const result = pointTestSchema.parse(operation.result);
    assert.deepEqual([result.passed, result.isCleanedUp], [true, true], result.summary);
    assert.deepEqual(
      result.evidence.map(({ name }) => name),
      ['serial.txt'],
    );
    assert.deepEqual(await leftOfTests(stage, replicaId, [result.testId]), []);
  });

  test('one that is cancelled after its server was killed is taken away at once', async () => {
    const id = await killAt(stage, ['start-tests'], 'test', 'run', replicaId, ...PROBES, '--keep');
    const [seen] = await testVms(stage);
    assert.ok(seen);
    await stage.attempt(['operation', 'cancel', id]);
    assert.equal((await stage.settled(id)).state, 'cancelled');
    assert.deepEqual(await leftOfTests(stage, replicaId, [seen.testId]), []);
    await requireUnchanged();
    assert.deepEqual(transfers(await stage.replicate(protection)), ['incremental']);
    await stage.requireNothingLeft(protection);
  });
});
