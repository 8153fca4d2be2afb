/** Moving just the blocks that are listed, and surveying which blocks differ without moving any. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_BYTES, GIB, TIB } from '../../domain/bytes.ts';
import {
  addBlocks,
  type BlockSet,
  hasBlock,
  noBlocks,
  rangesOf,
} from '../../domain/disk/block-set.ts';
import { operationId, operationKey } from '../../domain/ids.ts';
import { systemClock } from '../../system/clock.ts';
import { createMover } from './mover.ts';
import {
  allocationOf,
  anyDisk,
  type DiskModel,
  dirtinessOf,
  hashOfBlock,
  imageOf,
  spoolRecords,
  writeHashTable,
} from './testing/disk-models.ts';
import { type FakeServerOptions, simple, startFakeServer } from './testing/fake-nbd-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-listed-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const recordsPath = join(folder, 'spool');
const tablePath = join(folder, 'table');
const mover = createMover({ clock: systemClock() });
const options = { signal: new AbortController().signal };
const DIRTY = 'qemu:dirty-bitmap:mark';
const READ = 0;
const WRITE_ZEROES = 6;
const BLOCK_STATUS = 7;
const RUNS = { numRuns: 40 };

const BASE = {
  key: operationKey(operationId('op'), 'move'),
  knownHashesPath: null,
  bytesPerSecondMax: null,
};

const serve = (name: string, disk: Buffer, more: Partial<FakeServerOptions> = {}) =>
  startFakeServer({ folder, name, disk, ...more });

/** Of a disk that may be larger or smaller than the one that is moved. */
const anySet = fc
  .record({
    blocks: fc.integer({ min: 1, max: 80 }),
    ranges: fc.array(
      fc.record({ firstBlock: fc.nat(80), blockCount: fc.integer({ min: 1, max: 9 }) }),
      {
        maxLength: 8,
      },
    ),
  })
  .map(({ blocks, ranges }) => setOf(blocks * BLOCK_BYTES, ranges));

function setOf(sizeBytes: number, ranges: Iterable<{ firstBlock: number; blockCount: number }>) {
  const set = noBlocks(sizeBytes);
  for (const range of ranges) addBlocks(set, range);
  return set;
}

function indexesOf(set: BlockSet): number[] {
  return Array.from({ length: set.blockCount }, (_, index) => index).filter((index) =>
    hasBlock(set, index),
  );
}

async function moveListed(
  model: DiskModel,
  request: {
    listed: BlockSet;
    targetReads: 'zeros' | 'parent';
    before: Buffer;
    records: string | null;
  },
  contexts: FakeServerOptions['contexts'],
) {
  await using source = await serve('source', imageOf(model, 'source'), {
    ...(contexts === undefined ? {} : { contexts }),
    extentsMax: 3,
  });
  await using target = await serve('target', request.before);
  const result = await mover.transfer(
    {
      ...BASE,
      source: source.endpoint,
      target: target.endpoint,
      sizeBytes: model.sizeBytes,
      extents: { type: 'listed', blocks: request.listed },
      targetReads: request.targetReads,
      recordsPath: request.records,
    },
    options,
  );
  return { result, content: target.disk };
}

