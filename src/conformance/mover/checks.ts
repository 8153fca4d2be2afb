import assert from 'node:assert/strict';
import { it } from 'node:test';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import type { SurveyRequest, VerifyResult } from '../../ports/mover.ts';
import {
  bytesOf,
  type DiskSpec,
  type Fills,
  indexesOf,
  type MoverTest,
  NEVER,
  reading,
  rejects,
  SIZE_BYTES,
} from './harness.ts';

const CONTENT: Fills = { 0: 1, 1: 2, 9: 3, 39: 5 };

export function checkTests(test: MoverTest): void {
  async function verify(blocks: Fills, expected: Fills): Promise<VerifyResult> {
    const harness = test.harness();
    await using disk = await harness.serve({ sizeBytes: SIZE_BYTES, blocks });
    const hashesPath = await harness.hashTable(SIZE_BYTES, expected);
    const request = { endpoint: disk.endpoint, sizeBytes: SIZE_BYTES, hashesPath };
    return await harness.settled(harness.mover.verify(request, NEVER));
  }

  async function survey(
    spec: Omit<DiskSpec, 'sizeBytes'>,
    by: (metaContext: string) => SurveyRequest['by'],
  ): Promise<readonly number[]> {
    const harness = test.harness();
    await using disk = await harness.serve({ sizeBytes: SIZE_BYTES, ...spec });
    const { endpoint, metaContext } = disk;
    const request = { endpoint, sizeBytes: SIZE_BYTES, by: by(metaContext) };
    const before = await disk.read();
    const found = await harness.settled(harness.mover.survey(request, NEVER));
    assert.deepEqual(await disk.read(), before, 'nothing is written');
    return indexesOf(found);
  }

  it('finds a sound disk sound', async () => {
    const { wrongBlockCount, wrongBlocks, checkedBytes } = await verify(CONTENT, CONTENT);
    assert.deepEqual([wrongBlockCount, wrongBlocks], [0, []]);
    assert.ok(checkedBytes >= bytesOf([0, 1, 9, 39]));
  });

  it('takes zeros that are written down for a hole', async () => {
    const { wrongBlockCount } = await verify({ ...CONTENT, 5: 0 }, CONTENT);
    assert.equal(wrongBlockCount, 0);
  });

  it('names blocks that are wrong, missing, or there without a record', async () => {
    const { wrongBlocks, wrongBlockCount } = await verify({ 0: 1, 1: 7, 12: 8, 39: 5 }, CONTENT);
    assert.deepEqual(wrongBlocks, [1, 9, 12]);
    assert.equal(wrongBlockCount, 3);
  });

  it('counts all wrong blocks and names the first hundred', async () => {
    const harness = test.harness();
    const sizeBytes = 120 * BLOCK_BYTES;
    const blocks = Object.fromEntries(Array.from({ length: 120 }, (_, index) => [index, 1]));
    await using disk = await harness.serve({ sizeBytes, blocks });
    const hashesPath = await harness.hashTable(sizeBytes, { 3: 1, 4: 2 });
    const request = { endpoint: disk.endpoint, sizeBytes, hashesPath };
    const { wrongBlocks, wrongBlockCount } = await harness.settled(
      harness.mover.verify(request, NEVER),
    );
    assert.equal(wrongBlockCount, 119);
    const named = Array.from({ length: 101 }, (_, index) => index).filter((index) => index !== 3);
    assert.deepEqual(wrongBlocks, named);
  });

  it('surveys what changed since a mark', async () => {
    const spec = { blocks: { ...CONTENT, 2: 0 }, changed: [1, 2, 39] };
    const changed = (metaContext: string) => ({ type: 'changed', metaContext }) as const;
    assert.deepEqual(await survey(spec, changed), [1, 2, 39]);
    assert.deepEqual(await survey({ blocks: CONTENT, changed: [] }, changed), []);
  });

  it('surveys what differs from a table', async () => {
    const hashesPath = await test.harness().hashTable(SIZE_BYTES, CONTENT);
    const by = () => ({ type: 'compared', hashesPath }) as const;
    assert.deepEqual(await survey({ blocks: { 0: 1, 1: 7, 12: 8, 39: 5, 20: 0 } }, by), [1, 9, 12]);
    assert.deepEqual(await survey({ blocks: CONTENT }, by), []);
  });

  it('compares what lies behind the end of a smaller table with zeros', async () => {
    const hashesPath = await test.harness().hashTable(10 * BLOCK_BYTES, { 0: 1, 1: 2, 9: 3 });
    const by = () => ({ type: 'compared', hashesPath }) as const;
    assert.deepEqual(await survey({ blocks: { ...CONTENT, 11: 0 } }, by), [39]);
  });

  it('compares a disk that is smaller than the table as far as it goes', async () => {
    const content = { 0: 1, 9: 3, 47: 6 };
    const hashesPath = await test.harness().hashTable(48 * BLOCK_BYTES, content);
    const by = () => ({ type: 'compared', hashesPath }) as const;
    assert.deepEqual(await survey({ blocks: { 0: 1, 12: 8 } }, by), [9, 12]);
  });

  it('verifies and surveys nothing without a table', async () => {
    const harness = test.harness();
    await using disk = await harness.serve({ sizeBytes: SIZE_BYTES, blocks: CONTENT });
    const common = { endpoint: disk.endpoint, sizeBytes: SIZE_BYTES };
    const hashesPath = harness.newPath();
    const by = { type: 'compared', hashesPath } as const;
    await rejects(
      'invalid-file',
      harness.settled(harness.mover.verify({ ...common, hashesPath }, NEVER)),
    );
    await rejects('invalid-file', harness.settled(harness.mover.survey({ ...common, by }, NEVER)));
    assert.deepEqual(await disk.read(), reading(CONTENT));
  });
}
