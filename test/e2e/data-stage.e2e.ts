/** Proves that what the other files of this folder look for would be found. Some fifteen seconds. */
import assert from 'node:assert/strict';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { run } from '../../src/rig/command.ts';
import { runProgram } from '../../src/rig/server-process.ts';
import { untilTrue } from '../../src/rig/until.ts';
import { type BlockVm, MIB } from './stage/block-vm.ts';
import { watchPauses } from './stage/guest-watch.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import type { Protection } from './stage/operator.ts';

suite('the watchers of the end-to-end suite', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm();
    await vm.write('vda', { offset: MIB, length: MIB, value: 1 });
    protection = await stage.protect(vm.uuid);
    await stage.replicate(protection);
  });
  after(async () => {
    await stage?.[Symbol.asyncDispose]();
  });

  test('the program as it is installed says what the tests are told', async () => {
    const { id } = await stage.replica(protection);
    for (const args of [
      ['point', 'list', id, '-o', 'json'],
      ['failover', id, '--point', 'none'],
    ]) {
      const told = await stage.attempt(args);
      assert.deepEqual(await runProgram(args, stage.server.env, {}), told);
      assert.ok(told.stdout.length + told.stderr.length > 20);
    }
  });

  test('one byte that differs is found', async () => {
    const [point] = await stage.points(protection);
    assert.ok(point);
    await stage.requireExactVm(point, vm);
    const file = await open(vm.expected('vdb').path, 'r+');
    await file.write(Buffer.of(1), 0, 1, 64 * MIB - 1);
    await file.close();
    await assert.rejects(stage.requireExactVm(point, vm), /vdb.qcow2 differs .* offset/s);
  });

  test('a write to the disk that nobody expected is found', async () => {
    await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 9 0 512', '--', vm.diskPath('vda')]);
    const point = await stage.replicate(protection);
    await assert.rejects(stage.requireExactVm(point, vm), /vda.qcow2 differs .* offset 0/s);
  });

  test('a pause of the VM is heard', async () => {
    await vm.start();
    await using pauses = await watchPauses(stage.production, vm.uuid);
    await untilTrue('the pause is heard', async () => {
      // Again and again: when virsh listens nobody tells.
      await stage.production.virsh(['suspend', vm.uuid]);
      await stage.production.virsh(['resume', vm.uuid]);
      return pauses.seen().length > 0;
    });
    await vm.destroy();
  });

  test('whatever is left over is found', async () => {
    assert.deepEqual(await stage.leftovers(protection), []);
    const { id } = await stage.replica(protection);
    const strays = [
      join(stage.scratchFolder, 'stray'),
      join(stage.folder, 'sockets', 'host', 's-stray'),
      join(stage.storageFolder, id, 'layers', 'stray'),
    ];
    for (const stray of strays) await mkdir(stray, { recursive: true });
    const mark = ['checkpoint-create-as', '--domain', vm.uuid, '--name', 'us-stray'];
    await vm.start();
    await stage.production.virsh(mark);
    const found = await stage.leftovers(protection);
    assert.equal(found.length, 4, found.join('\n'));
    for (const stray of strays) await rm(stray, { recursive: true });
    await vm.destroy();
  });
});
