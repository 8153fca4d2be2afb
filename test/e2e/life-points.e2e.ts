/**
 * Restore points hold: through a failover to an older one and its undo, and whatever is done to a replica's files by
 * hand. What each must hold is known from outside (block-vm.ts), and compared by qemu-img.
 */
import assert from 'node:assert/strict';
import { open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import type { PointAnswer } from '../../src/contract/point.ts';
import { replicaFindingSchema } from '../../src/contract/replica.ts';
import { run } from '../../src/rig/command.ts';
import { untilTrue } from '../../src/rig/until.ts';
import { type BlockVm, createBlockVm, MIB } from './stage/block-vm.ts';
import { requireSameContent } from './stage/bytes.ts';
import {
  type Archive,
  archiveOf,
  conditionNames,
  failOverBlockVm,
  order,
  succeed,
  transfers,
  writeReplica,
} from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

suite('restore points', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let archive: Archive;
  const points: PointAnswer[] = [];

  const branchImage = (replicaId: string, branchId: string, key: string) =>
    join(stage.storageFolder, replicaId, 'branches', branchId, `${key}.qcow2`);

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: 'undone' });
    await vm.start();
    protection = await stage.protect(vm.name, ['--archive', '6s']);
    archive = archiveOf(stage, vm);
    for (let round = 0; round < 3; round++) {
      await vm.write('vda', {
        offset: 4 * MIB + round * 65536,
        length: 2 * MIB,
        value: 0x11 + round,
      });
      await vm.write('vdb', { offset: round * 8 * MIB, length: 777 * 512, value: 0x21 + round });
      const point = await stage.replicate(protection);
      await archive.keep(point);
      points.push(point);
    }
  });
  after(() => stage?.[Symbol.asyncDispose]());

  test('the replica runs on the point that was chosen', async () => {
    const [oldest] = points;
    assert.ok(oldest);
    const replica = await failOverBlockVm(stage, protection, '--point', oldest.id);
    assert.equal(replica.phase, 'Failover');
    assert.equal(replica.failover?.pointId, oldest.id);
    assert.equal(await vm.state(), 'running');
    const branchId = replica.failover?.branchId ?? '';
    for (const [key, image] of archive.expected(oldest)) {
      const path = branchImage(replica.id, branchId, key);
      await requireSameContent(image, { path, format: 'qcow2' });
    }
  });

  test('undo archives what the replica wrote, and leaves every point as it was', async () => {
    const before = await stage.replica(protection);
    const { id, failover, targetVmId } = before;
    for (const key of ['vda', 'vdb']) {
      await writeReplica(stage, before, key, { offset: 3 * MIB, length: 6 * MIB, value: 0xee });
    }
    await succeed(stage, 'undo-failover', id);
    const replica = await stage.replica(protection);
    assert.equal(replica.phase, 'Ready');
    assert.equal(replica.failover, null);
    assert.equal(replica.newestPointId, points[2]?.id);
    assert.equal(stage.recovery.qemuPid(targetVmId ?? ''), undefined);
    const left = await archive.requireAllExact(protection);
    assert.deepEqual(left, points);
    assert.deepEqual(
      replica.archives.map(({ branchId, pointId }) => ({ branchId, pointId })),
      [{ branchId: failover?.branchId, pointId: points[0]?.id }],
    );
    await requireArchived(replica.id, failover?.branchId ?? '');
  });

  /** Read-only, and what the replica had when it was stopped. */
  async function requireArchived(replicaId: string, branchId: string): Promise<void> {
    const [oldest] = points;
    assert.ok(oldest);
    const folder = join(vm.folder, 'branch');
    const twin = await createBlockVm({ host: stage.production, name: 'twin', folder });
    await twin.write('vda', { offset: 4 * MIB, length: 2 * MIB, value: 0x11 });
    await twin.write('vdb', { offset: 0, length: 777 * 512, value: 0x21 });
    for (const key of ['vda', 'vdb']) {
      await twin.write(key, { offset: 3 * MIB, length: 6 * MIB, value: 0xee });
      const path = branchImage(replicaId, branchId, key);
      assert.equal((await stat(path)).mode & 0o777, 0o444);
      await requireSameContent(twin.expected(key), { path, format: 'qcow2' });
    }
    await stage.production.virsh(['undefine', '--domain', twin.uuid]);
  }

  test('the next point is incremental and exact', async () => {
    await vm.write('vda', { offset: 40 * MIB, length: MIB, value: 0x33 });
    const point = await stage.replicate(protection);
    await archive.keep(point);
    taken.push(point);
    assert.deepEqual(transfers(point), ['incremental', 'incremental']);
    const sent = point.disks.map(({ sentBytes }) => sentBytes);
    assert.deepEqual(sent, [MIB, 0]);
    assert.equal((await archive.requireAllExact(protection)).length, 4);
  });

  test('a point that rotted silently is found by reading it back', async () => {
    const { id } = await stage.replica(protection);
    const newest = (await stage.points(protection)).at(-1);
    assert.ok(newest);
    const image = stage.layer(newest, 'vda');
    await flipByte(image.path);
    const found = await order(stage, 'replica', 'verify', id);
    const { points: verdicts } = verdictSchema.parse(found.result);
    const wrong = verdicts.filter(({ isSound }) => !isSound).map(({ pointId }) => pointId);
    assert.deepEqual(wrong, [newest.id]);
    const rotten = (await stage.replica(protection)).conditions;
    assert.deepEqual(
      rotten.map(({ name }) => name),
      ['unverified'],
    );
    assert.match(rotten[0]?.message ?? '', new RegExp(newest.id));
    await flipByte(image.path);
    await succeed(stage, 'replica', 'verify', id);
    assert.deepEqual(conditionNames(await stage.replica(protection)), []);
    await archive.requireAllExact(protection);
  });

  suite('a replica that was changed by hand', () => {
    test('a layer that was only touched is read again and accepted', async () => {
      const newest = await newestPoint();
      await run('touch', ['--', stage.layer(newest, 'vdb').path]);
      await requireBlocked(newest, 'layer-changed');
      await requireTakenAnyhow();
      const repaired = await rescan('--repair');
      assert.deepEqual(repaired.left, []);
      const point = await writeAndReplicate(0x41);
      assert.deepEqual(transfers(point), ['incremental', 'incremental']);
    });

    test('a layer that was written to takes its points with it, and only those', async () => {
      const newest = await newestPoint();
      const { path } = stage.layer(newest, 'vda');
      await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 0xff 1M 64k', '--', path]);
      await requireBlocked(newest, 'layer-changed');
      await repairUntilSound();
      const left = await archive.requireAllExact(protection);
      assert.deepEqual(
        left.map(({ id }) => id),
        points.concat(taken.slice(0, -1)).map(({ id }) => id),
      );
      taken.pop();
      const point = await writeAndReplicate(0x42);
      assert.deepEqual(transfers(point), ['resync', 'resync']);
    });

    test('a layer that was deleted takes its points with it, and only those', async () => {
      const newest = await newestPoint();
      await rm(stage.layer(newest, 'vdb').path);
      await requireBlocked(newest, 'layer-missing');
      await repairUntilSound();
      const left = await archive.requireAllExact(protection);
      assert.ok(!left.some(({ id }) => id === newest.id));
      taken.pop();
      await writeAndReplicate(0x43);
    });

    test('a damaged record is rebuilt from the points and layers', async () => {
      const newest = await newestPoint();
      const { id } = await stage.replica(protection);
      const before = await stage.points(protection);
      await writeFile(join(stage.storageFolder, id, 'replica.json'), '{"formatVersion": 1, "laye');
      await requireBlocked(newest, 'record-missing');
      await repairUntilSound();
      assert.deepEqual(await archive.requireAllExact(protection), before);
      const point = await writeAndReplicate(0x44);
      assert.deepEqual(transfers(point), ['incremental', 'incremental']);
    });

    test('a foreign file is told, left alone, and stops nothing', async () => {
      const { id } = await stage.replica(protection);
      const path = join(stage.storageFolder, id, 'layers', 'notes.txt');
      await writeFile(path, 'mine');
      const { left } = await rescan('--repair');
      assert.deepEqual(
        left.map(({ kind, object, blocksWrites }) => [kind, object, blocksWrites]),
        [['foreign-file', 'layers/notes.txt', false]],
      );
      await writeAndReplicate(0x45);
      assert.equal(await readFile(path, 'utf8'), 'mine');
      await rm(path);
      assert.deepEqual((await rescan()).findings, []);
      assert.deepEqual(conditionNames(await stage.replica(protection)), []);
    });

    test('a replica VM whose disks were pointed elsewhere is defined anew', async () => {
      const { targetVmId } = await stage.replica(protection);
      const domain = ['--domain', targetVmId ?? ''];
      const xml = await stage.recovery.virsh(['dumpxml', ...domain]);
      const path = join(vm.folder, 'bent.xml');
      await writeFile(path, xml.replaceAll('only-in-failover', 'elsewhere'));
      await stage.recovery.virsh(['define', path]);
      const { findings } = await rescan();
      assert.deepEqual(
        findings.map(({ kind, repair }) => [kind, repair]),
        [['vm-redefined', 'redefine-vm']],
      );
      assert.deepEqual((await rescan('--repair')).left, []);
      const mended = await stage.recovery.virsh(['dumpxml', ...domain]);
      assert.equal(mended.trim(), xml.trim());
    });
  });

  test('the archive is swept when its time is over', async () => {
    const { id } = await stage.replica(protection);
    const look = async () => (await stage.replica(protection)).archives.length === 0;
    await untilTrue('the archive leaves the list', look, { deadlineMs: 45_000, pauseMs: 300 });
    assert.deepEqual(await readdir(join(stage.storageFolder, id, 'branches')), []);
    await archive.requireAllExact(protection);
    await stage.requireNothingLeft(protection);
  });

  /** Points that the last suite made and that are still there. */
  const taken: PointAnswer[] = [];

  async function newestPoint(): Promise<PointAnswer> {
    const newest = (await stage.points(protection)).at(-1);
    assert.ok(newest);
    return newest;
  }

  async function writeAndReplicate(value: number): Promise<PointAnswer> {
    await vm.write('vda', { offset: 50 * MIB, length: MIB, value });
    await vm.write('vdb', { offset: 30 * MIB, length: 3 * 65536, value });
    const point = await stage.replicate(protection);
    await archive.keep(point);
    taken.push(point);
    await archive.requireAllExact(protection);
    return point;
  }

  async function rescan(...options: readonly string[]): Promise<z.infer<typeof scanSchema>> {
    const { id } = await stage.replica(protection);
    return scanSchema.parse((await succeed(stage, 'replica', 'rescan', id, ...options)).result);
  }

  /** Some repairs only become possible by others. */
  async function repairUntilSound(): Promise<void> {
    for (let round = 0; round < 3; round++) {
      if ((await rescan('--repair')).left.length === 0) break;
    }
    assert.deepEqual((await rescan()).findings, []);
    assert.deepEqual(conditionNames(await stage.replica(protection)), []);
  }

  /** Neither a run nor a failover touches the replica; a rescan says what is wrong. */
  /** When there is nothing better. */
  async function requireTakenAnyhow(): Promise<void> {
    const { id } = await failOverBlockVm(stage, protection, '--accept-drift');
    await succeed(stage, 'undo-failover', id);
  }

  async function requireBlocked(newest: PointAnswer, kind: string): Promise<void> {
    const { id } = await stage.replica(protection);
    const listed = await stage.points(protection);
    const failedRun = await stage.tryReplicate(protection);
    assert.equal(failedRun.state, 'failed', describe(failedRun));
    const failover = await order(stage, 'failover', id, '--point', newest.id);
    assert.equal(failover.state, 'failed', describe(failover));
    for (const { error } of [failedRun, failover]) {
      assert.match(error?.message ?? '', /understudy replica rescan/);
    }
    assert.equal((await stage.replica(protection)).phase, 'Ready');
    assert.deepEqual(await stage.points(protection), listed);
    const { findings } = await rescan();
    assert.ok(
      findings.some((finding) => finding.kind === kind && finding.blocksWrites),
      JSON.stringify(findings),
    );
    const told = await stage.replica(protection);
    assert.deepEqual(conditionNames(told), ['drifted']);
    assert.equal(await vm.state(), 'running');
  }
});

const verdictSchema = z.object({
  points: z.array(z.object({ pointId: z.string(), isSound: z.boolean() })),
});

const scanSchema = z.object({
  findings: z.array(replicaFindingSchema),
  left: z.array(replicaFindingSchema),
});

/** The first byte of the first block that this layer itself holds; its modification time stays to the nanosecond. */
async function flipByte(path: string): Promise<void> {
  const map = await run('qemu-img', ['map', '-U', '--output=json', '-f', 'qcow2', '--', path]);
  const extents = z
    .array(z.object({ depth: z.number(), data: z.boolean(), offset: z.number().optional() }))
    .parse(JSON.parse(map));
  const offset = extents.find(({ depth, data }) => depth === 0 && data)?.offset;
  assert.ok(offset);
  const times = `${path}.times`;
  await run('touch', ['-r', path, '--', times]);
  const file = await open(path, 'r+');
  try {
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, offset);
    await file.write(Buffer.from([(buffer[0] ?? 0) ^ 0xff]), 0, 1, offset);
  } finally {
    await file.close();
  }
  await run('touch', ['-r', times, '--', path]);
  await rm(times);
}
