import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { mapExtents } from './extents.ts';
import { COMMAND } from './protocol.ts';
import { startFakeServer } from './testing/fake-nbd-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-extents-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const GIB = 1024 ** 3;
const TIB = 1024 ** 4;
const MIB = 1024 ** 2;
const CONTEXT = 'qemu:dirty-bitmap:mark';

/** Maps a disk with these extents: what was asked for, and what came. */
async function map(
  sizeBytes: number,
  extents: readonly { lengthBytes: number; flags: number }[],
  extentsMax = Number.POSITIVE_INFINITY,
) {
  const asked: number[] = [];
  await using server = await startFakeServer({
    folder,
    name: 'disk',
    disk: Buffer.alloc(0),
    announcedBytes: sizeBytes,
    extentsMax,
    contexts: { [CONTEXT]: extents },
    fault: ({ type, length }) => {
      if (type === COMMAND.blockStatus) asked.push(length);
      return null;
    },
  });
  const found = new Map<number, number>();
  let end = 0;
  const signal = new AbortController().signal;
  for await (const extent of mapExtents(server.endpoint, [CONTEXT], { signal })) {
    assert.equal(extent.offsetBytes, end);
    end += extent.lengthBytes;
    found.set(extent.flags, (found.get(extent.flags) ?? 0) + extent.lengthBytes);
  }
  assert.equal(end, sizeBytes);
  return { asked, found };
}

test('a vast disk with little in it is asked about in few questions', async () => {
  const { asked, found } = await map(TIB, [
    { lengthBytes: 700 * GIB, flags: 0 },
    { lengthBytes: 64 * 1024, flags: 1 },
    { lengthBytes: TIB - 700 * GIB - 64 * 1024, flags: 0 },
  ]);
  assert.equal(found.get(1), 64 * 1024);
  assert.ok(asked.length <= 260, `${asked.length} questions`);
  assert.ok(asked.every((length) => length < 2 ** 32));
});

test('what was asked ahead of a stretch with many extents is neither lost nor told twice', async () => {
  const dense = Array.from({ length: 2048 }, () => [
    { lengthBytes: 65536, flags: 1 },
    { lengthBytes: 65536, flags: 0 },
  ]).flat();
  const emptyBytes = 99 * GIB + MIB;
  const extents = [
    { lengthBytes: emptyBytes, flags: 0 },
    ...dense,
    { lengthBytes: 300 * GIB - emptyBytes - 4096 * 65536, flags: 0 },
  ];
  for (const extentsMax of [7, 500, 1e6]) {
    const { found } = await map(300 * GIB, extents, extentsMax);
    assert.equal(found.get(1), 2048 * 65536, `${extentsMax} in an answer`);
  }
});

test('where extents are many, each question is about half a GiB, so that an answer stays small', async () => {
  const pair = [
    { lengthBytes: MIB, flags: 1 },
    { lengthBytes: MIB, flags: 0 },
  ];
  const many = Array.from({ length: 4096 }, () => pair).flat();
  const { asked, found } = await map(8 * GIB, many);
  assert.equal(found.get(1), 4 * GIB);
  assert.deepEqual(new Set(asked), new Set([GIB / 2]));
});
