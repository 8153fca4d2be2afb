import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { TransferRequest, TransferResult } from '../../ports/mover.ts';
import {
  bytesOf,
  type DiskSpec,
  type Fills,
  type MoverTest,
  NEVER,
  reading,
  rejects,
  requestOf,
  SIZE_BYTES,
  setOf,
} from './harness.ts';

/** Runs of content at both ends of the disk and in it, and a block of zeros that is written down. */
const CONTENT: Fills = { 0: 1, 1: 2, 2: 0, 9: 3, 20: 4, 21: 4, 39: 5 };
const WITHOUT_ZEROS = Object.entries(CONTENT)
  .map(([index, fill]) => [Number(index), fill] as const)
  .filter(([, fill]) => fill !== 0);
/** Older content at the target: some of it equal, some to be replaced, some where the source has nothing. */
const OLDER: Fills = { 0: 1, 1: 9, 2: 9, 8: 9, 21: 4, 30: 9 };

type Move = {
  readonly source: Omit<DiskSpec, 'sizeBytes'>;
  /** What the target reads beforehand. */
  readonly older?: Fills;
  readonly changes?: Partial<TransferRequest>;
};

export function transferTests(test: MoverTest): void {
  /** What the target reads, and what is recorded, after the transfer; the transfer is made twice, as after a crash. */
  async function move({ source: spec, older, changes }: Move): Promise<{
    result: TransferResult;
    read: readonly number[];
    records: readonly (readonly [number, number])[];
  }> {
    const harness = test.harness();
    const sizeBytes = SIZE_BYTES;
    await using source = await harness.serve({ sizeBytes, ...spec });
    const parent = older === undefined ? {} : { parent: older };
    await using target = await harness.serve({ sizeBytes, isWritable: true, ...parent });
    const request = requestOf(test, { source, target }, changes);
    const outcome = async () => {
      const result = await harness.settled(harness.mover.transfer(request, NEVER));
      const path = request.recordsPath;
      const records = path === null ? [] : await harness.records(path, sizeBytes);
      return { result, read: await target.read(), records };
    };
    const first = await outcome();
    const { durationMs: _, ...figures } = first.result;
    const again = await outcome();
    assert.deepEqual(again, {
      ...first,
      result: { ...figures, durationMs: again.result.durationMs },
    });
    return first;
  }

  it('a mover that was prepared, even several times, moves as any other', async () => {
    const { mover } = test.harness();
    for (const bytes of [0, 1e12, 1e12]) mover.prepare(bytes);
    const { read, records } = await move({ source: { blocks: CONTENT } });
    assert.deepEqual(read, reading(CONTENT));
    assert.deepEqual(records, WITHOUT_ZEROS);
  });

  it('makes a fresh base equal, and records every block that is not zero', async () => {
    const { result, read, records } = await move({ source: { blocks: CONTENT } });
    assert.deepEqual(read, reading(CONTENT));
    assert.deepEqual(records, WITHOUT_ZEROS);
    assert.equal(result.sentBytes, bytesOf(WITHOUT_ZEROS.map(([index]) => index)));
    assert.deepEqual([result.zeroedBytes, result.unchangedBytes], [0, 0]);
    assert.ok(result.readBytes >= result.sentBytes);
  });

  it('moves what lies in any layer of the source', async () => {
    const source = { blocks: { 3: 7, 9: 0 }, parent: CONTENT };
    const { read } = await move({ source });
    assert.deepEqual(read, reading(CONTENT, source.blocks));
  });

  it('moves nothing of an empty disk', async () => {
    const { result, records } = await move({ source: {} });
    assert.deepEqual([result.sentBytes, result.zeroedBytes, records], [0, 0, []]);
  });

  it('moves exactly what changed since a mark, over older content, zeros too', async () => {
    const changed = [1, 2, 21, 39];
    const source = { blocks: CONTENT, changed };
    await using server = await test.harness().serve({ sizeBytes: SIZE_BYTES, ...source });
    const { metaContext } = server;
    const extents = { type: 'changed', metaContext } as const;
    const { result, read, records } = await move({
      source,
      older: OLDER,
      changes: { extents, targetReads: 'parent' },
    });
    assert.deepEqual(read, reading(OLDER, { 1: 2, 2: 0, 21: 4, 39: 5 }));
    assert.deepEqual(records, [
      [1, 2],
      [2, 0],
      [21, 4],
      [39, 5],
    ]);
    assert.equal(result.sentBytes, bytesOf([1, 21, 39]));
    assert.equal(result.zeroedBytes, bytesOf([2]));
    assert.equal(result.extentCount, 3);
  });

  it('moves nothing where nothing changed', async () => {
    const source = { blocks: CONTENT, changed: [] };
    await using server = await test.harness().serve({ sizeBytes: SIZE_BYTES, ...source });
    const extents = { type: 'changed', metaContext: server.metaContext } as const;
    const changes = { extents, targetReads: 'parent' } as const;
    const { result, read, records } = await move({ source, older: OLDER, changes });
    assert.deepEqual(read, reading(OLDER));
    assert.deepEqual([result.readBytes, result.sentBytes, result.zeroedBytes], [0, 0, 0]);
    assert.deepEqual([result.extentCount, records], [0, []]);
  });

  it('moves exactly the blocks that are listed, those with nothing in them too', async () => {
    const blocks = setOf([0, 2, 8, 20, 39]);
    const { result, read, records } = await move({
      source: { blocks: CONTENT },
      older: OLDER,
      changes: { extents: { type: 'listed', blocks }, targetReads: 'parent' },
    });
    assert.deepEqual(read, reading(OLDER, { 0: 1, 2: 0, 8: 0, 20: 4, 39: 5 }));
    assert.deepEqual(records, [
      [0, 1],
      [2, 0],
      [8, 0],
      [20, 4],
      [39, 5],
    ]);
    assert.equal(result.sentBytes, bytesOf([0, 20, 39]));
    assert.equal(result.zeroedBytes, bytesOf([2, 8]));
  });

  it('leaves listed blocks out that lie behind the end', async () => {
    const blocks = setOf([1, 40, 70], 2 * SIZE_BYTES);
    const extents = { type: 'listed', blocks } as const;
    const { read } = await move({ source: { blocks: CONTENT }, changes: { extents } });
    assert.deepEqual(read, reading({ 1: 2 }));
  });

  for (const targetReads of ['zeros', 'parent'] as const) {
    it(`sends nothing that the target has, by its hashes; it reads ${targetReads}`, async () => {
      const knownHashesPath = await test.harness().hashTable(SIZE_BYTES, OLDER);
      const { result, read, records } = await move({
        source: { blocks: CONTENT },
        older: OLDER,
        changes: { knownHashesPath, targetReads },
      });
      assert.deepEqual(read, reading(CONTENT));
      // Where the table knows content and the source holds nothing, zeros are written.
      assert.deepEqual(records, [
        [1, 2],
        [2, 0],
        [8, 0],
        [9, 3],
        [20, 4],
        [30, 0],
        [39, 5],
      ]);
      assert.equal(result.sentBytes, bytesOf([1, 9, 20, 39]));
      assert.equal(result.zeroedBytes, bytesOf([2, 8, 30]));
      assert.equal(result.unchangedBytes, bytesOf([0, 21]));
    });
  }

  it('refuses hashes with a selection that does not cover the disk', async () => {
    const knownHashesPath = await test.harness().hashTable(SIZE_BYTES, OLDER);
    const extents = { type: 'listed', blocks: setOf([1]) } as const;
    const source = { blocks: CONTENT };
    await rejects('invalid-request', move({ source, changes: { knownHashesPath, extents } }));
  });

  it('records nothing where nobody wants records', async () => {
    const { read } = await move({ source: { blocks: CONTENT }, changes: { recordsPath: null } });
    assert.deepEqual(read, reading(CONTENT));
  });
}
