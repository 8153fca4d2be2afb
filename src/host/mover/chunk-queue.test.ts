import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import type { WorkRun } from './batches.ts';
import { ChunkQueue } from './chunk-queue.ts';

/** Runs of so many blocks, zeros where negative, one after the other with a gap between them. */
function runsOf(counts: readonly number[]): readonly WorkRun[] {
  let firstBlock = 0;
  return counts.map((count) => {
    const blockCount = Math.abs(count);
    const kind = count < 0 ? 'zeros' : 'content';
    const run = { kind, firstBlock, blockCount, spoolPosition: firstBlock } as const;
    firstBlock += blockCount + 1;
    return { ...run, knownHashes: null };
  });
}

/** The blocks of each chunk, load by load, where a buffer has room for four. */
async function loadsOf(...batches: readonly (readonly number[])[]): Promise<number[][]> {
  const left = batches.map((counts) => ({ runs: runsOf(counts), byteCount: 0 }));
  const nextBatch = async () => left.shift() ?? null;
  const queue = new ChunkQueue({ nextBatch, contentBytesMax: 4 * BLOCK_BYTES });
  const loads: number[][] = [];
  for (let load = await queue.next(); load !== null; load = await queue.next()) {
    loads.push(load.map(({ kind, blockCount }) => (kind === 'zeros' ? -blockCount : blockCount)));
  }
  return loads;
}

test('a large run is cut, and small ones share a load', async () => {
  assert.deepEqual(await loadsOf([10, 1, 1, 3, 2]), [[4], [4], [2, 1, 1], [3], [2]]);
});

test('zeros take no room and are not cut', async () => {
  assert.deepEqual(await loadsOf([-100, 4, -100, 1]), [[-100, 4, -100], [1]]);
});

test('however little room they need, not more than sixteen chunks are a load', async () => {
  const loads = await loadsOf(new Array<number>(40).fill(-1));
  assert.deepEqual(
    loads.map((load) => load.length),
    [16, 16, 8],
  );
});

test('a load ends with its batch, and one without runs is none', async () => {
  assert.deepEqual(await loadsOf([1], [], [1, 1]), [[1], [1, 1]]);
});
