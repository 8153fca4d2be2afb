import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type PointId, pointId } from '../ids.ts';
import { type BisectStep, type Health, nextBisectStep } from './bisect.ts';

const named = (count: number) => Array.from({ length: count }, (_, n) => pointId(`pt-${n}`));

type Search = {
  readonly found: Extract<BisectStep, { type: 'found' }>;
  readonly rounds: number;
  readonly booted: readonly PointId[];
};

function search(points: readonly PointId[], health: readonly Health[], width: number): Search {
  const known = new Map<PointId, Health>();
  const booted: PointId[] = [];
  for (let rounds = 0; ; rounds += 1) {
    assert.ok(rounds <= points.length, 'it ends');
    const step = nextBisectStep({ points, known }, width);
    if (step.type === 'found') return { found: step, rounds, booted };
    assert.ok(step.points.length >= 1 && step.points.length <= width);
    for (const point of step.points) {
      assert.ok(!known.has(point), 'nothing is booted twice');
      known.set(point, health[points.indexOf(point)] ?? 'bad');
      booted.push(point);
    }
  }
}

const width = fc.integer({ min: 1, max: 6 });

test('good then bad: it finds the newest good one, in as few rounds as the width allows', () => {
  const situation = fc
    .integer({ min: 0, max: 60 })
    .chain((count) => fc.tuple(fc.constant(count), fc.integer({ min: 0, max: count }), width));
  fc.assert(
    fc.property(situation, ([count, goodCount, many]) => {
      const points = named(count);
      const health = points.map((_, index): Health => (index < goodCount ? 'good' : 'bad'));
      const { found, rounds } = search(points, health, many);
      assert.equal(found.newestGood, points[goodCount - 1] ?? null);
      assert.equal(found.firstBad, points[goodCount] ?? null);
      const bound = 2 + Math.ceil(Math.log(count + 1) / Math.log(many + 1));
      assert.ok(rounds <= bound, `${rounds} rounds for ${count} points, ${many} at once`);
    }),
  );
});

test('whatever the points are: the answer passed, and the next newer one failed', () => {
  const anyHealth = fc.array(fc.constantFrom<Health>('good', 'bad'), { maxLength: 40 });
  fc.assert(
    fc.property(anyHealth, width, (health, many) => {
      const points = named(health.length);
      const { found } = search(points, health, many);
      const at = found.newestGood === null ? -1 : points.indexOf(found.newestGood);
      if (at !== -1) assert.equal(health[at], 'good');
      assert.equal(found.firstBad, points[at + 1] ?? null);
      if (found.firstBad !== null) assert.equal(health[at + 1], 'bad');
    }),
  );
});

test('a healthy newest point is all that is booted with a width of one', () => {
  const points = named(9);
  const { booted } = search(
    points,
    points.map(() => 'good'),
    1,
  );
  assert.deepEqual(booted, ['pt-8']);
});
