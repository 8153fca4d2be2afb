import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { BlockRuns } from './block-runs.ts';

const SECTOR = 4096;
const segments = fc.array(
  fc.record({
    sectors: fc.integer({ min: 1, max: 40 }),
    isSelected: fc.boolean(),
    isZero: fc.boolean(),
  }),
  { maxLength: 40 },
);

test('a block is selected by any of its bytes and zero by all of them', () => {
  fc.assert(
    fc.property(segments, fc.array(fc.boolean()), (parts, takes) => {
      const blocks = new BlockRuns();
      const expected = new Map<number, { isSelected: boolean; isZero: boolean }>();
      const found: string[] = [];
      const collect = () => {
        for (const { kind, firstBlock, blockCount } of blocks.take()) {
          for (let i = 0; i < blockCount; i += 1) found.push(`${firstBlock + i} ${kind}`);
        }
      };
      let start = 0;
      for (const [index, { sectors, isSelected, isZero }] of parts.entries()) {
        const end = start + sectors * SECTOR;
        blocks.add({ start, end, isSelected, isZero });
        for (let block = Math.floor(start / BLOCK_BYTES); block * BLOCK_BYTES < end; block += 1) {
          const before = expected.get(block) ?? { isSelected: false, isZero: true };
          expected.set(block, {
            isSelected: before.isSelected || isSelected,
            isZero: before.isZero && isZero,
          });
        }
        start = end;
        if (takes[index]) collect();
      }
      blocks.finish();
      collect();
      const wanted = [...expected]
        .filter(([, { isSelected }]) => isSelected)
        .map(([block, { isZero }]) => `${block} ${isZero ? 'zeros' : 'content'}`);
      assert.deepEqual(found, wanted);
    }),
    { numRuns: 500 },
  );
});
