import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decideCatchUp, type Pass } from './catch-up.ts';

const policy = { passesMax: 5, lastDeltaMsMax: 3000 };
const pass = (durationMs: number, sentBytes: number, coveredMs: number | null): Pass => ({
  durationMs,
  sentBytes,
  coveredMs,
});
const passes = fc.array(
  fc.record({
    durationMs: fc.integer({ min: 1, max: 1e7 }),
    sentBytes: fc.nat(1e12),
    coveredMs: fc.option(fc.integer({ min: 1, max: 1e8 })),
  }),
  { maxLength: 12 },
);

test('a quiet VM needs one pass', () => {
  const decided = decideCatchUp([pass(600, 0, 900_000)], policy);
  assert.deepEqual([decided.isEnough, decided.lastDeltaMs], [true, 600]);
});

test('after a long first pass another is worth it, and then the last delta is short', () => {
  const seed = pass(60_000, 20e9, null);
  assert.equal(decideCatchUp([seed], policy).isEnough, false);
  const second = pass(4000, 1e9, 60_000);
  const decided = decideCatchUp([seed, second], policy);
  // 1 GB in a minute is 67 MB in four seconds: less than what a run costs at least.
  assert.deepEqual([decided.isEnough, decided.lastDeltaMs], [true, 600]);
});

test('a VM that writes as fast as passes follow is stopped rather than chased', () => {
  const decided = decideCatchUp([pass(50_000, 9e9, 50_000), pass(48_000, 9e9, 50_000)], policy);
  assert.equal(decided.isEnough, true);
  assert.match(decided.because, /would not help/);
});

test('passes end whatever the VM writes, and never before the first', () => {
  fc.assert(
    fc.property(passes, (history) => {
      const decided = decideCatchUp(history, policy);
      if (history.length === 0) assert.equal(decided.isEnough, false);
      if (history.length >= policy.passesMax) assert.equal(decided.isEnough, true);
      if (decided.lastDeltaMs !== null) {
        assert.ok(Number.isSafeInteger(decided.lastDeltaMs) && decided.lastDeltaMs > 0);
        if (decided.lastDeltaMs <= policy.lastDeltaMsMax) assert.equal(decided.isEnough, true);
      }
      assert.notEqual(decided.because, '');
    }),
  );
});
