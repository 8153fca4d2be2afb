import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { operationId, operationKey } from '../../domain/ids.ts';
import type { TransferRequest } from '../../ports/mover.ts';
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
import { ALL_FLAGS, type FakeServerOptions, startFakeServer } from './testing/fake-nbd-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-mover-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const recordsPath = join(folder, 'spool');
const tablePath = join(folder, 'table');
const mover = createMover({ clock: systemClock() });
const options = { signal: new AbortController().signal };
const DIRTY = 'qemu:dirty-bitmap:mark';
const ZERO = '00'.repeat(32);

const serve = (name: string, disk: Buffer, more: Partial<FakeServerOptions> = {}) =>
  startFakeServer({ folder, name, disk, ...more });

const BASE: Omit<TransferRequest, 'source' | 'target' | 'sizeBytes'> = {
  key: operationKey(operationId('op'), 'move'),
  extents: { type: 'allocated' },
  targetReads: 'zeros',
  knownHashesPath: null,
  recordsPath,
  bytesPerSecondMax: null,
};

/** Moves a model disk and gives back what the target and the spool hold then. */
async function moveModel(
  model: DiskModel,
  { target: before, ...more }: Partial<Omit<TransferRequest, 'target'>> & { target: Buffer },
  serverOptions: Partial<FakeServerOptions> = {},
) {
  const contexts = { 'base:allocation': allocationOf(model), [DIRTY]: dirtinessOf(model) };
  const disk = imageOf(model, 'source');
  await using source = await serve('source', disk, { contexts, ...serverOptions });
  await using target = await serve('target', before, serverOptions);
  const { sizeBytes } = model;
  const ends = { source: source.endpoint, target: target.endpoint, sizeBytes };
  const result = await mover.transfer({ ...BASE, ...ends, ...more }, options);
  return { result, content: target.disk, records: spoolRecords(readFileSync(recordsPath)) };
}

const RUNS = { numRuns: 30 };

test('a fresh base becomes equal, with a record of each block that is not zero', async () => {
  const check = async (model: DiskModel, extentsMax: number, flags: number) => {
    const source = imageOf(model, 'source');
    const { content, records, result } = await moveModel(
      model,
      { target: Buffer.alloc(model.sizeBytes) },
      { extentsMax, transmissionFlags: flags },
    );
    assert.ok(content.equals(source));
    const expected = model.blocks
      .map((_, index) => `${index} ${hashOfBlock(source, index)}`)
      .filter((record) => !record.endsWith(ZERO));
    assert.deepEqual(records, expected);
    assert.equal(result.zeroedBytes, 0);
  };
  const flags = fc.constantFrom(ALL_FLAGS, 1);
  await fc.assert(fc.asyncProperty(anyDisk, fc.integer({ min: 1, max: 9 }), flags, check), RUNS);
});

test('changes over a parent: exactly the changed blocks become equal, all with a record', async () => {
  const extents = { type: 'changed', metaContext: DIRTY } as const;
  const check = async (model: DiskModel, extentsMax: number, flags: number) => {
    const source = imageOf(model, 'source');
    const expected = Buffer.from(imageOf(model, 'target'));
    const expectedRecords: string[] = [];
    for (const [index, { dirtySectors }] of model.blocks.entries()) {
      const isIn = (sector: number) => index * BLOCK_BYTES + sector * 4096 < model.sizeBytes;
      if (!dirtySectors.some(isIn)) continue;
      const start = index * BLOCK_BYTES;
      source.copy(expected, start, start, start + BLOCK_BYTES);
      expectedRecords.push(`${index} ${hashOfBlock(source, index)}`);
    }
    const { content, records, result } = await moveModel(
      model,
      { extents, targetReads: 'parent', target: Buffer.from(imageOf(model, 'target')) },
      { extentsMax, transmissionFlags: flags },
    );
    assert.ok(content.equals(expected));
    assert.deepEqual(records, expectedRecords);
    const hidden = model.blocks.filter(
      ({ source: was, isMarkedZero }) => was === 'zero' && isMarkedZero,
    );
    if (hidden.length === model.blocks.length) assert.equal(result.readBytes, 0);
  };
  const flags = fc.constantFrom(ALL_FLAGS, 1);
  await fc.assert(fc.asyncProperty(anyDisk, fc.integer({ min: 1, max: 99 }), flags, check), RUNS);
});

