/**
 * What may break while a restore point is made: the source's daemon, the server at any step, the target's space, a
 * person's mind. Each time the VM runs on, the next point is exact, and nothing is left over. About two minutes.
 */
import assert from 'node:assert/strict';
import { mkdir, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, suite, type TestContext, test } from 'node:test';
import type { PointAnswer } from '../../src/contract/point.ts';
import { run } from '../../src/rig/command.ts';
import { until } from '../../src/rig/until.ts';
import { BLOCK, type BlockVm, MIB } from './stage/block-vm.ts';
import { requireSameContent } from './stage/bytes.ts';
import { watchEvents } from './stage/event-log.ts';
import { watchPauses } from './stage/guest-watch.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

suite('faults while a restore point is made', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let value = 0;

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ disks: [{ sizeBytes: 48 * MIB }, { sizeBytes: 32 * MIB }] });
    await vm.start();
    protection = await stage.protect(vm.uuid, ['--limit', '8MiB', '--keep', '50']);
    await change(2);
    await stage.requireExactVm(await stage.replicate(protection), vm);
  });
  afterEach(async () => {
    if (stage?.server.pid === undefined) await stage?.server.restart();
  });
  after(async () => {
    await stage?.[Symbol.asyncDispose]();
  });

  /** Different bytes on both disks, so many MiB on the first. */
  const change = async (mebibytes: number) => {
    value = (value % 250) + 1;
    await vm.write('vda', { offset: value * BLOCK, length: mebibytes * MIB, value });
    await vm.write('vdb', { offset: 3 * MIB + 512 * value, length: 3 * BLOCK, value });
  };

  const requireExactIncrement = async (point: PointAnswer) => {
    await stage.requireExactVm(point, vm);
    assert.deepEqual(
      point.disks.map(({ transfer }) => transfer),
      ['incremental', 'incremental'],
    );
  };

  /** The next run sees what the broken one was about, and what was written since. */
  const requireNextExact = async () => {
    await change(1);
    await requireExactIncrement(await stage.replicate(protection));
    await stage.requireNothingLeft(protection);
  };

  test('libvirtd killed and back while blocks move', async (t) => {
    await change(16);
    const count = (await stage.points(protection)).length;
    const events = await watchEvents(stage.server.dataFolder);
    const running = stage.tryReplicate(protection);
    await events.next({ type: 'step-started', step: 'move-blocks' });
    const qemu = stage.production.qemuPid(vm.uuid);
    await stage.production.killDaemon();
    await stage.production.restartDaemon();
    const operation = await running;
    t.diagnostic(`the run ${operation.state}: ${operation.error?.message ?? ''}`);
    assert.match(operation.state, /^(succeeded|failed)$/, describe(operation));
    assert.notEqual(operation.error?.code, 'unexpected', describe(operation));
    const points = await stage.points(protection);
    assert.equal(points.length, operation.state === 'succeeded' ? count + 1 : count);
    const newest = points.at(-1);
    if (operation.state === 'succeeded' && newest) await stage.requireExactVm(newest, vm);
    assert.equal(stage.production.qemuPid(vm.uuid), qemu);
    assert.equal(await vm.state(), 'running');
    await requireNextExact();
  });

  test('libvirtd killed while blocks move, and back only after the run gave up', async (t) => {
    await change(12);
    const count = (await stage.points(protection)).length;
    const events = await watchEvents(stage.server.dataFolder);
    const running = stage.tryReplicate(protection);
    await events.next({ type: 'step-started', step: 'move-blocks' });
    await stage.production.killDaemon();
    const operation = await running;
    await stage.production.restartDaemon();
    t.diagnostic(`the run ${operation.state}: ${operation.error?.message ?? ''}`);
    assert.equal(operation.state, 'failed', describe(operation));
    assert.notEqual(operation.error?.code, 'unexpected', describe(operation));
    assert.equal((await stage.points(protection)).length, count);
    assert.equal(await vm.state(), 'running');
    await requireNextExact();
  });

  /**
   * Each with what was just begun or just done; the server dies within milliseconds of it. The next in the row
   * shows that the change mark was carried on: its point is exact, too, and incremental.
   */
  const moments = [
    ['step-started', 'freeze'],
    ['step-succeeded', 'freeze'],
    ['step-started', 'move-blocks'],
    ['step-succeeded', 'move-blocks'],
    ['step-succeeded', 'end-freeze'],
    ['step-started', 'seal'],
    ['step-succeeded', 'seal'],
    ['step-started', 'sweep-marks'],
    ['step-started', 'tidy-store'],
  ] as const;
  for (const [type, step] of moments) {
    test(`the server is killed at ${type} ${step}`, async (t) => {
      await killAt(t, { type, step });
    });
  }

  test('the server is killed twice in one run', async (t) => {
    await killAt(t, { type: 'step-started', step: 'move-blocks' }, { times: 2 });
    await requireNextExact();
  });

  const killAt = async (
    t: TestContext,
    moment: { type: string; step: string },
    { times = 1 } = {},
  ) => {
    await change(4);
    const { server } = stage;
    const points = await stage.points(protection);
    const events = await watchEvents(server.dataFolder);
    const asking = stage.beginReplicate(protection).catch((error: unknown) => error);
    const { operationId } = await events.next(moment);
    await server.kill9();
    await asking;
    for (let time = 1; time < times; time++) {
      const again = await watchEvents(server.dataFolder);
      await server.restart();
      await again.next({ operationId, step: moment.step });
      await server.kill9();
    }
    assert.equal(await vm.state(), 'running');
    await server.restart();
    const operation = await stage.settled(operationId);
    t.diagnostic(`${operation.state}: ${operation.error?.message ?? ''}`);
    assert.equal(operation.state, 'succeeded', describe(operation));
    const now = await stage.points(protection);
    assert.equal(now.length, points.length + 1);
    const newest = now.at(-1);
    assert.ok(newest);
    await requireExactIncrement(newest);
    await stage.requireNothingLeft(protection);
  };

  /** A file system of 48 MiB, as the storage of a host called as it is. */
  const onSmallStorage = async (
    name: string,
    reserve: readonly string[],
    use: (storage: string) => Promise<void>,
  ) => {
    const storage = join(stage.folder, name);
    await mkdir(storage);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=48m,mode=0711', 'understudy-e2e', storage]);
    try {
      const uri = ['--uri', stage.recovery.uri];
      await stage.server.json(['host', 'add', name, ...uri, '--storage', storage, ...reserve]);
      await use(storage);
    } finally {
      // What serves images there may take a moment to end.
      await run('umount', ['--lazy', storage]);
    }
  };

  test('a full target is told, harms nothing, and is forgotten when there is room', async () => {
    await onSmallStorage('small', ['--storage-reserve', '0'], onSmallTarget);
  });

  test('a run that would use the reserve of the target does not begin, or ends there', async () => {
    await onSmallStorage('reserved', [], upToTheReserve);
  });

  const onSmallTarget = async (storage: string) => {
    const small = await stage.blockVm({ disks: [{ sizeBytes: 64 * MIB }] });
    await small.start();
    await small.write('vda', { offset: 0, length: 12 * MIB, value: 1 });
    const job = await stage.protect(small.uuid, ['--target', 'small']);
    const first = await stage.replicate(job);
    const ballast = join(storage, 'ballast');
    await writeFile(ballast, Buffer.alloc(28 * MIB, 1));
    await small.write('vda', { offset: 6 * MIB, length: 16 * MIB, value: 2 });
    await using pauses = await watchPauses(stage.production, small.uuid);
    const operation = await stage.tryReplicate(job);
    assert.equal(operation.state, 'failed', describe(operation));
    assert.equal(operation.error?.code, 'target-full', describe(operation));
    assert.match(operation.error?.message ?? '', new RegExp(storage));
    await small.write('vda', { offset: 40 * MIB, length: MIB, value: 3 });
    assert.equal(await small.state(), 'running');
    assert.deepEqual(pauses.seen(), []);
    await stage.requireNothingLeft(job);
    const { replicaId } = first;
    const layers = join(storage, replicaId, 'layers');
    assert.deepEqual(
      await readdir(layers),
      first.disks.map(({ layerId }) => layerId),
    );
    await rm(ballast);
    const point = await stage.replicate(job);
    const [disk] = point.disks;
    assert.ok(disk);
    assert.equal(disk.transfer, 'incremental');
    assert.ok(disk.sentBytes <= 17 * MIB * 1.05);
    const path = join(layers, disk.layerId, 'vda.qcow2');
    await requireSameContent(small.expected('vda'), { path, format: 'qcow2' });
    await small.destroy();
  };

  /** A twentieth of 48 MiB. */
  const RESERVE = 2.4 * MIB;

  const upToTheReserve = async (storage: string) => {
    const free = async () => {
      const { bavail, bsize } = await statfs(storage);
      return bavail * bsize;
    };
    const ballast = join(storage, 'ballast');
    const leave = async (bytes: number) => {
      await rm(ballast, { force: true });
      await writeFile(ballast, Buffer.alloc((await free()) - bytes, 1));
    };
    const guest = await stage.blockVm({ disks: [{ sizeBytes: 64 * MIB }] });
    // Before it runs: what QEMU has not told the file of its tables yet, nobody else can count.
    await guest.write('vda', { offset: 0, length: 12 * MIB, value: 1 });
    await guest.start();

    await leave(13 * MIB);
    const vm = `--vm=${guest.uuid}`;
    const hosts = ['--source', 'production', '--target', 'reserved'];
    const blocked = await stage.attempt(['job', 'create', 'too-large', ...hosts, vm]);
    assert.equal(blocked.exitCode, 3, blocked.stderr);
    assert.match(
      blocked.stderr,
      /needs about 12\.\d MiB; at \S+ on host reserved 13\.0 MiB are free/,
    );

    await leave(40 * MIB);
    const job = await stage.protect(guest.uuid, ['--target', 'reserved', '--limit', '8MiB']);
    await leave(13 * MIB);
    await requireRefused(await stage.tryReplicate(job), /needs about 12\.\d MiB/, 'find-room');
    await leave(40 * MIB);
    const first = await stage.replicate(job);

    await leave(12 * MIB);
    await using pauses = await watchPauses(stage.production, guest.uuid);
    await guest.write('vda', { offset: 6 * MIB, length: 24 * MIB, value: 2 });
    let least = await free();
    const running = stage.tryReplicate(job);
    const ended = await until('the run has ended', async () => {
      least = Math.min(least, await free());
      return Promise.race([running, undefined]);
    });
    await requireRefused(ended, /2\.40 MiB are kept in reserve/, 'move-blocks');
    assert.ok(least > RESERVE / 2, `${least} were left`);
    assert.ok(least < 8 * MIB, `${least} were left`);

    await leave(1 * MIB);
    await requireRefused(await stage.tryReplicate(job), /1\.00 MiB are free/, 'find-room');
    assert.deepEqual(pauses.seen(), []);
    await stage.requireNothingLeft(job);
    const layers = join(storage, first.replicaId, 'layers');
    assert.deepEqual(
      await readdir(layers),
      first.disks.map(({ layerId }) => layerId),
    );

    await rm(ballast);
    const [disk] = (await stage.replicate(job)).disks;
    assert.equal(disk?.transfer, 'incremental');
    const path = join(layers, disk.layerId, 'vda.qcow2');
    await requireSameContent(guest.expected('vda'), { path, format: 'qcow2' });
    await guest.destroy();
  };

  const requireRefused = async (
    operation: Awaited<ReturnType<Stage['tryReplicate']>>,
    reason: RegExp,
    step: string,
  ) => {
    assert.equal(operation.error?.code, 'target-full', describe(operation));
    assert.match(operation.error?.message ?? '', reason);
    const failed = operation.history.filter(({ type }) => type === 'step-failed');
    assert.deepEqual(
      failed.map((event) => event.step),
      [step],
    );
    const wasFrozen = operation.history.some((event) => event.step === 'freeze');
    assert.equal(wasFrozen, step === 'move-blocks', describe(operation));
  };

  test('a run is cancelled', async () => {
    await change(16);
    const before = await stage.points(protection);
    const events = await watchEvents(stage.server.dataFolder);
    const { id } = await stage.beginReplicate(protection);
    await events.next({ operationId: id, type: 'step-started', step: 'move-blocks' });
    const { exitCode, stderr } = await stage.attempt(['operation', 'cancel', id]);
    assert.equal(exitCode, 0, stderr);
    const operation = await stage.settled(id);
    assert.equal(operation.state, 'cancelled', describe(operation));
    assert.deepEqual(await stage.points(protection), before);
    assert.equal(await vm.state(), 'running');
    await stage.requireNothingLeft(protection);
    await requireNextExact();
  });
});