test('exactly the listed blocks become equal over older content, with a record of each', async () => {
  const check = async (model: DiskModel, listed: BlockSet, tellsAllocation: boolean) => {
    const source = imageOf(model, 'source');
    const before = Buffer.from(imageOf(model, 'target'));
    const expected = Buffer.from(before);
    const wanted = indexesOf(listed).filter((index) => index < model.blocks.length);
    for (const index of wanted) {
      source.copy(expected, index * BLOCK_BYTES, index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
    }
    const contexts = tellsAllocation ? { 'base:allocation': allocationOf(model) } : undefined;
    const request = { listed, targetReads: 'parent', before, records: recordsPath } as const;
    const { content, result } = await moveListed(model, request, contexts);
    assert.ok(content.equals(expected));
    assert.deepEqual(
      spoolRecords(readFileSync(recordsPath)),
      wanted.map((index) => `${index} ${hashOfBlock(source, index)}`),
    );
    const isHole = (index: number) =>
      tellsAllocation && model.blocks[index]?.source === 'zero' && model.blocks[index].isMarkedZero;
    const read = wanted.filter((index) => !isHole(index));
    assert.equal(result.readBytes, bytesOf(read, model.sizeBytes), 'no hole is read');
    assert.equal(
      result.sentBytes + result.zeroedBytes,
      bytesOf(wanted, model.sizeBytes),
      'nothing else is written',
    );
  };
  await fc.assert(fc.asyncProperty(anyDisk, anySet, fc.boolean(), check), RUNS);
});

function bytesOf(blocks: readonly number[], sizeBytes: number): number {
  return blocks.reduce((sum, index) => {
    return sum + Math.min(BLOCK_BYTES, sizeBytes - index * BLOCK_BYTES);
  }, 0);
}

test('without records nothing is hashed and no spool is left, and the content is the same', async () => {
  const check = async (model: DiskModel, listed: BlockSet, targetReads: 'zeros' | 'parent') => {
    const contexts = { 'base:allocation': allocationOf(model) };
    const start = () =>
      targetReads === 'parent'
        ? Buffer.from(imageOf(model, 'target'))
        : Buffer.alloc(model.sizeBytes);
    const common = { listed, targetReads } as const;
    const kept = await moveListed(
      model,
      { ...common, before: start(), records: recordsPath },
      contexts,
    );
    rmSync(recordsPath);
    const plain = await moveListed(model, { ...common, before: start(), records: null }, contexts);
    assert.ok(plain.content.equals(kept.content));
    assert.equal(existsSync(recordsPath), false);
    const { durationMs: _, ...figures } = kept.result;
    assert.deepEqual({ ...plain.result, durationMs: 0 }, { ...figures, durationMs: 0 });
  };
  await fc.assert(fc.asyncProperty(anyDisk, anySet, fc.constantFrom('zeros', 'parent'), check), {
    numRuns: 20,
  });
});

test('a few blocks of a tebibyte are a few questions', async () => {
  const contexts = { 'base:allocation': [{ lengthBytes: TIB, flags: 3 }] };
  const empty = { contexts, announcedBytes: TIB };
  await using source = await serve('vast', Buffer.alloc(0), empty);
  await using target = await serve('vastcopy', Buffer.alloc(0), {
    announcedBytes: TIB,
    fault: (request) =>
      request.type === WRITE_ZEROES ? { type: 'answer', bytes: simple(request, 0) } : null,
  });
  const blocks = setOf(TIB, [
    { firstBlock: 3, blockCount: 1 },
    { firstBlock: 5, blockCount: 2 },
    { firstBlock: (700 * GIB) / BLOCK_BYTES, blockCount: 4 },
    { firstBlock: TIB / BLOCK_BYTES - 1, blockCount: 1 },
  ]);
  const { zeroedBytes, extentCount } = await mover.transfer(
    {
      ...BASE,
      source: source.endpoint,
      target: target.endpoint,
      sizeBytes: TIB,
      extents: { type: 'listed', blocks },
      targetReads: 'parent',
      recordsPath: null,
    },
    options,
  );
  assert.equal(zeroedBytes, 8 * BLOCK_BYTES);
  assert.equal(extentCount, 4);
  assert.equal(source.seen.filter((type) => type === BLOCK_STATUS).length, 3);
});

test('what changed since a mark is surveyed without reading', async () => {
  const check = async (model: DiskModel, extentsMax: number) => {
    const contexts = { 'base:allocation': allocationOf(model), [DIRTY]: dirtinessOf(model) };
    await using server = await serve('marked', imageOf(model, 'source'), { contexts, extentsMax });
    const { sizeBytes } = model;
    const by = { type: 'changed', metaContext: DIRTY } as const;
    const found = await mover.survey({ endpoint: server.endpoint, sizeBytes, by }, options);
    const wanted = model.blocks.flatMap(({ dirtySectors }, index) =>
      dirtySectors.some((sector) => index * BLOCK_BYTES + sector * 4096 < sizeBytes) ? [index] : [],
    );
    assert.deepEqual(indexesOf(found), wanted);
    assert.equal(found.blockCount, model.blocks.length);
    assert.ok(!server.seen.includes(READ));
  };
  await fc.assert(fc.asyncProperty(anyDisk, fc.integer({ min: 1, max: 9 }), check), RUNS);
});

test('what differs from a table is surveyed, also when the table is of a smaller or larger disk', async () => {
  const check = async (model: DiskModel, moreSectors: number) => {
    const { sizeBytes } = model;
    const read = imageOf(model, 'source');
    const tableBytes = Math.max(0, sizeBytes + moreSectors * 4096);
    const expected = Buffer.alloc(Math.max(sizeBytes, tableBytes), 7);
    expected.fill(0, tableBytes);
    imageOf(model, 'target').copy(expected, 0, 0, tableBytes);
    writeHashTable(tablePath, expected.subarray(0, tableBytes));
    const contexts = { 'base:allocation': allocationOf(model) };
    await using server = await serve('compared', read, { contexts });
    const by = { type: 'compared', hashesPath: tablePath } as const;
    const found = await mover.survey({ endpoint: server.endpoint, sizeBytes, by }, options);
    const wanted = model.blocks.flatMap((_, index) =>
      hashOfBlock(read, index) === hashOfBlock(expected, index) ? [] : [index],
    );
    assert.deepEqual(indexesOf(found), wanted);
  };
  const more = fc.oneof(fc.constant(0), fc.integer({ min: -1200, max: 40 }));
  await fc.assert(fc.asyncProperty(anyDisk, more, check), RUNS);
});

test('workers share a long list and a long survey, and nothing is lost between them', async () => {
  const disk = Buffer.alloc(150 * 1024 * 1024 + 4096);
  for (let at = 0; at < disk.length; at += 8192) disk.writeUInt32BE(at + 1, at);
  const before = Buffer.alloc(disk.length, 9);
  writeHashTable(tablePath, before);
  await using source = await serve('large', disk);
  await using target = await serve('copy', before);
  const { endpoint } = target;
  const sizeBytes = disk.length;
  const listed = setOf(sizeBytes, [
    { firstBlock: 0, blockCount: 7 },
    { firstBlock: 8, blockCount: 992 },
    { firstBlock: 1001, blockCount: 1398 },
    { firstBlock: 2400, blockCount: 1 },
  ]);
  const request = {
    ...BASE,
    source: source.endpoint,
    target: endpoint,
    sizeBytes,
    extents: { type: 'listed', blocks: listed },
    targetReads: 'parent',
    recordsPath: null,
  } as const;
  const { sentBytes } = await mover.transfer(request, options);
  assert.equal(sentBytes, sizeBytes - 3 * BLOCK_BYTES);
  const by = { type: 'compared', hashesPath: tablePath } as const;
  const found = await mover.survey({ endpoint, sizeBytes, by }, options);
  assert.deepEqual([...rangesOf(found)], [...rangesOf(listed)]);
  assert.ok(target.disk.subarray(7 * BLOCK_BYTES, 8 * BLOCK_BYTES).every((byte) => byte === 9));
});
