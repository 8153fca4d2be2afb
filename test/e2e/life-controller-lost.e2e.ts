/**
 * The server's data is gone, or its target host was away while a failover was undone by force: what comes back, comes back
 * from what lies on the hosts, without anybody touching a VM.
 */
import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import { jobCreatedSchema, jobSchema } from '../../src/contract/job.ts';
import type { PointAnswer } from '../../src/contract/point.ts';
import { type RebuildReportAnswer, rebuildReportSchema } from '../../src/contract/rebuild.ts';
import { run } from '../../src/rig/command.ts';
import { untilTrue } from '../../src/rig/until.ts';
import { type BlockVm, MIB } from './stage/block-vm.ts';
import { requireTookOver, standInOf } from './stage/home.ts';
import {
  type Archive,
  archiveOf,
  begin,
  conditionNames,
  failOverBlockVm,
  order,
  succeed,
  transfers,
  writeReplica,
} from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

suite('the controller is lost', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let archive: Archive;
  let round = 0;

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: 'orphaned' });
    await vm.start();
    protection = await stage.protect(vm.name, ['--keep', '9', '--rpo', '1h', '--archive', '2h']);
    archive = archiveOf(stage, vm);
    for (let count = 0; count < 3; count++) await writeAndReplicate();
  });
  after(() => stage?.[Symbol.asyncDispose]());

  async function writeAndReplicate(): Promise<PointAnswer> {
    round += 1;
    await vm.write('vda', { offset: round * 2 * MIB, length: MIB, value: 0x10 + round });
    await vm.write('vdb', { offset: round * MIB, length: 3 * 65536, value: 0x40 + round });
    const point = await stage.replicate(protection);
    await archive.keep(point);
    return point;
  }

  /** As after the loss of the machine it ran on: no shutdown in order, no data folder. */
  async function loseServer(): Promise<void> {
    await stage.server.kill9();
    await rm(stage.server.dataFolder, { recursive: true });
    await stage.server.restart();
    for (const { host, storage, scratch } of [
      {
        host: stage.production,
        storage: join(stage.folder, 'storage-p'),
        scratch: stage.scratchFolder,
      },
      {
        host: stage.recovery,
        storage: stage.storageFolder,
        scratch: join(stage.folder, 'scratch-r'),
      },
    ]) {
      const folders = ['--storage', storage, '--scratch', scratch];
      await stage.server.json(['host', 'add', host.name, '--uri', host.uri, ...folders]);
    }
  }

  async function linkOfSource(): Promise<string> {
    const [mac] = /(?:[0-9a-f]{2}:){5}[0-9a-f]{2}/.exec(await domiflist()) ?? [];
    const args = ['domif-getlink', '--domain', vm.uuid, '--interface', mac ?? ''];
    return (await stage.production.virsh(args)).trim().split(' ').at(-1) ?? '';
  }

  const domiflist = () => stage.production.virsh(['domiflist', '--domain', vm.uuid]);

  function rebuild(...options: readonly string[]): Promise<RebuildReportAnswer> {
    return stage.ask(['rescan', '--rebuild', ...options], rebuildReportSchema);
  }

  test('ready: rebuilt from the folder, the next run is incremental, failover works', async () => {
    const before = await stage.replica(protection);
    const points = await stage.points(protection);
    await loseServer();
    const dry = await rebuild('--dry-run');
    assert.deepEqual(
      dry.folders.map(({ replicaId, outcome }) => [replicaId, outcome]),
      [[before.id, 'rebuilt']],
    );
    const [folder] = (await rebuild()).folders;
    assert.equal(folder?.phase, 'Ready');
    const after = await stage.replica(protection);
    assert.equal(after.id, before.id);
    assert.equal(after.name, before.name);
    assert.equal(after.targetVmId, before.targetVmId);
    assert.equal(after.epoch, before.epoch + 1);
    assert.deepEqual(await stage.points(protection), points);
    const jobs = await stage.ask(['job', 'list'], z.array(jobSchema));
    assert.deepEqual(
      jobs.map((job) => [job.id, job.isPaused, job.rpoSeconds, job.retention.keepLast]),
      [[after.jobId, true, 3600, 9]],
    );
    protection = { ...protection, job: after.jobId ?? '' };
    assert.deepEqual(transfers(await writeAndReplicate()), ['incremental', 'incremental']);
    await archive.requireAllExact(protection);
    const serving = await failOverBlockVm(stage, protection);
    assert.ok(stage.recovery.qemuPid(serving.targetVmId ?? ''));
    await succeed(stage, 'undo-failover', serving.id);
    assert.deepEqual(transfers(await writeAndReplicate()), ['incremental', 'incremental']);
    await archive.requireAllExact(protection);
    assert.equal((await rebuild()).folders[0]?.outcome, 'known');
  });

  test('in Failover: it serves on, and the undo leads back; archives are there again', async () => {
    const [oldest] = await stage.points(protection);
    assert.ok(oldest);
    const before = await failOverBlockVm(
      stage,
      protection,
      '--point',
      oldest.id,
      '--fence',
      'nics',
    );
    const pid = stage.recovery.qemuPid(before.targetVmId ?? '');
    assert.ok(pid);
    await writeReplica(stage, before, 'vda', { offset: 50 * MIB, length: MIB, value: 0x77 });
    await loseServer();
    const [folder] = (await rebuild()).folders;
    assert.equal(folder?.phase, 'Failover');
    const after = await stage.replica(protection);
    assert.equal(after.failover?.branchId, before.failover?.branchId);
    assert.equal(after.failover?.pointId, oldest.id);
    assert.deepEqual(
      after.archives.map(({ branchId }) => branchId),
      before.archives.map(({ branchId }) => branchId),
    );
    assert.equal(stage.recovery.qemuPid(before.targetVmId ?? ''), pid, 'it was not touched');
    assert.deepEqual(after.failover?.fencedNics, before.failover?.fencedNics);
    assert.equal(await linkOfSource(), 'down');
    protection = { ...protection, job: after.jobId ?? '' };
    await writeReplica(stage, after, 'vda', { offset: 52 * MIB, length: MIB, value: 0x78 });
    await succeed(stage, 'undo-failover', after.id);
    assert.equal(await linkOfSource(), 'up', 'the fence was known again');
    assert.equal(stage.recovery.qemuPid(before.targetVmId ?? ''), undefined);
    assert.equal((await stage.replica(protection)).archives.length, before.archives.length + 1);
    assert.deepEqual(transfers(await writeAndReplicate()), ['incremental', 'incremental']);
    await archive.requireAllExact(protection);
  });

  test('in the middle of a failback: ready to switch, then switched over, and committed', async () => {
    const newest = await writeAndReplicate();
    await vm.write('vda', { offset: 33 * MIB, length: MIB, value: 0x31 });
    const folder = join(vm.folder, 'stand-in');
    const replica = await failOverBlockVm(stage, protection, '--fence', 'nics');
    const serving = await standInOf(stage, replica, archive.expected(newest), folder);
    await serving.write('vda', { offset: 55 * MIB, length: 3 * 65536, value: 0x91 });
    // It has no guest that would obey.
    await succeed(stage, 'failback', replica.id, '--shutdown-deadline', '1s');
    await serving.write('vdb', { offset: 44 * MIB, length: 65536, value: 0x92 });
    await loseServer();
    assert.equal((await rebuild()).folders[0]?.phase, 'ReadyToSwitch');
    assert.match((await stage.attempt(['replica', 'show', replica.id])).stdout, /manual/);
    await assert.rejects(stage.production.virsh(['start', '--domain', vm.uuid]), 'it is parked');
    await serving.write('vda', { offset: 57 * MIB, length: 65536, value: 0x93 });
    const now = ['--shutdown-deadline', '1s', '--on-missed-deadline', 'power-off'];
    await begin(stage, 'switch-over', replica.id, ...now);
    // While it still waits for a guest that never answers.
    await untilTrue('production is recorded as running', async () => {
      const { failback } = await stage.replica(protection);
      return (failback?.switched?.runningAfterMs ?? null) !== null;
    });
    const pid = stage.production.qemuPid(vm.uuid);
    assert.ok(pid);
    await loseServer();
    assert.equal((await rebuild()).folders[0]?.phase, 'Failback');
    assert.equal(stage.production.qemuPid(vm.uuid), pid, 'it was not touched');
    await requireTookOver(stage.production, vm.uuid, serving);
    const { jobId } = await stage.replica(protection);
    protection = { ...protection, job: jobId ?? '' };
    await succeed(stage, 'commit-failback', replica.id);
    assert.equal(await linkOfSource(), 'up');
    const state = (await stage.points(protection)).at(-1);
    assert.ok(state);
    await archive.keep(state, serving.expected);
    for (const [key, { path }] of serving.expected) {
      await run('cp', ['--', path, vm.expected(key).path]);
    }
    assert.deepEqual(transfers(await writeAndReplicate()), ['incremental', 'incremental']);
    await archive.requireAllExact(protection);
  });

  test('lost in the middle of a run: what it left neither counts nor stands in the way', async () => {
    await vm.write('vda', { offset: 60 * MIB, length: MIB, value: 0x55 });
    const { id } = await stage.beginReplicate(protection);
    await untilTrue('it moves blocks', async () => {
      const { stdout } = await stage.attempt(['operation', 'show', id, '-o', 'json']);
      return /move-blocks/.test(stdout);
    });
    await loseServer();
    await rebuild();
    const { jobId } = await stage.replica(protection);
    protection = { ...protection, job: jobId ?? '' };
    const point = await stage.replicate(protection);
    await archive.keep(point);
    await archive.requireAllExact(protection);
  });

  test('lost together with the record of the replica: made anew from the images', async () => {
    const before = await stage.replica(protection);
    const points = await stage.points(protection);
    await stage.server.kill9();
    await writeFile(join(stage.storageFolder, before.id, 'replica.json'), '{ "formatVersion": 1,');
    await loseServer();
    const refused = await stage.attempt(['rescan', '--rebuild', '-o', 'json']);
    assert.equal(refused.exitCode, 3);
    assert.match(refused.stdout, /--repair/);
    const [folder] = (await rebuild('--repair', '--source-host', 'production')).folders;
    assert.equal(folder?.phase, 'Ready');
    const after = await stage.replica(protection);
    assert.equal(after.name, before.name);
    assert.equal(after.targetVmId, before.targetVmId);
    assert.deepEqual(await stage.points(protection), points);
    // Some repairs only become possible by others.
    await succeed(stage, 'replica', 'rescan', after.id, '--repair');
    const repaired = await succeed(stage, 'replica', 'rescan', after.id, '--repair');
    assert.deepEqual(leftSchema.parse(repaired.result).left, []);
    const options = ['--source', 'production', '--target', 'recovery', `--vm=${vm.name}`];
    const made = await stage.ask(
      ['job', 'create', 'again', ...options, '--no-schedule', '--keep', '9'],
      jobCreatedSchema,
    );
    assert.equal(made.job.vms[0]?.replicaId, before.id, 'the new job takes it over');
    protection = { ...protection, job: made.job.id };
    assert.deepEqual(transfers(await writeAndReplicate()), ['incremental', 'incremental']);
    await archive.requireAllExact(protection);
  });

  suite('the target host is away while a failover is undone', () => {
    test('forced, it is cleaned up by itself when the host is back', async () => {
      const serving = await failOverBlockVm(stage, protection);
      const vmId = serving.targetVmId ?? '';
      await writeReplica(stage, serving, 'vdb', { offset: 40 * MIB, length: MIB, value: 0x66 });
      await stage.recovery.killDaemon();
      const forced = await order(stage, 'undo-failover', serving.id, '--force');
      assert.equal(forced.state, 'succeeded', describe(forced));
      const undone = await stage.replica(protection);
      assert.equal(undone.phase, 'Ready');
      assert.deepEqual(conditionNames(undone), ['cleanup-pending']);
      assert.ok(stage.recovery.qemuPid(vmId), 'the replica runs on, and nobody claims otherwise');
      const refused = await stage.tryReplicate(protection);
      assert.equal(refused.state, 'failed', describe(refused));
      await stage.recovery.restartDaemon();
      const isClean = async () => conditionNames(await stage.replica(protection)).length === 0;
      await untilTrue('it is cleaned up', isClean, { deadlineMs: 90_000, pauseMs: 500 });
      assert.equal(stage.recovery.qemuPid(vmId), undefined);
      const resting = await stage.recovery.virsh(['dumpxml', '--domain', vmId]);
      assert.match(resting, /only-in-failover/);
      assert.deepEqual(transfers(await writeAndReplicate()), ['incremental', 'incremental']);
      await archive.requireAllExact(protection);
    });

    test('a replica VM that libvirt started with its host is powered off, and its autostart ended', async () => {
      const serving = await failOverBlockVm(stage, protection);
      const vmId = serving.targetVmId ?? '';
      await stage.recovery.virsh(['autostart', '--domain', vmId]);
      await stage.recovery.cutPower();
      const forced = await order(stage, 'undo-failover', serving.id, '--force');
      assert.equal(forced.state, 'succeeded', describe(forced));
      await stage.recovery.powerOn();
      const isClean = async () => conditionNames(await stage.replica(protection)).length === 0;
      await untilTrue('it is cleaned up', isClean, { deadlineMs: 90_000, pauseMs: 500 });
      assert.equal(stage.recovery.qemuPid(vmId), undefined);
      const info = await stage.recovery.virsh(['dominfo', '--domain', vmId]);
      assert.match(info, /Autostart:\s+disable/);
      await writeAndReplicate();
      await archive.requireAllExact(protection);
    });
  });
});

const leftSchema = z.object({ left: z.array(z.unknown()) });
