import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { KIB, MIB } from '../../domain/bytes.ts';
import { UnderstudyError } from '../../domain/error.ts';
import type { VmDisk } from '../../domain/vm/vm.ts';
import { systemProcesses } from '../../system/processes.ts';
import { bytesHeld, heldOf } from './allocated-bytes.ts';

const options = { signal: new AbortController().signal };
const SIZE_BYTES = 64 * MIB;
const skip = spawnSync('qemu-img', ['--version']).error === undefined ? false : 'needs qemu-img';

function qemuImg(...args: readonly string[]): void {
  const { status, stderr } = spawnSync('qemu-img', args, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
}

async function inFolder(use: (file: (name: string) => string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy held, "by" '));
  try {
    await use((name) => join(folder, name));
  } finally {
    await rm(folder, { recursive: true });
  }
}

function held(path: string, format: VmDisk['format']): Promise<number | null> {
  return bytesHeld(systemProcesses(), { path, format, sizeBytes: SIZE_BYTES }, options);
}

describe('what a disk holds', { skip }, () => {
  test('of a disk that was allocated whole only what was written', () =>
    inFolder(async (file) => {
      const raw = file('full.raw');
      const how = ['-q', '-f', 'raw', '-o', 'preallocation=falloc'];
      qemuImg('create', ...how, raw, String(SIZE_BYTES));
      const before = await held(raw, 'raw');
      // qemu-img itself writes the first bytes.
      assert.ok(before !== null && before <= 64 * KIB, `${before}`);
      await using handle = await open(raw, 'r+');
      await handle.write(Buffer.alloc(200 * KIB, 1), 0, 200 * KIB, 10 * MIB);
      assert.equal(await held(raw, 'raw'), before + 256 * KIB);
    }));

  test('of a chain what all of it holds, once', () =>
    inFolder(async (file) => {
      const [base, top] = [file('base.raw'), file('top.qcow2')];
      qemuImg('create', '-q', '-f', 'raw', base, String(SIZE_BYTES));
      await using handle = await open(base, 'r+');
      await handle.write(Buffer.alloc(MIB, 1), 0, MIB, 0);
      qemuImg('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, top);
      assert.equal(await held(top, 'qcow2'), MIB);
    }));

  test('of a block device, and of what is not there, nobody knows', async () => {
    assert.equal(await held('/dev/null', 'raw'), null);
    assert.equal(await held('/nowhere/vda.qcow2', 'qcow2'), null);
  });
});

test('without qemu-img, nobody knows', async () => {
  const missing = () => Promise.reject(new UnderstudyError('command-missing'));
  const disk = { path: fileURLToPath(import.meta.url), format: 'raw', sizeBytes: MIB } as const;
  assert.equal(await bytesHeld({ ...systemProcesses(), run: missing }, disk, options), null);
});

test('what qemu-img does not say is not known', () => {
  assert.equal(heldOf('{"required": 327680}', MIB), null);
  assert.equal(heldOf('[]', MIB), null);
});