test('against known hashes: the target becomes equal, with a record of each block that differed', async () => {
  const check = async (model: DiskModel, targetReads: 'zeros' | 'parent') => {
    const source = imageOf(model, 'source');
    const before = Buffer.from(imageOf(model, 'target'));
    writeHashTable(tablePath, before);
    const expected = model.blocks.flatMap((_, index) => {
      const hash = hashOfBlock(source, index);
      return hash === hashOfBlock(before, index) ? [] : [`${index} ${hash}`];
    });
    const known = { knownHashesPath: tablePath, targetReads, target: before };
    const { content, records, result } = await moveModel(model, known);
    assert.ok(content.equals(source));
    assert.deepEqual(records, expected);
    assert.ok(result.sentBytes + result.unchangedBytes <= result.readBytes);
  };
  await fc.assert(fc.asyncProperty(anyDisk, fc.constantFrom('zeros', 'parent'), check), RUNS);
});

test('verify finds exactly the blocks that differ from the table', async () => {
  const check = async (model: DiskModel) => {
    const read = imageOf(model, 'source');
    const expected = imageOf(model, 'target');
    writeHashTable(tablePath, expected);
    await using server = await serve('verified', read, {
      contexts: { 'base:allocation': allocationOf(model) },
    });
    const wrong = model.blocks
      .map((_, index) => index)
      .filter((index) => hashOfBlock(read, index) !== hashOfBlock(expected, index));
    const { sizeBytes } = model;
    const request = { endpoint: server.endpoint, sizeBytes, hashesPath: tablePath };
    const result = await mover.verify(request, options);
    assert.deepEqual(result.wrongBlocks, wrong);
    assert.equal(result.wrongBlockCount, wrong.length);
  };
  await fc.assert(fc.asyncProperty(anyDisk, check), RUNS);
});

test('a large disk is shared by workers, with the same outcome', async () => {
  const disk = Buffer.alloc(136 * 1024 * 1024 + 4096);
  for (let at = 0; at < disk.length; at += 8192) disk.writeUInt32BE(at + 1, at);
  disk.fill(0, 40 * 1024 * 1024, 44 * 1024 * 1024);
  await using source = await serve('large', disk);
  await using target = await serve('copy', Buffer.alloc(disk.length));
  const ends = { source: source.endpoint, target: target.endpoint, sizeBytes: disk.length };
  const seen: number[] = [];
  const onProgress = ({ doneBytes }: { doneBytes: number }) => seen.push(doneBytes);
  const shared = createMover({ clock: systemClock(), movedHereBytesMax: 0 });
  const result = await shared.transfer({ ...BASE, ...ends }, { ...options, onProgress });
  assert.ok(target.disk.equals(disk));
  assert.equal(result.readBytes, disk.length);
  assert.equal(result.sentBytes, disk.length - 4 * 1024 * 1024);
  assert.ok(seen.length > 0 && seen.every((bytes, index) => bytes >= (seen[index - 1] ?? 0)));
  const records = spoolRecords(readFileSync(recordsPath));
  assert.deepEqual(records.slice(-1), [`2176 ${hashOfBlock(disk, 2176)}`]);
  assert.equal(records.length, 2177 - 64);
  assert.equal(target.seen.filter((type) => type === 3).length, 3, 'each connection flushes');

  disk.fill(7, 100 * BLOCK_BYTES, 102 * BLOCK_BYTES);
  disk.fill(7, 1900 * BLOCK_BYTES, 1901 * BLOCK_BYTES);
  writeHashTable(tablePath, target.disk);
  const request = { endpoint: source.endpoint, sizeBytes: disk.length, hashesPath: tablePath };
  const { wrongBlocks } = await shared.verify(request, options);
  assert.deepEqual(wrongBlocks, [100, 101, 1900]);
});
