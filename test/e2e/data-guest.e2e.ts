/**
 * Restore points of a guest that never stops writing: each is compared with what QEMU itself exported of the frozen
 * instant while the run was held up, and nothing that happens to the target reaches the guest. About two minutes.
 */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, type TestContext, test } from 'node:test';
import type { PointAnswer } from '../../src/contract/point.ts';
import type { TestVm } from '../../src/rig/test-vm.ts';
import { until, untilTrue } from '../../src/rig/until.ts';
import { MIB } from './stage/block-vm.ts';
import { copyFrozen, type Image } from './stage/bytes.ts';
import { watchEvents } from './stage/event-log.ts';
import { watchPauses } from './stage/guest-watch.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

suite('restore points of a guest that writes', { skip: skipReason() }, () => {
  const DISKS = ['vda', 'vdb'] as const;
  let stage: Stage;
  let vm: TestVm;
  let protection: Protection;
  let seed = 1000;
  const taken: { point: PointAnswer; frozen: ReadonlyMap<string, Image> }[] = [];

  before(async () => {
    stage = await openStage();
    vm = await stage.guestVm();
    await vm.start();
    await vm.waitForHttp();
  });
  after(async () => {
    await stage?.[Symbol.asyncDispose]();
  });

  const fill = (mebibytes: number) => {
    seed += 1;
    return vm.http(`/fill/${mebibytes}/${seed}`, { timeoutMs: 120_000 });
  };

  const sentOf = ({ disks }: PointAnswer, key: string) =>
    disks.find((disk) => disk.key === key)?.sentBytes ?? -1;

  const kinds = ({ disks }: PointAnswer) =>
    disks.map(({ key, transfer }) => `${key} ${transfer}`).join(', ');

  /** The ledger grows: the guest runs and its writes end. */
  const advances = async () => {
    const { seq } = await vm.ledger();
    await untilTrue('the ledger grows', async () => (await vm.ledger()).seq > seq + 5);
    assert.equal(await vm.state(), 'running');
  };

  /** The job of the VM is replaced; its replica and points go over to the new one. */
  const protectWith = async (...options: readonly string[]): Promise<Protection> => {
    await stage.server.cli(['job', 'delete', protection.job]);
    return stage.protect(vm.uuid, options);
  };

  /**
   * Replicates; while the server is stopped with the freeze in place, copies the frozen view and lets the guest write
   * over it. Compares the sealed point with the copy.
   */
  const replicateAgainstFrozen = async (t: TestContext): Promise<PointAnswer> => {
    const { server, scratchFolder } = stage;
    const pid = server.pid;
    assert.ok(pid !== undefined);
    const events = await watchEvents(server.dataFolder);
    const running = stage.tryReplicate(protection);
    await events.next({ type: 'step-succeeded', step: 'freeze' });
    process.kill(pid, 'SIGSTOP');
    let frozen: ReadonlyMap<string, Image>;
    try {
      const [freeze] = (await readdir(scratchFolder)).filter((name) => /^[0-9a-f]{16}$/.test(name));
      assert.ok(freeze, 'a freeze is in place');
      const copying = copyFrozen(
        join(scratchFolder, freeze, 'nbd'),
        DISKS,
        join(stage.folder, `frozen-${taken.length}`),
      );
      await Promise.all([copying, fill(12)]);
      await advances();
      frozen = await copying;
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    const operation = await running;
    assert.equal(operation.state, 'succeeded', describe(operation));
    const point = (await stage.points(protection)).at(-1);
    assert.ok(point);
    taken.push({ point, frozen });
    t.diagnostic(`${kinds(point)}; sent ${DISKS.map((key) => sentOf(point, key)).join(' + ')}`);
    await stage.requireExact(point, frozen);
    return point;
  };

  test('the seed is the frozen instant', async (t) => {
    await fill(24);
    protection = await stage.protect(vm.uuid, ['--limit', '24MiB', '--quiesce', 'never']);
    const point = await replicateAgainstFrozen(t);
    assert.equal(kinds(point), 'vda full, vdb full');
    assert.equal(point.consistency, 'crash');
    for (const disk of point.disks) assert.equal(disk.because, 'there is no restore point yet');
  });

  test('so is every incremental point', async (t) => {
    protection = await protectWith('--limit', '12MiB', '--quiesce', 'never');
    for (let round = 0; round < 3; round++) {
      await fill(8);
      const point = await replicateAgainstFrozen(t);
      assert.equal(kinds(point), 'vda incremental, vdb incremental');
      for (const disk of point.disks) assert.equal(disk.because, 'its change mark is valid');
    }
  });

  test('what is sent is what was changed', async (t) => {
    await vm.http('/pause');
    const settled = await stage.replicate(protection);
    t.diagnostic(`before: ${sentOf(settled, 'vdb')}`);
    await fill(10);
    const point = await stage.replicate(protection);
    await vm.http('/resume');
    const sent = sentOf(point, 'vdb');
    t.diagnostic(
      `sent ${sent} for ${10 * MIB} changed, ${sentOf(point, 'vda')} of the system disk`,
    );
    assert.ok(sent >= 10 * MIB && sent <= 10 * MIB * 1.05, `${sent} bytes sent`);
  });

  test('every point is still what it was', async () => {
    for (const { point, frozen } of taken) await stage.requireExact(point, frozen);
    await stage.requireNothingLeft(protection);
  });

  test('quiescing the guest gives an application-consistent point', async (t) => {
    protection = await protectWith('--limit', '12MiB', '--quiesce', 'required');
    const point = await replicateAgainstFrozen(t);
    assert.equal(point.consistency, 'application');
    assert.equal(await vm.agent('guest-fsfreeze-status'), 'thawed');
    await advances();
  });

  test('quiescing that is required and impossible fails, and leaves nothing', async () => {
    const mute = await stage.blockVm({ disks: [{ sizeBytes: 16 * MIB }] });
    await mute.start();
    await mute.write('vda', { offset: 0, length: MIB, value: 7 });
    const strict = await stage.protect(mute.uuid, ['--quiesce', 'required']);
    const operation = await stage.tryReplicate(strict);
    assert.equal(operation.state, 'failed', describe(operation));
    assert.equal(operation.error?.code, 'guest-not-answering', describe(operation));
    assert.equal(await mute.state(), 'running');
    assert.deepEqual(await mute.marks(), []);
    await stage.requireNothingLeft(strict);
    await stage.server.cli(['job', 'delete', strict.job]);
    const lenient = await stage.protect(mute.uuid, ['--quiesce', 'if-possible']);
    const point = await stage.replicate(lenient);
    assert.equal(point.consistency, 'crash');
    await stage.requireExactVm(point, mute);
    await mute.destroy();
  });

  test('a target that stands still costs the run, never the guest', async (t) => {
    protection = await protectWith('--limit', '8MiB', '--scratch-quota', '48MiB');
    await fill(100);
    await stage.replicate(protection);
    await fill(64);
    await using pauses = await watchPauses(stage.production, vm.uuid);
    const events = await watchEvents(stage.server.dataFolder);
    const running = stage.tryReplicate(protection);
    await events.next({ type: 'step-started', step: 'move-blocks' });
    const stopped = await until('the storage daemon of the target', () => {
      const pids = stage.targetDaemons();
      return pids.length > 0 ? pids : undefined;
    });
    for (const pid of stopped) process.kill(pid, 'SIGSTOP');
    const stoppedAt = performance.now();
    try {
      // Over what is frozen: each block costs scratch. Twice the quota, and then on and on.
      await fill(100);
      // The way out must not wait for the target either.
      await untilTrue('scratch is freed', async () => (await scratchFolders()).length === 0, {
        deadlineMs: 10_000,
      });
      const ms = Math.round(performance.now() - stoppedAt);
      t.diagnostic(`the freeze was given up ${ms} ms after the target stood still`);
      await fill(100);
      await advances();
    } finally {
      for (const pid of stopped) process.kill(pid, 'SIGCONT');
    }
    const operation = await running;
    assert.equal(operation.error?.code, 'scratch-exhausted', describe(operation));
    await advances();
    assert.deepEqual(pauses.seen(), []);
    await stage.requireNothingLeft(protection);
    protection = await protectWith('--limit', '24MiB');
    await fill(8);
    const point = await replicateAgainstFrozen(t);
    assert.equal(kinds(point), 'vda incremental, vdb incremental');
  });

  const scratchFolders = async () =>
    (await readdir(stage.scratchFolder)).filter((name) => /^[0-9a-f]{16}$/.test(name));
});
