import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { pointId } from '../ids.ts';
import { instant } from '../instant.ts';
import { comparePoints, nextSealedAt, type RestorePoint } from './restore-point.ts';

test('the order of points is that of their sealing, whatever the clocks of source and controller do', () => {
  const moment = fc.integer({ min: 0, max: 2_000_000_000_000 });
  fc.assert(
    fc.property(fc.array(fc.record({ takenAt: moment, now: moment })), (moments) => {
      const chain: RestorePoint[] = [];
      for (const [index, { takenAt, now }] of moments.entries()) {
        chain.push({
          id: pointId(`pt-${moments.length - index}`),
          takenAt: instant(takenAt),
          sealedAt: nextSealedAt(chain.at(-1) ?? null, instant(now)),
        } as RestorePoint);
      }
      assert.deepEqual(chain.toReversed().sort(comparePoints), chain);
    }),
  );
});
