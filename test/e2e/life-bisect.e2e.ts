/**
 * Bisect on real guests: a part of the VM's data is spoilt between two of five restore points, and the search for the newest
 * sound one boots two at a time. The server is killed in the middle of it, and replication goes on beside it.
 *
 *   sound ── sound ── spoilt ── spoilt ── spoilt        second round: 0 and 1 │ first round: 2 and 4
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import type { PointAnswer } from '../../src/contract/point.ts';
import {
  type BisectResultAnswer,
  bisectResultSchema,
  pointTestSchema,
} from '../../src/contract/test-failover.ts';
import { run } from '../../src/rig/command.ts';
import type { TestVm } from '../../src/rig/test-vm.ts';
import type { Image } from './stage/bytes.ts';
import { killAt } from './stage/killing.ts';
import { transfers } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';
import { leftOfTests, untilTestsRun } from './stage/test-vms.ts';

/** What the guest holds while it is sound; what it holds later is another one. */
const SOUND = 7;
const SPOILT = 8;
const KEPT = 6;
/** A spoilt point is asked until the deadline is over; a sound one answers within seconds of its boot. */
const PROBE = `http:8080/check/1/${SOUND}@30s`;

suite('bisect of a guest that was spoilt', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: TestVm;
  let protection: Protection;
  let replicaId: string;
  let found: BisectResultAnswer;
  const points: PointAnswer[] = [];
  const copies: Image[] = [];

  before(async () => {
    stage = await openStage();
    vm = await stage.guestVm({ name: 'spoilt', disks: [{ content: 'system' }] });
    await vm.start();
    protection = await stage.protect(vm.name, ['--keep', String(KEPT)]);
    await vm.waitForHttp({ deadlineMs: 120_000 });
    for (const content of [SOUND, SOUND, SPOILT, SPOILT, SPOILT]) {
      await vm.http(`/fill/1/${content}`, { timeoutMs: 60_000 });
      const point = await stage.replicate(protection);
      points.push(point);
      copies.push(await copyOf(point));
    }
    replicaId = (await stage.replica(protection)).id;
  });
  after(() => stage?.[Symbol.asyncDispose]());

  async function copyOf(point: PointAnswer): Promise<Image> {
    const { path, format } = stage.layer(point, 'vda');
    const copy: Image = { path: join(stage.folder, `${point.id}.qcow2`), format: 'qcow2' };
    await run('qemu-img', ['convert', '-f', format, '-O', copy.format, '--', path, copy.path]);
    return copy;
  }

  const idOf = (nth: number) => points[nth]?.id ?? '';

  test('two points are booted at once, and the search goes on when its server is killed', async (t) => {
    const steps = ['round-1/start-tests', 'round-1/probe-1'];
    const operationId = await killAt(stage, steps, 'bisect', replicaId, '--probe', PROBE);
    const booted = await untilTestsRun(stage, 2);
    const beside = await stage.replicate(protection);
    assert.deepEqual(transfers(beside), ['incremental']);
    assert.deepEqual(await untilTestsRun(stage, 2), booted, 'the very same');

    const operation = await stage.settled(operationId);
    assert.equal(operation.state, 'succeeded', describe(operation));
    found = bisectResultSchema.parse(operation.result);
    t.diagnostic(found.tests.map(({ summary }) => summary).join(' '));
    assert.deepEqual(
      found.tests.map(({ pointId, passed, isCleanedUp }) => [pointId, passed, isCleanedUp]),
      [
        [idOf(2), false, true],
        [idOf(4), false, true],
        [idOf(0), true, true],
        [idOf(1), true, true],
      ],
    );
    assert.ok(found.tests.slice(0, 2).every(({ summary }) => /status 500/.test(summary)));
    const { newestGood, firstBad, rounds, isPinned } = found;
    assert.deepEqual([newestGood, firstBad, rounds, isPinned], [idOf(1), idOf(2), 2, true]);
  });

  test('it leaves nothing, and every point as it was', async () => {
    const testIds = found.tests.map(({ testId }) => testId);
    assert.deepEqual(await leftOfTests(stage, replicaId, testIds), []);
    const listed = await stage.points(protection);
    for (const [nth, copy] of copies.entries()) {
      const point = listed.find(({ id }) => id === idOf(nth)) ?? assert.fail(idOf(nth));
      assert.equal(point.isPinned, nth === 1);
      await stage.requireExact(point, new Map([['vda', copy]]));
    }
  });

  test('retention passes over the point that was found, which still proves itself', async () => {
    for (let round = 0; round < 2; round += 1) await stage.replicate(protection);
    const left = (await stage.points(protection)).map(({ id }) => id);
    assert.deepEqual([left.length, left[0], left.includes(idOf(0))], [KEPT + 1, idOf(1), false]);
    const args = ['test', 'run', replicaId, '--point', idOf(1), '--probe', PROBE, '-o', 'json'];
    const { exitCode, stdout } = await stage.attempt(args);
    assert.equal(exitCode, 0, stdout);
    const [operation] = JSON.parse(stdout);
    assert.equal(pointTestSchema.parse(operation.result).passed, true);
    await stage.requireNothingLeft(protection);
  });
});
