import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { pointId } from '../ids.ts';
import { instant } from '../instant.ts';
import { pointsToRetire, type RetentionPolicy } from './retention.ts';

const HOUR = 3_600_000;
const T0 = 1_700_000_000_000 - (1_700_000_000_000 % HOUR);

function point(index: number, ageHours: number, isPinned = false) {
  return { id: pointId(`pt-${index}`), takenAt: instant(T0 - ageHours * HOUR), isPinned };
}

test('keeps the newest by count', () => {
  const points = [5, 4, 3, 2, 1].map((age, index) => point(index, age));
  assert.deepEqual(pointsToRetire(points, { keepLast: 2, tiers: [] }, instant(T0)), [
    'pt-0',
    'pt-1',
    'pt-2',
  ]);
});

test('keeps the newest of each period of a tier, and pinned points for ever', () => {
  const points = [50, 30, 26, 3.5, 3.2, 2.5, 0.5].map((age, index) =>
    point(index, age, index === 0),
  );
  const policy = { keepLast: 1, tiers: [{ everySeconds: 3600, forSeconds: 24 * 3600 }] };
  assert.deepEqual(pointsToRetire(points, policy, instant(T0)), ['pt-1', 'pt-2', 'pt-3']);
});

const anyPoints = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 2000 }), fc.boolean()), { minLength: 1, maxLength: 40 })
  .map((ages) =>
    ages.toSorted(([a], [b]) => b - a).map(([age, pinned], index) => point(index, age / 4, pinned)),
  );
const anyPolicy: fc.Arbitrary<RetentionPolicy> = fc.record({
  keepLast: fc.integer({ min: 0, max: 12 }),
  tiers: fc.array(
    fc.record({
      everySeconds: fc.integer({ min: 60, max: 90_000 }),
      forSeconds: fc.integer({ min: 60, max: 900_000 }),
    }),
    { maxLength: 3 },
  ),
});

test('the newest and the pinned are never retired, and retiring again retires nothing more', () => {
  fc.assert(
    fc.property(anyPoints, anyPolicy, (points, policy) => {
      const retired = new Set(pointsToRetire(points, policy, instant(T0)));
      const left = points.filter((candidate) => !retired.has(candidate.id));
      assert.ok(!retired.has(points.at(-1)?.id ?? pointId('none')));
      assert.ok(points.every((candidate) => !candidate.isPinned || !retired.has(candidate.id)));
      assert.ok(left.length >= Math.min(points.length, Math.max(1, policy.keepLast)));
      assert.deepEqual(pointsToRetire(left, policy, instant(T0)), []);
    }),
  );
});

test('a point that is retired was not needed a moment earlier by a clock that jumped back', () => {
  const points = [3, 2, 1].map((age, index) => point(index, age));
  const policy = { keepLast: 1, tiers: [{ everySeconds: 3600, forSeconds: 24 * 3600 }] };
  assert.deepEqual(pointsToRetire(points, policy, instant(T0 - 100 * HOUR)), []);
});
