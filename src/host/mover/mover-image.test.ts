/** The mover filling an image's file. What it made is judged by `qemu-img` alone. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_BYTES, GIB, MIB } from '../../domain/bytes.ts';
import { operationId, operationKey } from '../../domain/ids.ts';
import type { TransferRequest } from '../../ports/mover.ts';
import { systemClock } from '../../system/clock.ts';
import { createMover } from './mover.ts';
import { startFakeServer } from './testing/fake-nbd-server.ts';
import { needsQemu } from './testing/mover-harness.ts';
import { run, serveWithQemuNbd, serveWithStorageDaemon } from './testing/nbd-servers.ts';

const folder = mkdtempSync(join(tmpdir(), 'us-fill-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const TABLE_BYTES = 512 * MIB;
const options = { signal: new AbortController().signal };
const mover = createMover({ clock: systemClock() });
const imagePath = join(folder, 'image.qcow2');
const sourcePath = join(folder, 'source.raw');
const requestOf = (
  ends: Pick<TransferRequest, 'source' | 'sizeBytes'>,
  more: Partial<TransferRequest> = {},
): TransferRequest => ({
  key: operationKey(operationId('op'), 'move'),
  target: { imagePath },
  extents: { type: 'allocated' },
  targetReads: 'zeros',
  knownHashesPath: null,
  recordsPath: join(folder, 'spool'),
  bytesPerSecondMax: null,
  ...ends,
  ...more,
});

type Content = readonly { readonly atBytes: number; readonly lengthBytes: number }[];

/** A sparse raw disk of random content. */
function makeSource(sizeBytes: number, content: Content): void {
  writeFileSync(sourcePath, '');
  truncateSync(sourcePath, sizeBytes);
  const descriptor = openSync(sourcePath, 'r+');
  for (const { atBytes, lengthBytes } of content) {
    const length = Math.min(lengthBytes, sizeBytes - atBytes);
    if (length > 0) writeSync(descriptor, randomBytes(length), 0, length, atBytes);
  }
  closeSync(descriptor);
}

function makeImage(sizeBytes: number, ...more: readonly string[]): void {
  rmSync(imagePath, { force: true });
  run('qemu-img', 'create', '-q', '-f', 'qcow2', ...more, imagePath, String(sizeBytes));
}

/** An image with another 32-bit number in its header: docs/interop/qcow2.txt. */
function changeHeader(offset: number, value: number): void {
  makeImage(4 * MIB);
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  const descriptor = openSync(imagePath, 'r+');
  writeSync(descriptor, bytes, 0, 4, offset);
  closeSync(descriptor);
}

async function fill(sizeBytes: number, connectionsMax = 8): Promise<void> {
  await using source = await serveWithQemuNbd({
    ...{ folder, name: 's', imagePath: sourcePath, format: 'raw', isReadOnly: true },
    connectionsMax,
  });
  await mover.transfer(requestOf({ source: source.endpoint, sizeBytes }), options);
}

/** Equal to the source, sound, and nothing in the file that is not the image's. */
function requireExact(): void {
  run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', sourcePath, imagePath);
  requireSound();
}

/** `check` ends with another code when a cluster is counted wrongly, used twice, or leaked. */
function requireSound(): void {
  run('qemu-img', 'check', '-q', '-f', 'qcow2', imagePath);
}

