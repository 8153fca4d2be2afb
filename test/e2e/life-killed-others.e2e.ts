/**
 * The server is killed (SIGKILL) at every step of what life-killed.e2e.ts leaves out: planned failover, hop, fences, the
 * passes of a failback and its end, archives, verify, rescan and removal. Each goes on by itself to its own end.
 */
import assert from 'node:assert/strict';
import { access, readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import type { OperationDetailAnswer } from '../../src/contract/operation.ts';
import { type ReplicaAnswer, replicaSchema } from '../../src/contract/replica.ts';
import { BLOCK, type BlockVm, MIB } from './stage/block-vm.ts';
import { type Image, requireSameContent } from './stage/bytes.ts';
import { watchEvents } from './stage/event-log.ts';
import { diskImages } from './stage/home.ts';
import { killAsItGoes, killAt } from './stage/killing.ts';
import {
  type Archive,
  archiveOf,
  conditionNames,
  succeed,
  transfers,
  writeReplica,
} from './stage/life.ts';
import { untilObedient } from './stage/obedient-guest.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

const PASS_STEPS = ['freeze', 'move-blocks', 'check-still-frozen', 'end-freeze', 'seal'];

suite('the server is killed at every step of the other operations', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let archive: Archive;
  let id: string;

  before(async () => {
    stage = await openStage();
    const disks = [{ sizeBytes: 16 * MIB }, { sizeBytes: 16 * MIB }];
    vm = await stage.blockVm({ name: 'others', disks, isObedient: true });
    await vm.start();
    protection = await stage.protect(vm.name, ['--archive', '1h', '--quiesce', 'never']);
    archive = archiveOf(stage, vm);
    for (const value of [0x31, 0x32]) {
      await vm.write('vda', { offset: value * BLOCK, length: MIB, value });
      await vm.write('vdb', { offset: value * 512, length: 8192, value });
      await archive.keep(await stage.replicate(protection));
    }
    ({ id } = await replica());
  });
  after(() => stage?.[Symbol.asyncDispose]());

  test('verify: every point is read back', async () => {
    const points = await stage.points(protection);
    const steps = [...points.map((point) => `read-back-${point.id}`), 'compare-points'];
    const { result } = await survives(steps, 'replica', 'verify', id);
    assert.equal(z.looseObject({ isSound: z.boolean() }).parse(result).isSound, true);
    assert.deepEqual(stage.targetDaemons(), []);
  });

  test('rescan: what was found is repaired, and nothing is left to find', async () => {
    const [first] = await stage.points(protection);
    assert.ok(first);
    await utimes(stage.layer(first, 'vda').path, 0, 0);
    await stage.recovery.virsh(['undefine', '--domain', vm.uuid]);
    const steps = ['look', 'repair', 'redefine-vm', 'look-again', 'compare-points'];
    const { result } = await survives(steps, 'replica', 'rescan', id, '--repair');
    const { findings, left } = z
      .looseObject({ findings: z.array(z.unknown()), left: z.array(z.unknown()) })
      .parse(result);
    assert.deepEqual([findings.length, left.length], [2, 0], JSON.stringify(result));
    assert.equal(await stateOfReplica(), 'shut off');
    assert.deepEqual(conditionNames(await replica()), []);
    await archive.requireAllExact(protection);
  });

  test('planned failover: no write is lost, and no point too many is left', async () => {
    await vm.write('vda', { offset: 9 * MIB, length: 3 * BLOCK, value: 0x33 });
    await untilObedient(stage.production, vm.uuid);
    const steps = [
      ...PASS_STEPS.map((step) => `pass-1/${step}`),
      'shut-down-source-1',
      ...PASS_STEPS.map((step) => `last-delta/${step}`),
      ...['make-branch', 'define-replica', 'start-replica'].map((step) => `take-over/${step}`),
    ];
    await survives(steps, 'planned-failover', id);
    const points = await stage.points(protection);
    const newest = points.at(-1);
    assert.ok(newest);
    assert.equal(points.length, 3);
    await archive.keep(newest);
    await archive.requireAllExact(protection);
    const { phase, failover } = await replica();
    assert.deepEqual(
      [phase, failover?.fence, failover?.pointId, await vm.state(), await stateOfReplica()],
      ['Failover', 'shutdown', newest.id, 'shut off', 'running'],
    );
    await requireServes(archive.expected(newest));
  });

  test('unfence: the source has its place back, and it is on record', async () => {
    await survives(['lift-fence', 'look-at-source'], 'unfence', id, '--accept-duplicate');
    const { failover } = await replica();
    assert.deepEqual([failover?.fence, failover?.isDuplicateAccepted], ['none', true]);
    assert.equal(await vm.state(), 'running');
  });

  test('fence: the source is cut off, and it is on record', async () => {
    await survives(['look-at-source', 'fence-source'], 'fence', id, '--with', 'power-off');
    assert.equal((await replica()).failover?.fence, 'power-off');
    assert.equal(await vm.state(), 'shut off');
    assert.deepEqual(conditionNames(await replica()), []);
  });

  test('hop: the replica is on the other point, and what it wrote is set aside', async () => {
    const { failover } = await replica();
    const [first] = await stage.points(protection);
    assert.ok(first && failover);
    const steps = [
      'power-off-replica',
      'make-branch',
      'define-replica',
      'start-replica',
      'archive-branch',
    ];
    await survives(steps, 'hop', id, '--point', first.id);
    const { archives, failover: now } = await replica();
    assert.equal(now?.pointId, first.id);
    assert.deepEqual(
      archives.map(({ branchId }) => branchId),
      [failover.branchId],
    );
    assert.equal((await branches()).length, 2);
    assert.equal(await stateOfReplica(), 'running');
    await requireServes(archive.expected(first));
  });

  test('another pass of a failback: counted once, while the replica serves', async () => {
    const events = await watchEvents(stage.server.dataFolder);
    const failback = succeed(stage, 'failback', id, '--switchover', 'below:1');
    await events.next({ step: 'pass-1/copy-home', type: 'step-started' });
    const write = { offset: 12 * MIB, length: 2 * BLOCK, value: 0x41 };
    await writeReplica(stage, await replica(), 'vda', write);
    const steps = ['freeze-replica', 'copy-home', 'end-freeze'];
    const pass = killAsItGoes(stage, events, steps);
    await failback;
    await succeeded(await pass);
    const { phase, failback: record } = await replica();
    assert.deepEqual([phase, record?.passes], ['ReadyToSwitch', 2]);
    assert.equal(record?.syncedBytes, write.length);
    assert.equal(await stateOfReplica(), 'running');
  });

  test('cancelled failback: production has its own disks, untouched', async () => {
    await survives(['drop-layers', 'sweep-marks'], 'cancel-failback', id);
    assert.equal((await replica()).phase, 'Failover');
    const disks = await diskImages(stage.production, vm.uuid);
    for (const key of vm.keys) {
      assert.equal(disks.get(key)?.path, vm.diskPath(key));
      await requireSameContent(vm.expected(key), { path: vm.diskPath(key), format: 'qcow2' });
    }
    assert.deepEqual(await readdir(join(stage.folder, 'storage-p', 'failbacks')), []);
    assert.equal(await stateOfReplica(), 'running');
  });

  test('an archive is kept longer, and one is deleted', async () => {
    const [archived] = (await replica()).archives;
    assert.ok(archived);
    const until = '2099-01-01T00:00:00.000Z';
    const { branchId } = archived;
    await survives(['keep-branch'], 'archive', 'keep', id, branchId, '--until', '2099-01-01');
    assert.deepEqual((await replica()).archives, [{ ...archived, keepUntil: until }]);
    await survives(['delete-branch'], 'archive', 'delete', id, branchId);
    const { archives, failover } = await replica();
    assert.deepEqual(archives, []);
    assert.deepEqual(await branches(), [failover?.branchId]);
  });

  test('removal: nobody is protected any more, and files and VMs stay', async () => {
    await succeed(stage, 'undo-failover', id);
    await vm.write('vda', { offset: 13 * MIB, length: BLOCK, value: 0x34 });
    const next = await stage.replicate(protection);
    assert.deepEqual(transfers(next), ['incremental', 'incremental']);
    await stage.requireExactVm(next, vm);
    await stage.requireNothingLeft(protection);
    await survives(['gather-changes', 'forget-marks'], 'replica', 'remove', id);
    assert.deepEqual(await stage.ask(['replica', 'list'], z.array(replicaSchema)), []);
    assert.deepEqual(await vm.marks(), []);
    assert.deepEqual([await vm.state(), await stateOfReplica()], ['running', 'shut off']);
    await access(join(stage.storageFolder, id, 'points'));
    await stage.requireExactVm(next, vm);
  });

  const replica = (): Promise<ReplicaAnswer> => stage.replica(protection);

  /** Killed at each of the steps, the operation succeeds. */
  const survives = async (
    steps: readonly string[],
    ...args: readonly string[]
  ): Promise<OperationDetailAnswer> => succeeded(await killAt(stage, steps, ...args));

  const succeeded = async (operationId: string): Promise<OperationDetailAnswer> => {
    const operation = await stage.settled(operationId);
    assert.equal(operation.state, 'succeeded', describe(operation));
    return operation;
  };

  const stateOfReplica = async (): Promise<string> =>
    (await stage.recovery.virsh(['domstate', '--domain', vm.uuid])).trim();

  const branches = (): Promise<string[]> => readdir(join(stage.storageFolder, id, 'branches'));

  /** Its guest writes nothing. */
  const requireServes = async (expected: ReadonlyMap<string, Image>): Promise<void> => {
    const disks = await diskImages(stage.recovery, vm.uuid);
    assert.deepEqual([...disks.keys()], [...expected.keys()]);
    for (const [key, image] of expected) {
      const disk = disks.get(key);
      assert.ok(disk);
      await requireSameContent(image, disk);
    }
  };
});
