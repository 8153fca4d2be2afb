import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_BYTES } from '../bytes.ts';
import {
  addBlocks,
  allBlocks,
  type BlockSet,
  blocksFrom,
  countBlocks,
  hasBlock,
  noBlocks,
  rangesOf,
  union,
} from './block-set.ts';

const range = fc.record({ firstBlock: fc.nat(70), blockCount: fc.nat(40) });
const spec = fc.record({ blocks: fc.nat(64), ranges: fc.array(range, { maxLength: 6 }) });
type Spec = { blocks: number; ranges: { firstBlock: number; blockCount: number }[] };

function setOf({ blocks, ranges }: Spec): BlockSet {
  const set = noBlocks(blocks * BLOCK_BYTES);
  for (const each of ranges) addBlocks(set, each);
  return set;
}

/** The same by the plainest means. */
function model({ blocks, ranges }: Spec): number[] {
  return Array.from({ length: blocks }, (_, block) => block).filter((block) =>
    ranges.some(({ firstBlock, blockCount }) => {
      return block >= firstBlock && block < firstBlock + blockCount;
    }),
  );
}

function blocksOf(set: BlockSet): number[] {
  return [...rangesOf(set)].flatMap(({ firstBlock, blockCount }) =>
    Array.from({ length: blockCount }, (_, index) => firstBlock + index),
  );
}

test('a set holds exactly the blocks put into it that the disk has', () => {
  fc.assert(
    fc.property(spec, (given) => {
      const set = setOf(given);
      const wanted = model(given);
      assert.deepEqual(blocksOf(set), wanted);
      assert.equal(countBlocks(set), wanted.length);
      for (let block = 0; block < given.blocks; block += 1) {
        assert.equal(hasBlock(set, block), wanted.includes(block));
      }
    }),
  );
});

test('ranges are as long as they can be', () => {
  fc.assert(
    fc.property(spec, (given) => {
      let end = -1;
      for (const { firstBlock, blockCount } of rangesOf(setOf(given))) {
        assert.ok(blockCount > 0 && firstBlock > end);
        end = firstBlock + blockCount;
      }
    }),
  );
});

test('a union has what either has, and the size of the larger', () => {
  fc.assert(
    fc.property(spec, spec, (a, b) => {
      const both = union(setOf(a), setOf(b));
      assert.equal(both.blockCount, Math.max(a.blocks, b.blocks));
      const wanted = new Set([...model(a), ...model(b)]);
      assert.deepEqual(
        blocksOf(both),
        [...wanted].sort((x, y) => x - y),
      );
    }),
  );
});

test('all blocks of a disk that ends within one', () => {
  assert.equal(countBlocks(allBlocks(5 * BLOCK_BYTES + 1)), 6);
  assert.equal(countBlocks(allBlocks(0)), 0);
});

test('from a byte on: the block that it cuts, and all behind it', () => {
  assert.deepEqual(blocksOf(blocksFrom(BLOCK_BYTES, 3 * BLOCK_BYTES)), [1, 2]);
  assert.deepEqual(blocksOf(blocksFrom(2 * BLOCK_BYTES - 512, 3 * BLOCK_BYTES)), [1, 2]);
  assert.deepEqual(blocksOf(blocksFrom(3 * BLOCK_BYTES, 3 * BLOCK_BYTES)), []);
  assert.deepEqual(blocksOf(blocksFrom(4 * BLOCK_BYTES, 3 * BLOCK_BYTES - 1)), []);
});
