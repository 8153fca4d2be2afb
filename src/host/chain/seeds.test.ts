/** Seeds in every format that QEMU's own programs make, and those that must be refused. No guest is needed. */
import assert from 'node:assert/strict';
import { mkdtemp, open, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { diskKey, operationId, operationKey, replicaId } from '../../domain/ids.ts';
import { systemProcesses } from '../../system/processes.ts';
import { createChainHarness, needsQemu } from './testing/chain-harness.ts';

const NEVER = { signal: new AbortController().signal };
const VDA = diskKey('vda');
const BLOCKS = 64;
const processes = systemProcesses();

async function qemu(command: string, ...list: readonly string[]): Promise<void> {
  const { exitCode, stderr } = await processes.run({ command, arguments: list }, NEVER);
  assert.equal(exitCode, 0, stderr);
}

test('qcow2, raw and VHDX are told by their content and read alike', {
  skip: needsQemu,
}, async () => {
  await using harness = await createChainHarness();
  const folder = await mkdtemp(join(tmpdir(), 'us-seed, x:y '));
  const path = (name: string) => join(folder, name);
  const store = await harness.open();
  const raw = path('a.qcow2'); // names do not count
  await writeFile(raw, Buffer.alloc(BLOCK_BYTES, 7));
  await truncate(raw, BLOCKS * BLOCK_BYTES);
  await qemu('qemu-img', 'convert', '-f', 'raw', '-O', 'vhdx', raw, path('b.raw'));
  await qemu('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, path('c'));
  await symlink(path('c'), path('d'));
  const formats = { 'a.qcow2': 'raw', 'b.raw': 'vhdx', c: 'qcow2', d: 'qcow2' } as const;
  const command = {
    key: operationKey(operationId('op-1'), 'seed'),
    replicaId: replicaId('rep-1'),
    epoch: 1,
  };
  for (const [name, format] of Object.entries(formats)) {
    const file = { key: VDA, path: path(name), format: null };
    const [about] = await store.describeSeed([file], NEVER);
    assert.equal(about?.format, format);
    for (const blocks of [BLOCKS, 3]) {
      const files = [{ ...file, sizeBytesMax: blocks * BLOCK_BYTES }];
      const [disk] = await store.openSeed({ ...command, files }, NEVER);
      assert.ok(disk);
      assert.equal(disk.sizeBytes, blocks * BLOCK_BYTES);
      const fills = await harness.read(disk.endpoint, disk.sizeBytes);
      assert.deepEqual(fills, [7, ...new Array<number>(blocks - 1).fill(0)], name);
      // Read, it keeps nobody from writing it: a VM may start meanwhile.
      const write = ['-f', format, '-c', 'write -P 7 0 64k', path(name)];
      if (format !== 'vhdx') await qemu('qemu-io', ...write);
      await store.closeReading(command, NEVER);
    }
  }
  await rm(folder, { recursive: true });
});

test('what cannot seed is refused, with what to do', { skip: needsQemu }, async () => {
  await using harness = await createChainHarness();
  const folder = await mkdtemp(join(tmpdir(), 'us-seed-'));
  const path = (name: string) => join(folder, name);
  const store = await harness.open();
  await qemu('qemu-img', 'create', '-f', 'qcow2', path('base'), '1M');
  await qemu('qemu-img', 'create', '-f', 'qcow2', '-b', path('base'), '-F', 'qcow2', path('over'));
  await qemu('qemu-img', 'create', '-f', 'vmdk', path('vmdk'), '1M');
  await qemu('qemu-img', 'create', '-f', 'vpc', path('vhd'), '1M');
  const data = `data_file=${path('data')}`;
  await qemu('qemu-img', 'create', '-f', 'qcow2', '-o', data, path('other'), '1M');
  await qemu('qemu-img', 'create', '-f', 'qcow2', path('locked'), '1M');
  await using header = await open(path('locked'), 'r+');
  await header.write(Buffer.from([0, 0, 0, 1]), 0, 4, 32); // crypt_method 1, AES (qemu: docs/interop/qcow2.txt)
  await writeFile(path('torn'), 'QFI\xfb and nothing else', 'latin1');
  const refusals = {
    missing: /no such file/,
    '.': /not a file/,
    over: /stands on another image/,
    vmdk: /VMDK/,
    vhd: /VHD/,
    other: /another file/,
    locked: /encrypted/,
    torn: /QEMU cannot open it/,
  };
  for (const [name, message] of Object.entries(refusals)) {
    const file = { key: VDA, path: path(name), format: null };
    await assert.rejects(store.describeSeed([file], NEVER), { code: 'seed-unfit', message }, name);
  }
  // As a disk of a VM it may stand on others.
  const ofVm = { key: VDA, path: path('over'), format: 'qcow2' } as const;
  assert.equal((await store.describeSeed([ofVm], NEVER))[0]?.sizeBytes, 1024 * 1024);
  await rm(folder, { recursive: true });
});
