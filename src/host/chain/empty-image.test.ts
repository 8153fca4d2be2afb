import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BLOCK_BYTES, GIB, MIB, TIB } from '../../domain/bytes.ts';
import { systemProcesses } from '../../system/processes.ts';
import { createImages } from './images.ts';
import { hasUsableBitmap, readBitmaps } from './qcow2-bitmaps.ts';
import { needsQemu, qemu } from './testing/chain-harness.ts';

const folder = mkdtempSync(join(tmpdir(), 'us-empty-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const NEVER = { signal: new AbortController().signal };
const images = createImages({ processes: systemProcesses() });
const skip = needsQemu;
const MARK = 'us-mark-1';
/** Of one and of several clusters of bitmap table and L1 table. */
const SIZES = [512, 33 * GIB + 512, 5 * TIB + BLOCK_BYTES];

/** All that `qemu-img info` says of an image, without what is about the file. */
async function infoOf(path: string): Promise<unknown> {
  const {
    filename: _,
    'actual-size': __,
    'dirty-flag': ___,
    children: ____,
    ...rest
  } = JSON.parse(await qemu('qemu-img', ['info', '-U', '--output=json', path]));
  return { ...rest, 'full-backing-filename': null };
}

const CASES: readonly (readonly [number, string | null, string | null])[] = [
  [8 * BLOCK_BYTES, null, null],
  [8 * BLOCK_BYTES, 'below.qcow2', null],
  [8 * BLOCK_BYTES, null, MARK],
  ...SIZES.map((size) => [size, 'below.qcow2', MARK] as const),
];

for (const [sizeBytes, backing, bitmap] of CASES) {
  const title = `an image of ${sizeBytes} bytes over ${backing} with bitmap ${bitmap} is what QEMU makes`;
  test(title, { skip }, async () => {
    await qemu('qemu-img', ['create', '-q', '-f', 'qcow2', join(folder, 'below.qcow2'), '512']);
    const path = join(folder, 'ours.qcow2');
    await images.create({ path, sizeBytes, backing, bitmap, mode: 0o660 }, NEVER);
    const theirs = join(folder, 'theirs.qcow2');
    const over = backing === null ? [] : ['-u', '-b', backing, '-F', 'qcow2'];
    await qemu('qemu-img', ['create', '-q', '-f', 'qcow2', ...over, theirs, `${sizeBytes}`]);
    if (bitmap !== null) await qemu('qemu-img', ['bitmap', '--add', theirs, bitmap]);
    assert.deepEqual(await infoOf(path), await infoOf(theirs));
    assert.deepEqual(await readBitmaps(path), await readBitmaps(theirs));
    await qemu('qemu-img', ['check', '-q', path]);
    assert.equal(statSync(path).mode & 0o777, 0o660);
    assert.ok(statSync(path).blocks * 512 < 64 * 1024, 'it takes little room');
    // Written to at both ends it stays sound, and the bitmap tells.
    const last = sizeBytes - 512;
    const write = ['-c', 'write -q -P 1 0 512', '-c', `write -q -P 2 ${last} 512`];
    await qemu('qemu-io', ['-f', 'qcow2', ...write, path]);
    await qemu('qemu-img', ['check', '-q', path]);
    assert.equal(await hasUsableBitmap(path, MARK), bitmap !== null);
  });
}

test('a bitmap is not believed after a writer died, or was one that does not know it', {
  skip,
}, async () => {
  const path = join(folder, 'marked.qcow2');
  const make = () =>
    images.create({ path, sizeBytes: MIB, backing: null, bitmap: MARK, mode: 0o600 }, NEVER);
  await make();
  assert.deepEqual(await readBitmaps(path), [
    { name: MARK, isConsistent: true, isRecording: true, isEmpty: true },
  ]);
  await qemu('qemu-io', ['-f', 'qcow2', '-c', 'write -q 0 64k', path]);
  assert.equal(await hasUsableBitmap(path, MARK), true);
  assert.equal(await hasUsableBitmap(path, 'another'), false);
  await assert.rejects(
    qemu('qemu-io', ['-f', 'qcow2', '-c', 'write -q 0 64k', '-c', 'abort', path]),
  );
  assert.deepEqual(await readBitmaps(path), [
    { name: MARK, isConsistent: false, isRecording: true, isEmpty: false },
  ]);
  await images.removeBitmap({ path, name: MARK }, NEVER);
  assert.deepEqual(await readBitmaps(path), []);
  await make();
  await qemu('qemu-img', ['bitmap', '--disable', path, MARK]);
  assert.equal(await hasUsableBitmap(path, MARK), false);
  // The auto-clear feature bit, as an older program leaves it.
  await qemu('qemu-io', ['-f', 'raw', '-c', 'write -q -P 0 88 8', path]);
  assert.equal((await readBitmaps(path))[0]?.isConsistent, false);
});

test('what is no image, or cut off, has no bitmaps', { skip }, async () => {
  assert.deepEqual(await readBitmaps(join(folder, 'nothing-here')), []);
  const path = join(folder, 'cut.qcow2');
  await images.create({ path, sizeBytes: MIB, backing: null, bitmap: MARK, mode: 0o600 }, NEVER);
  truncateSync(path, 3 * BLOCK_BYTES);
  assert.deepEqual(await readBitmaps(path), [
    { name: '', isConsistent: true, isRecording: false, isEmpty: true },
  ]);
  assert.equal(await hasUsableBitmap(path, MARK), false);
});
