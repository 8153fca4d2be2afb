/**
 * First runs that are compared with what is at the target already. Each point is compared, byte for byte, with what was
 * written to the VM, and the seed with what it was before. No guest is booted. Half a minute.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import type { PointAnswer } from '../../src/contract/point.ts';
import { replicaSchema } from '../../src/contract/replica.ts';
import { run } from '../../src/rig/command.ts';
import { BLOCK, type BlockVm, MIB } from './stage/block-vm.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';

const LIST = z.array(replicaSchema);

suite('first runs over a seed', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm();
    await vm.write('vda', { offset: 0, length: 16 * MIB, value: 1 });
    await vm.write('vdb', { offset: 5 * MIB + 512, length: 8 * MIB, value: 2 });
  });
  after(async () => {
    await stage?.[Symbol.asyncDispose]();
  });

  const hashOf = async (path: string) =>
    createHash('sha256')
      .update(await readFile(path))
      .digest('hex');

  const disk = ({ disks }: PointAnswer, key: string) => {
    const found = disks.find((candidate) => candidate.key === key);
    assert.ok(found);
    return found;
  };

  test('files: a VHDX and a larger raw one, copied before the source went on', async () => {
    const vhdx = join(stage.folder, 'web, vda.vhdx');
    const raw = join(stage.folder, 'vdb.raw');
    const convert = ['convert', '-f', 'raw', '-O'];
    await run('qemu-img', [...convert, 'vhdx', vm.expected('vda').path, vhdx]);
    await run('qemu-img', [...convert, 'raw', vm.expected('vdb').path, raw]);
    await run('qemu-img', ['resize', '-f', 'raw', raw, '80M']);
    await run('qemu-io', ['-f', 'raw', '-c', 'write -P 9 70M 1M', raw]);
    const before = [await hashOf(vhdx), await hashOf(raw)];
    await vm.write('vda', { offset: 20 * MIB, length: 2 * BLOCK, value: 3 });
    await vm.write('vda', { offset: 0, length: BLOCK, value: 0 });
    await vm.write('vdb', { offset: 63 * MIB, length: BLOCK, value: 4 });
    const seeds = [`--seed=${vm.uuid}=vda:${vhdx}`, `--seed=${vm.uuid}=vdb:${raw}`];
    const protection = await stage.protect(vm.uuid, seeds);
    assert.match((await stage.replica(protection)).seed?.name ?? '', /vdb\.raw/);
    const point = await stage.replicate(protection);
    await stage.requireExactVm(point, vm);
    assert.deepEqual(
      point.disks.map(({ transfer }) => transfer),
      ['resync', 'resync'],
    );
    assert.match(disk(point, 'vda').because, /^it was seeded from .*web, vda\.vhdx/);
    assert.equal(disk(point, 'vda').sentBytes, 2 * BLOCK);
    assert.equal(disk(point, 'vdb').sentBytes, BLOCK);
    assert.deepEqual([await hashOf(vhdx), await hashOf(raw)], before);
    await stage.requireNothingLeft(protection);
    await vm.write('vda', { offset: 30 * MIB, length: BLOCK, value: 5 });
    const next = await stage.replicate(protection);
    await stage.requireExactVm(next, vm);
    assert.equal(disk(next, 'vda').transfer, 'incremental');
    assert.equal(disk(next, 'vda').sentBytes, BLOCK);
  });

  test('another replica, and a VM that is off; one that runs is refused', async () => {
    const [template] = (await stage.ask(['replica', 'list'], LIST)).map(({ name }) => name);
    const sibling = await stage.blockVm({ disks: [{ sizeBytes: 48 * MIB }] });
    await sibling.write('vda', { offset: BLOCK, length: 16 * MIB, value: 1 });
    const over = [`--seed=${sibling.uuid}=replica:${template}`];
    const protection = await stage.protect(sibling.uuid, over);
    const point = await stage.replicate(protection);
    await stage.requireExactVm(point, sibling);
    // The 64 KiB behind what the template has, and nothing else.
    assert.equal(disk(point, 'vda').sentBytes, BLOCK);

    const host = stage.recovery;
    const there = await stage.blockVm({ host, name: 'restored', disks: [{ sizeBytes: 32 * MIB }] });
    await there.write('vda', { offset: 0, length: 8 * MIB, value: 7 });
    const small = await stage.blockVm({ disks: [{ sizeBytes: 48 * MIB }] });
    await small.write('vda', { offset: 0, length: 9 * MIB, value: 7 });
    const ofVm = [`--seed=${small.uuid}=vm:restored`];
    await there.start();
    await assert.rejects(stage.protect(small.uuid, ofVm), /it is running, and must be off/);
    // By its files all the same: QEMU holds them.
    const file = [`--seed=${small.uuid}=vda:${there.diskPath('vda')}`];
    await assert.rejects(stage.protect(small.uuid, file), /in use by another program/);
    await there.destroy();
    const protectedToo = await stage.protect(small.uuid, ofVm);
    const seeded = await stage.replicate(protectedToo);
    await stage.requireExactVm(seeded, small);
    assert.equal(disk(seeded, 'vda').sentBytes, MIB);
    assert.equal(disk(seeded, 'vda').because, 'it was seeded from VM restored of the target host');
    await there.start(); // it is what it was
    await there.destroy();
    await stage.requireNothingLeft(protectedToo);
  });

  test('a file that is not there makes nothing', async () => {
    const other = await stage.blockVm({ disks: [{ sizeBytes: 16 * MIB }] });
    const gone = [`--seed=${other.uuid}=vda:${join(stage.folder, 'gone.qcow2')}`];
    await assert.rejects(stage.protect(other.uuid, gone), /no such file on the target host/);
    const { stdout } = await stage.attempt(['job', 'list', '-o', 'json']);
    assert.doesNotMatch(stdout, new RegExp(other.uuid));
  });
});