describe('a disk that is filled in its file', { skip: needsQemu }, () => {
  const anyDisk = fc.record({
    sizeBytes: fc.integer({ min: 1, max: (2 * TABLE_BYTES) / 512 }).map((sectors) => sectors * 512),
    content: fc.array(
      fc.record({
        atBytes: fc.oneof(
          fc.nat((2 * TABLE_BYTES) / 4096).map((page) => page * 4096),
          // Where one table ends and the next begins, and in the beginning.
          fc.nat(40).map((block) => TABLE_BYTES + (block - 20) * BLOCK_BYTES),
          fc.nat(40).map((block) => block * BLOCK_BYTES),
        ),
        lengthBytes: fc.integer({ min: 1, max: 3 * MIB }),
      }),
      { maxLength: 12 },
    ),
  });

  test('reads like the source, and is sound', async () => {
    await fc.assert(
      fc.asyncProperty(anyDisk, async ({ sizeBytes, content }) => {
        makeSource(sizeBytes, content);
        makeImage(sizeBytes);
        await fill(sizeBytes);
        requireExact();
      }),
      { numRuns: 25 },
    );
  });

  for (const connectionsMax of [8, 1]) {
    test(`also a large one over at most ${connectionsMax} connections`, async () => {
      const sizeBytes = TABLE_BYTES + 96 * MIB + 12 * 512;
      const atMib = [...Array(80).keys(), 480, 505, 511, 512, 607, 608];
      makeSource(
        sizeBytes,
        atMib.map((at) => ({ atBytes: at * MIB, lengthBytes: MIB })),
      );
      makeImage(sizeBytes);
      await fill(sizeBytes, connectionsMax);
      requireExact();
      const { size, blocks } = statSync(imagePath);
      assert.ok(size < (atMib.length + 2) * MIB, `the file ends at ${size}`);
      assert.ok(blocks * 512 < (atMib.length + 2) * MIB, `the file takes ${blocks} sectors`);
    });
  }

  test('again holds nothing of what was there before', async () => {
    const sizeBytes = 8 * MIB;
    makeImage(sizeBytes);
    for (const at of [1, 5]) {
      makeSource(sizeBytes, [{ atBytes: at * MIB, lengthBytes: MIB }]);
      await fill(sizeBytes);
      requireExact();
    }
  });

  test('may be larger than what it is filled with', async () => {
    const [seedBytes, sizeBytes] = [3 * MIB + 512, TABLE_BYTES + 5 * MIB];
    makeSource(seedBytes, [{ atBytes: 2 * MIB, lengthBytes: 2 * MIB }]);
    makeImage(sizeBytes);
    await fill(seedBytes);
    truncateSync(sourcePath, sizeBytes);
    requireExact();
  });

  test('is sound when it held more than one block of counts can count', async () => {
    const sizeBytes = 5 * GIB;
    makeSource(sizeBytes, [{ atBytes: MIB, lengthBytes: MIB }]);
    makeImage(sizeBytes, '-o', 'preallocation=metadata');
    await fill(sizeBytes);
    requireExact();
  });

  test('goes on as any image does: written to, and merged into', async () => {
    const sizeBytes = 3 * TABLE_BYTES;
    makeSource(sizeBytes, [
      { atBytes: 0, lengthBytes: MIB },
      { atBytes: 2 * TABLE_BYTES, lengthBytes: MIB },
    ]);
    makeImage(sizeBytes);
    await fill(sizeBytes);
    const layer = join(folder, 'layer.qcow2');
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', imagePath, '-F', 'qcow2', layer);
    const writes = [
      'write -q -P 1 0 70k',
      `write -q -P 2 ${TABLE_BYTES} 1M`,
      'write -q -z 512k 64k',
    ];
    const commands = writes.flatMap((each) => ['-c', each]);
    run('qemu-io', '-f', 'qcow2', ...commands, layer);
    run('qemu-io', '-f', 'raw', ...commands, sourcePath);
    run('qemu-img', 'commit', '-q', layer);
    requireExact();
  });

  test('that cannot be read to its end reads as empty', async () => {
    const content = randomBytes(3 * MIB);
    await using source = await startFakeServer({
      ...{ folder, name: 'f', disk: content },
      fault: ({ type, ordinal }) => (type === 0 && ordinal === 2 ? { type: 'disconnect' } : null),
    });
    makeImage(3 * MIB);
    // What is left of an earlier life is counted no more.
    run('qemu-io', '-f', 'qcow2', '-c', 'write -q 0 3M', imagePath);
    const request = requestOf({ source: source.endpoint, sizeBytes: 3 * MIB });
    await assert.rejects(mover.transfer(request, options), { code: 'connection-lost' });
    makeSource(3 * MIB, []);
    requireExact();
  });

  test('that has no room says which file, and is whole when there is', async (t) => {
    const small = join(folder, 'small');
    mkdirSync(small);
    const full = join(small, 'image.qcow2');
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=72M', 'small', small], { stdio: 'pipe' });
    } catch {
      return t.skip('needs the right to mount a tmpfs');
    }
    try {
      for (const [sizeMib, code] of [
        [3, null],
        [90, 'target-full'],
        [65, null],
      ] as const) {
        makeSource(sizeMib * MIB, [{ atBytes: 0, lengthBytes: sizeMib * MIB }]);
        run('qemu-img', 'create', '-q', '-f', 'qcow2', full, `${sizeMib}M`);
        await using source = await serveWithStorageDaemon({
          ...{ folder, name: 's', imagePath: sourcePath, format: 'raw', isReadOnly: true },
        });
        const request = requestOf(
          { source: source.endpoint, sizeBytes: sizeMib * MIB },
          { target: { imagePath: full } },
        );
        const moved = mover.transfer(request, options).then(
          () => null,
          (error) => [error.code, error.details.path],
        );
        assert.deepEqual(await moved, code === null ? null : [code, full]);
        if (code === null) run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', sourcePath, full);
      }
    } finally {
      execFileSync('umount', ['--lazy', small]);
    }
  });

  for (const [what, make] of [
    ['is not there', () => rmSync(imagePath, { force: true })],
    ['is no image', () => writeFileSync(imagePath, 'anything')],
    ['is of a smaller disk', () => makeImage(3 * MIB)],
    ['has other clusters', () => makeImage(4 * MIB, '-o', 'cluster_size=128k')],
    ['lies over another', () => makeImage(4 * MIB, '-u', '-b', 'other', '-F', 'qcow2')],
    ['keeps its content elsewhere', () => makeImage(4 * MIB, '-o', `data_file=${folder}/data`)],
    ['is encrypted', () => changeHeader(32, 2)],
    ['counts its clusters in a larger table', () => changeHeader(56, 2)],
    ['has changes that others remember', () => changeHeader(88, 2 ** 24)],
  ] as const) {
    test(`is left as it is when it ${what}`, async () => {
      makeSource(4 * MIB, [{ atBytes: 0, lengthBytes: MIB }]);
      make();
      const before = fingerprint();
      await assert.rejects(fill(4 * MIB), { code: 'invalid-endpoint' });
      assert.equal(fingerprint(), before);
    });
  }

  test('is never taken for one with older content', async () => {
    makeSource(4 * MIB, []);
    await using source = await serveWithQemuNbd({
      ...{ folder, name: 's', imagePath: sourcePath, format: 'raw', isReadOnly: true },
    });
    const ends = { source: source.endpoint, sizeBytes: 4 * MIB };
    for (const older of [{ targetReads: 'parent' }, { knownHashesPath: '/any' }] as const) {
      const moved = mover.transfer(requestOf(ends, older), options);
      await assert.rejects(moved, { code: 'invalid-request' });
    }
  });
});

function fingerprint(): string | null {
  try {
    return createHash('sha256').update(readFileSync(imagePath)).digest('hex');
  } catch {
    return null;
  }
}
