import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { UnderstudyError } from '../../domain/error.ts';
import { openHashTable } from './reader.ts';
import {
  blockIndexAt,
  encodeHeader,
  encodeRecord,
  encodeVoidRecord,
  HEADER_BYTES,
  isZeroHash,
  RECORD_BYTES,
  VOID_INDEX,
  ZERO_HASH,
} from './record.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-table-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'table');

/** Each hash begins with its block's index. */
function tableOf(indexes: readonly number[], blocks: number): Buffer {
  const virtualSizeBytes = blocks * BLOCK_BYTES;
  const header = { virtualSizeBytes, blockRecordCount: indexes.length, nodeRecordCount: 1 };
  const records = Buffer.alloc((indexes.length + 1) * RECORD_BYTES);
  for (const [at, index] of indexes.entries()) {
    const hash = Buffer.alloc(32, 1);
    hash.writeUInt32BE(index, 0);
    encodeRecord(records, at * RECORD_BYTES, index, hash);
  }
  return Buffer.concat([encodeHeader(header), records]);
}

const rejectsAsInvalid = (work: () => Promise<unknown>) =>
  assert.rejects(
    work,
    (error) => error instanceof UnderstudyError && error.code === 'invalid-file',
  );

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function readAll(): Promise<number[]> {
  await using table = await openHashTable(path);
  return (await collect(table.records())).map(({ blockIndex }) => blockIndex);
}

test('records of any range are found, page by page and one by one', async () => {
  const block = fc.nat(5000);
  const indexes = fc
    .uniqueArray(block, { maxLength: 4000, minLength: 0 })
    .map((list) => list.toSorted((a, b) => a - b));
  const check = async (list: number[], from: number, end: number, single: number) => {
    writeFileSync(path, tableOf(list, 5001));
    await using table = await openHashTable(path);
    assert.equal(table.header.nodeRecordCount, 1);
    const expected = list.filter((index) => index >= from && index < end);
    const range = { fromBlock: from, endBlock: end };
    const found = await collect(table.records(range));
    assert.deepEqual(
      found.map(({ blockIndex, hash }) => [blockIndex, hash.readUInt32BE(0)]),
      expected.map((index) => [index, index]),
    );
    const hash = await table.hashOf(single);
    assert.equal(hash?.readUInt32BE(0) ?? null, list.includes(single) ? single : null);
    assert.equal(await table.search(single), list.filter((index) => index < single).length);
    assert.equal((await collect(table.nodePages()))[0]?.length, RECORD_BYTES);
  };
  await fc.assert(fc.asyncProperty(indexes, block, block, block, check), { numRuns: 20 });
});

test('records that are out of order, twice or beyond the disk are refused', async () => {
  for (const indexes of [
    [3, 2],
    [4, 4],
    [1, 8],
  ]) {
    writeFileSync(path, tableOf(indexes, 8));
    await rejectsAsInvalid(readAll);
  }
});

test('a file that is cut, grown or changed in its header is refused, or reads the same', async () => {
  const bytes = tableOf([1, 5, 7], 8);
  for (const cut of [0, 10, HEADER_BYTES, bytes.length - 1]) {
    writeFileSync(path, bytes.subarray(0, cut));
    await rejectsAsInvalid(readAll);
  }
  writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(1)]));
  await rejectsAsInvalid(readAll);
  const check = async (at: number, value: number) => {
    const changed = Buffer.from(bytes);
    changed[at] = value;
    writeFileSync(path, changed);
    try {
      await readAll();
    } catch (error) {
      assert.ok(error instanceof UnderstudyError && error.code === 'invalid-file', String(error));
    }
  };
  const byte = fc.nat(255);
  await fc.assert(fc.asyncProperty(fc.nat(HEADER_BYTES - 1), byte, check), { numRuns: 100 });
  await rejectsAsInvalid(() => openHashTable(join(folder, 'missing')));
});

test('indexes above 2^32, void records and zero hashes keep their meaning', () => {
  const bytes = Buffer.alloc(2 * RECORD_BYTES, 0xaa);
  encodeRecord(bytes, 0, 2 ** 40 + 3, ZERO_HASH);
  encodeVoidRecord(bytes, RECORD_BYTES);
  assert.equal(blockIndexAt(bytes, 0), 2 ** 40 + 3);
  assert.ok(isZeroHash(bytes, 8));
  assert.equal(blockIndexAt(bytes, RECORD_BYTES), VOID_INDEX);
});
