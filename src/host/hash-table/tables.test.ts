import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { blockHash, diskRoot, hashesOf } from '../../conformance/replica-store/story.ts';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { openWalkable, recordKey } from './cursor.ts';
import { flattenChain, mergeTables } from './layered.ts';
import { openHashTable } from './reader.ts';
import { encodeRecord, encodeVoidRecord, RECORD_BYTES } from './record.ts';
import { sealTable } from './seal-table.ts';
import { chainRoot } from './tree.ts';
import { HashTableWriter } from './writer.ts';

/** Sizes around the borders of the tree's nodes; contents are block index → fill, 0 being zeros. */
const layerWrites = fc.dictionary(
  fc
    .oneof(fc.nat(40), fc.integer({ min: 250, max: 260 }), fc.integer({ min: 1000, max: 1040 }))
    .map(String),
  fc.nat(3),
  { maxKeys: 12 },
);
const chainOfWrites = fc.array(fc.tuple(layerWrites, fc.constantFrom(0, 1, 256)), {
  minLength: 1,
  maxLength: 5,
});

test('any chain: table, merged tables and roots are those of the whole content', async () => {
  await using folder = await temporaryFolder();
  await fc.assert(
    fc.asyncProperty(chainOfWrites, fc.nat(), async (layers, mergeSeed) => {
      const { chain, fills } = await sealChain(folder.path, layers);
      const sizeBytes = fills.length * BLOCK_BYTES;
      const flat = join(folder.path, 'flat');
      await flattenChain({ chain, virtualSizeBytes: sizeBytes, path: flat });
      assert.deepEqual(await recordsOf(flat), hashesOf(fills));
      const merged = await mergeOne(chain, mergeSeed);
      assert.equal(await chainRoot(merged, sizeBytes), diskRoot(fills).toString('hex'));
      await flattenChain({ chain: merged, virtualSizeBytes: sizeBytes, path: flat });
      assert.deepEqual(await recordsOf(flat), hashesOf(fills));
    }),
    { numRuns: 25 },
  );
});

/** Seals each layer over the ones before and checks its root against the model. */
async function sealChain(
  folder: string,
  layers: readonly (readonly [Record<string, number>, number])[],
): Promise<{ readonly chain: readonly string[]; readonly fills: readonly number[] }> {
  const chain: string[] = [];
  let fills: number[] = new Array(1041).fill(0);
  for (const [n, [writes, growth]] of layers.entries()) {
    fills = [...fills, ...new Array(growth).fill(0)];
    for (const [index, fill] of Object.entries(writes)) fills[Number(index)] = fill;
    const recordsPath = join(folder, `${n}.records`);
    await writeFile(recordsPath, spoolOf(writes));
    const path = join(folder, `${n}.hash`);
    const virtualSizeBytes = fills.length * BLOCK_BYTES;
    const root = await sealTable({ recordsPath, below: chain, virtualSizeBytes, path });
    assert.equal(root, diskRoot(fills).toString('hex'), `root at layer ${n}`);
    chain.push(path);
  }
  return { chain, fills };
}

/** Merges one layer into the one below it, twice, as after a crash. */
async function mergeOne(chain: readonly string[], seed: number): Promise<readonly string[]> {
  const at = seed % chain.length;
  const [older, newer] = [chain[at - 1], chain[at]];
  if (older === undefined || newer === undefined) return chain;
  for (const _ of ['once', 'again']) {
    await mergeTables({ older, newer, isBase: at === 1, path: older });
  }
  return chain.filter((_, index) => index !== at);
}

/** With void records between, as a mover leaves them. */
function spoolOf(writes: Record<string, number>): Buffer {
  const ordered = Object.entries(writes)
    .map(([index, fill]) => [Number(index), fill] as const)
    .toSorted(([a], [b]) => a - b);
  const spool = Buffer.alloc(ordered.length * 2 * RECORD_BYTES);
  for (const [n, [index, fill]] of ordered.entries()) {
    encodeVoidRecord(spool, n * 2 * RECORD_BYTES);
    encodeRecord(spool, (n * 2 + 1) * RECORD_BYTES, index, blockHash(fill));
  }
  return spool;
}

test('a seek finds the first record not before a key, near and far', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'sparse.hash');
  const step = 3;
  const count = 20_000;
  {
    await using writer = await HashTableWriter.create({
      path,
      virtualSizeBytes: step * count * BLOCK_BYTES,
    });
    for (let n = 0; n < count; n += 1) await writer.appendNode(0, n * step, blockHash(1));
    await writer.finish();
  }
  await using table = await openWalkable(path);
  const jumps = fc.array(fc.oneof(fc.nat(5), fc.nat(30_000)), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(jumps, async (distances) => {
      const cursor = table.cursor();
      let target = 0;
      for (const distance of distances) {
        target += distance;
        await cursor.seek(recordKey(0, target));
        const wanted = Math.ceil(target / step);
        assert.equal(cursor.isAtEnd, wanted >= count);
        if (cursor.isAtEnd) return;
        assert.equal(cursor.bytes.readUInt32BE(cursor.at + 4), wanted * step);
      }
    }),
    { numRuns: 60 },
  );
});

test('a spool that is damaged is an invalid file and leaves no table', async () => {
  await using folder = await temporaryFolder();
  const good = spoolOf({ 1: 1, 2: 2 });
  const records = [1, 3].map((n) => good.subarray(n * RECORD_BYTES, (n + 1) * RECORD_BYTES));
  const [first, second] = records;
  assert.ok(first && second);
  const spools = [good.subarray(0, 150), Buffer.concat([second, first]), spoolOf({ 99: 1 })];
  const recordsPath = join(folder.path, 'records');
  const path = join(folder.path, 'table');
  for (const spool of spools) {
    await writeFile(recordsPath, spool);
    const sealed = sealTable({ recordsPath, below: [], virtualSizeBytes: 8 * BLOCK_BYTES, path });
    await assert.rejects(sealed, { code: 'invalid-file' });
    assert.deepEqual(await readdir(folder.path), ['records']);
  }
  const missing = join(folder.path, 'missing');
  const sealed = sealTable({ recordsPath: missing, below: [], virtualSizeBytes: 0, path });
  await assert.rejects(sealed, { code: 'invalid-file' });
});

async function recordsOf(path: string): Promise<ReadonlyMap<number, string>> {
  await using table = await openHashTable(path);
  const hashes = new Map<number, string>();
  for await (const { blockIndex, hash } of table.records())
    hashes.set(blockIndex, hash.toString('hex'));
  return hashes;
}

async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), 'us-tables-'));
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}
