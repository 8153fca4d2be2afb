/** What is configured: names, identities, definitions, schedules, and how protection ends. */
import assert from 'node:assert/strict';
import { access, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import { jobCreatedSchema, jobSchema } from '../../src/contract/job.ts';
import { operationSchema, seenOperationSchema } from '../../src/contract/operation.ts';
import { replicaSchema } from '../../src/contract/replica.ts';
import { until } from '../../src/rig/until.ts';
import { type BlockVm, MIB } from './stage/block-vm.ts';
import { type Archive, archiveOf, order, refused, succeed } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

const DISKS = [{ sizeBytes: 8 * MIB }];
const METADATA =
  '<metadata><shop:order xmlns:shop="https://shop.example/1">4 &lt; 5</shop:order></metadata>';

suite('configuration', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let archive: Archive;

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: 'kept', disks: DISKS });
    await define(stage.production, vm.uuid, (xml) =>
      xml.replace('<memory', `<description>till &amp; shop</description>${METADATA}<memory`),
    );
    await stage.production.virsh(['autostart', '--domain', vm.uuid]);
    await vm.start();
    await vm.write('vda', { offset: 0, length: MIB, value: 7 });
    protection = await stage.protect(vm.name);
    archive = archiveOf(stage, vm);
    await archive.keep(await stage.replicate(protection));
  });
  after(() => stage?.[Symbol.asyncDispose]());

  test('the replica keeps what the guest sees and what we do not know, and starts with no host', async () => {
    const { targetVmId } = await stage.replica(protection);
    assert.equal(targetVmId, vm.uuid);
    const xml = await stage.recovery.virsh(['dumpxml', '--domain', vm.uuid]);
    assert.match(xml, /<description>till &amp; shop<\/description>/);
    assert.match(xml, /<shop:order xmlns:shop="https:\/\/shop.example\/1">4 &lt; 5<\/shop:order>/);
    assert.match(xml, /<mac address='52:54:00:00:00:01'\/>/);
    assert.match(await stage.recovery.virsh(['dominfo', vm.uuid]), /Autostart:\s+disable/);
    assert.match(await stage.production.virsh(['dominfo', vm.uuid]), /Autostart:\s+enable/);
  });

  test('the log and the program tell of an operation in the same lines', async () => {
    const args = ['operation', 'list', '--limit', '1'];
    const [run] = await stage.ask(args, z.array(seenOperationSchema));
    assert.ok(run);
    const { stdout } = await stage.attempt(['operation', 'show', run.id]);
    const log = await readFile(join(stage.server.dataFolder, 'log.jsonl'), 'utf8');
    const logged = log
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
      .filter((entry) => entry.operationId === run.id);
    assert.ok(logged.length > 10, `${logged.length} lines`);
    for (const { message } of logged) assert.ok(stdout.includes(message), message);
  });

  test('within one host the replica gets an identity of its own, and the MAC address stays', async () => {
    const places = ['--source', 'production', '--target', 'production', '--suffix', '-twin'];
    const create = ['job', 'create', 'within', ...places, '--vm', vm.name, '--no-schedule'];
    await stage.ask(create, jobCreatedSchema);
    const [run] = await stage.ask(['job', 'run', 'within'], z.array(operationSchema));
    assert.equal(run?.state, 'succeeded');
    const twin = await stage.ask(['replica', 'show', 'kept-twin'], replicaSchema);
    assert.ok(twin.targetVmId !== null && twin.targetVmId !== vm.uuid);
    const xml = await stage.production.virsh(['dumpxml', '--domain', twin.targetVmId]);
    assert.match(xml, /<mac address='52:54:00:00:00:01'\/>/);
    await succeed(stage, 'replica', 'delete', 'kept-twin');
    await assert.rejects(stage.production.virsh(['domstate', '--domain', twin.targetVmId]));
    assert.equal(await vm.state(), 'running');
  });

  test('what is taken, unknown or in the way is refused by name', async () => {
    const places = ['--source', 'production', '--target', 'recovery', '--vm', vm.name];
    const { job } = protection;
    const { name } = await stage.ask(['job', 'show', job], jobSchema);
    await refused(stage, ['job', 'create', name, ...places], 3, new RegExp(name));
    await refused(stage, ['job', 'create', 'second', ...places], 3, /already has a replica/);
    await refused(stage, ['job', 'create', 'x', ...places, '--vm', 'nobody'], 4, /nobody/);
    await refused(stage, ['job', 'show', 'nothing'], 4, /nothing/);
    await refused(stage, ['host', 'remove', 'recovery'], 3, /used by/);
    await refused(
      stage,
      ['host', 'add', 'recovery', '--uri', 'x:///', '--storage', '/x'],
      3,
      /recovery/,
    );
    const { id } = await stage.replica(protection);
    await refused(stage, ['undo-failover', id], 3, /Ready.*Allowed now: .*failover/s);
    await refused(stage, ['permanent-failover', id], 3, /Allowed now/);
    await refused(stage, ['failover', id, '--point', 'pt-none'], 4, /pt-none/);
    await refused(
      stage,
      ['failover', id, '--point', '2001-01-01T00:00:00Z'],
      4,
      /no restore point so old/,
    );
  });

  test('a failover that fails half-way leaves the replica as it was', async () => {
    const { id } = await stage.replica(protection);
    const saved = await stage.recovery.virsh(['dumpxml', '--domain', vm.uuid]);
    await stage.recovery.virsh(['undefine', '--domain', vm.uuid]);
    const path = join(vm.folder, 'foreign.xml');
    await writeFile(path, saved.replace(/<metadata>.*<\/metadata>/s, ''));
    await stage.recovery.virsh(['define', path]);
    const failed = await order(stage, 'failover', id);
    assert.equal(failed.state, 'failed', describe(failed));
    assert.match(failed.error?.message ?? '', /already a VM named/);
    assert.equal((await stage.replica(protection)).phase, 'Ready');
    assert.deepEqual(await readdir(join(stage.storageFolder, id, 'branches')), []);
    await stage.recovery.virsh(['undefine', '--domain', vm.uuid]);
    await succeed(stage, 'replica', 'rescan', id, '--repair');
    await vm.write('vda', { offset: MIB, length: MIB, value: 8 });
    await archive.keep(await stage.replicate(protection));
    await archive.requireAllExact(protection);
  });

  test('removed from the configuration, its VM and files stay', async () => {
    const { id, name } = await stage.replica(protection);
    const points = await archive.requireAllExact(protection);
    await succeed(stage, 'replica', 'remove', id);
    const listed = await stage.ask(['replica', 'list'], z.array(replicaSchema));
    assert.deepEqual(listed, []);
    for (const point of points) await stage.requireExact(point, archive.expected(point));
    assert.equal((await stage.recovery.virsh(['domname', vm.uuid])).trim(), name);
    assert.deepEqual(await vm.marks(), []);
    await refused(stage, ['job', 'run', protection.job], 3, /excluded|removed/);
    assert.equal(await vm.state(), 'running');
  });

  test('deleted from disk, both are gone, and the source is left alone', async () => {
    const other = await stage.blockVm({ name: 'gone', disks: DISKS });
    await other.write('vda', { offset: 0, length: MIB, value: 9 });
    const doomed = await stage.protect(other.name);
    await stage.replicate(doomed);
    const { id, targetVmId } = await stage.replica(doomed);
    await succeed(stage, 'replica', 'delete', id);
    await assert.rejects(access(join(stage.storageFolder, id)), /ENOENT/);
    await assert.rejects(stage.recovery.virsh(['domstate', '--domain', targetVmId ?? '']));
    await refused(stage, ['replica', 'show', 'gone-replica'], 4, /gone-replica/);
    assert.equal(await other.state(), 'shut off');
    await access(other.diskPath('vda'));
  });

  test('a scheduled job begins by itself, and tells when it will run again', async () => {
    const timed = await stage.blockVm({ name: 'timed', disks: DISKS });
    const places = ['--source', 'production', '--target', 'recovery', '--vm', timed.name];
    const { job } = await stage.ask(
      ['job', 'create', 'timed', ...places, '--rpo', '10m'],
      jobCreatedSchema,
    );
    assert.equal(job.isScheduled, true);
    const replica = await until('the first run succeeds', async () => {
      const shown = await stage.ask(['replica', 'show', 'timed-replica'], replicaSchema);
      return shown.phase === 'Ready' && shown.openOperation === null ? shown : undefined;
    });
    const { nextRunAt } = await stage.ask(['job', 'show', 'timed'], jobSchema);
    const afterMs = Date.parse(nextRunAt ?? '') - Date.parse(replica.newestPointTakenAt ?? '');
    assert.ok(afterMs > 60_000 && afterMs <= 600_000, `next run ${afterMs} ms after the point`);
    await stage.attempt(['job', 'pause', 'timed']);
    assert.equal((await stage.ask(['job', 'show', 'timed'], jobSchema)).nextRunAt, null);
  });

  async function define(
    host: Stage['production'],
    uuid: string,
    change: (xml: string) => string,
  ): Promise<void> {
    const path = join(stage.folder, 'changed.xml');
    await writeFile(path, change(await host.virsh(['dumpxml', '--inactive', '--domain', uuid])));
    await host.virsh(['define', path]);
  }
});
