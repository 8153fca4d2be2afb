/**
 * The server is killed (SIGKILL) at every step of the operations that follow a loss. Each goes on by itself when the
 * server is back, to the same end as if nothing had happened.
 */
import assert from 'node:assert/strict';
import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import type { OperationDetailAnswer } from '../../src/contract/operation.ts';
import { replicaSchema } from '../../src/contract/replica.ts';
import { run } from '../../src/rig/command.ts';
import { commandLineOf, listProcesses } from '../../src/rig/processes.ts';
import { type BlockVm, MIB } from './stage/block-vm.ts';
import { requireSameContent } from './stage/bytes.ts';
import { requireTookOver, standInOf } from './stage/home.ts';
import { killAt } from './stage/killing.ts';
import {
  type Archive,
  archiveOf,
  conditionNames,
  failOverBlockVm,
  succeed,
  transfers,
  untilRunning,
} from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

const SWITCHOVER_STEPS = [
  'catch-up/freeze-replica',
  'catch-up/copy-home',
  'catch-up/end-freeze',
  'shut-down-replica-1',
  'power-off-replica',
  'last-delta/freeze-replica',
  'last-delta/copy-home',
  'tell-target',
  'attach-layers',
  'start-production',
  'last-delta-end/end-freeze',
];

suite('the server is killed at every step', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let archive: Archive;

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: 'killed' });
    await vm.start();
    protection = await stage.protect(vm.name, ['--archive', '1h']);
    archive = archiveOf(stage, vm);
    for (const value of [0x31, 0x32]) {
      await vm.write('vda', { offset: value * 65536, length: 3 * MIB, value });
      await vm.write('vdb', { offset: value * 512, length: 8192, value });
      await archive.keep(await stage.replicate(protection));
    }
  });
  after(() => stage?.[Symbol.asyncDispose]());

  test('of a failover', async () => {
    const { id } = await stage.replica(protection);
    const steps = [
      'check-drift',
      'look-at-source',
      'make-branch',
      'define-replica',
      'start-replica',
    ];
    const operationId = await killAt(stage, [...steps, 'await-guest-1'], 'failover', id);
    const replica = await untilRunning(stage, protection, operationId);
    assert.equal(replica.phase, 'Failover');
    assert.equal(replica.failover?.operationId, operationId);
    assert.deepEqual(await readdir(join(stage.storageFolder, id, 'branches')), [
      replica.failover?.branchId,
    ]);
    assert.equal(qemusOnRecovery(), 1);
    assert.equal(await vm.state(), 'running');
    const points = await archive.requireAllExact(protection);
    await requireServes(points.at(-1)?.id ?? '');
  });

  test('of an undo', async () => {
    const { id, failover } = await stage.replica(protection);
    const steps = ['power-off-replica', 'archive-branch', 'rest-replica'];
    const operation = await settled(await killAt(stage, steps, 'undo-failover', id));
    assert.equal(operation.state, 'succeeded', describe(operation));
    const replica = await stage.replica(protection);
    assert.equal(replica.phase, 'Ready');
    assert.deepEqual(conditionNames(replica), []);
    assert.deepEqual(
      replica.archives.map(({ branchId }) => branchId),
      [failover?.branchId],
    );
    assert.equal(qemusOnRecovery(), 0);
    await archive.requireAllExact(protection);
    await vm.write('vda', { offset: 9 * MIB, length: 65536, value: 0x33 });
    const point = await stage.replicate(protection);
    assert.equal(point.disks[0]?.transfer, 'incremental');
    await archive.keep(point);
    assert.equal((await archive.requireAllExact(protection)).length, 3);
    await stage.requireNothingLeft(protection);
  });

  test('of a failback, its switchover, the undo of it, and the commit', async () => {
    const [, point] = await stage.points(protection);
    assert.ok(point);
    await vm.hardKill();
    const replica = await failOverBlockVm(stage, protection, '--point', point.id);
    const folder = join(vm.folder, 'stand-in');
    const serving = await standInOf(stage, replica, archive.expected(point), folder);
    await serving.write('vda', { offset: 30 * MIB, length: 65536, value: 0x41 });
    const { id } = replica;
    const goHome = ['look-at-both', 'pass-1/freeze-replica', 'pass-1/copy-home'];
    await succeeded(await killAt(stage, goHome, 'failback', id));
    assert.equal((await stage.replica(protection)).phase, 'ReadyToSwitch');

    await serving.write('vdb', { offset: 4096, length: 65536, value: 0x42 });
    const switchOver = [
      'switch-over',
      id,
      '--shutdown-deadline',
      '1s',
      '--on-missed-deadline',
      'power-off',
    ];
    await succeeded(await killAt(stage, SWITCHOVER_STEPS, ...switchOver));
    await requireTookOver(stage.production, vm.uuid, serving);
    assert.deepEqual([await vm.state(), qemusOnRecovery()], ['running', 0]);

    // It has no system that would follow a shutdown, which is waited for.
    await stage.production.virsh(['destroy', '--domain', vm.uuid]);
    const goBack = ['stop-production', 'unpark-replica', 'start-replica', 'drop-layers'];
    await succeeded(await killAt(stage, goBack, 'undo-failback', id));
    assert.deepEqual([await vm.state(), qemusOnRecovery()], ['shut off', 1]);
    await serving.write('vda', { offset: 31 * MIB, length: 65536, value: 0x43 });
    await succeed(stage, 'failback', id);
    await succeed(stage, ...switchOver);
    await requireTookOver(stage.production, vm.uuid, serving);

    const commit = ['copy-state', 'seal-state', 'merge-layers', 'leave-branch', 'sweep-marks'];
    await succeeded(await killAt(stage, commit, 'commit-failback', id));
    const state = (await stage.points(protection)).at(-1);
    assert.ok(state);
    await archive.keep(state, serving.expected);
    for (const [key, { path }] of serving.expected) {
      await run('cp', ['--', path, vm.expected(key).path]);
    }
    await vm.write('vda', { offset: 10 * MIB, length: 65536, value: 0x44 });
    const next = await stage.replicate(protection);
    assert.deepEqual(transfers(next), ['incremental', 'incremental']);
    await archive.keep(next);
    await archive.requireAllExact(protection);
    await stage.requireNothingLeft(protection);
  });

  test('of a permanent failover', async () => {
    const [point] = await stage.points(protection);
    assert.ok(point);
    const taken = await failOverBlockVm(stage, protection, '--point', point.id);
    const steps = ['flatten', 'gather-changes', 'drop-chain'];
    const operation = await settled(await killAt(stage, steps, 'permanent-failover', taken.id));
    assert.equal(operation.state, 'succeeded', describe(operation));
    assert.equal(qemusOnRecovery(), 1);
    const folder = join(stage.storageFolder, taken.id);
    const branchId = taken.failover?.branchId ?? '';
    assert.deepEqual(await readdir(join(folder, 'branches')), [branchId]);
    for (const name of ['points', 'layers']) {
      assert.deepEqual(await readdir(join(folder, name)).catch(() => []), []);
    }
    for (const [key, image] of archive.expected(point)) {
      const path = join(folder, 'branches', branchId, `${key}.qcow2`);
      await requireSameContent(image, { path, format: 'qcow2' });
      const info = await run('qemu-img', ['info', '-U', '--output=json', '--', path]);
      assert.equal(JSON.parse(info)['backing-filename'], undefined);
    }
    const shown = await stage.ask(['replica', 'show', taken.id], replicaSchema);
    assert.equal(shown.phase, 'Permanent');
  });

  test('of a deletion', async () => {
    const other = await stage.blockVm({ name: 'deleted', disks: [{ sizeBytes: 8 * MIB }] });
    await other.start();
    await other.write('vda', { offset: 0, length: MIB, value: 1 });
    const doomed = await stage.protect(other.name);
    await stage.replicate(doomed);
    const { id, targetVmId } = await stage.replica(doomed);
    const steps = ['forget-marks', 'delete-replica', 'gather-changes'];
    const operation = await settled(await killAt(stage, steps, 'replica', 'delete', id));
    assert.equal(operation.state, 'succeeded', describe(operation));
    await assert.rejects(access(join(stage.storageFolder, id)), /ENOENT/);
    await assert.rejects(stage.recovery.virsh(['domstate', '--domain', targetVmId ?? '']));
    const listed = await stage.ask(['replica', 'list'], z.array(replicaSchema));
    assert.ok(!listed.some((replica) => replica.id === id));
    assert.deepEqual(await other.marks(), []);
    assert.equal(await other.state(), 'running');
  });

  async function succeeded(operationId: string): Promise<void> {
    const operation = await settled(operationId);
    assert.equal(operation.state, 'succeeded', describe(operation));
  }

  function settled(operationId: string): Promise<OperationDetailAnswer> {
    return stage.settled(operationId);
  }

  /** QEMU names the disks of a branch on its command line. The probe for acceleration, another guest, has none. */
  function qemusOnRecovery(): number {
    const isReplica = (pid: number): boolean => {
      const [program = '', ...args] = commandLineOf(pid);
      const names = (argument: string) =>
        argument.includes(`${stage.storageFolder}/`) && argument.includes('/branches/');
      return program.includes('qemu-system') && args.some(names);
    };
    return listProcesses().filter(isReplica).length;
  }

  /** The branch reads as the point, because no guest has written. */
  async function requireServes(pointId: string): Promise<void> {
    const replica = await stage.replica(protection);
    assert.equal(replica.failover?.pointId, pointId);
    const point = (await stage.points(protection)).find(({ id }) => id === pointId);
    assert.ok(point);
    for (const [key, image] of archive.expected(point)) {
      const { branchId } = replica.failover;
      const path = join(stage.storageFolder, replica.id, 'branches', branchId, `${key}.qcow2`);
      await requireSameContent(image, { path, format: 'qcow2' });
    }
  }
});
