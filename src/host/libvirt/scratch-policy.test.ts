import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MIB } from '../../domain/bytes.ts';
import { growth, quotaAtBegin, type ScratchReading, scratchVerdict } from './scratch-policy.ts';

const CALM: ScratchReading = {
  usedBytes: 0,
  freeBytes: 1024 * MIB,
  ageMs: 0,
  growthBytesPerMs: 0,
};
const LIMITS = { quotaBytes: 100 * MIB, reserveBytes: 64 * MIB, deadlineMs: 10_000 };

test('the quota is half of what is free, never more than the reserve leaves', () => {
  const policy = { quotaBytes: null, reserveBytes: 256 * MIB, deadlineMs: 1 };
  assert.equal(quotaAtBegin(policy, 1024 * MIB), 512 * MIB);
  assert.equal(quotaAtBegin(policy, 300 * MIB), 44 * MIB);
  assert.equal(quotaAtBegin(policy, 260 * MIB), null);
  assert.equal(quotaAtBegin({ ...policy, quotaBytes: 8 * MIB }, 1024 * MIB), 8 * MIB);
  assert.equal(quotaAtBegin({ ...policy, quotaBytes: 4096 * MIB }, 1024 * MIB), 768 * MIB);
  assert.equal(quotaAtBegin({ ...policy, quotaBytes: 0 }, 1024 * MIB), null);
});

test('each limit is named', () => {
  assert.equal(scratchVerdict(CALM, LIMITS), null);
  assert.match(scratchVerdict({ ...CALM, ageMs: 10_000 }, LIMITS) ?? '', /deadline/);
  assert.match(scratchVerdict({ ...CALM, usedBytes: 80 * MIB }, LIMITS) ?? '', /80.0 MiB of the/);
  assert.match(scratchVerdict({ ...CALM, freeBytes: 64 * MIB }, LIMITS) ?? '', /in reserve/);
});

test('a fast guest ends the freeze before it could fill what is left between two looks', () => {
  const fast = 50 * 1024;
  const reading = { ...CALM, usedBytes: 10 * MIB, growthBytesPerMs: fast };
  assert.equal(scratchVerdict({ ...reading, growthBytesPerMs: 1 }, LIMITS), null);
  assert.notEqual(scratchVerdict(reading, LIMITS), null);
});

test('whatever the pace, a guest that keeps it is caught before quota and reserve are passed', () => {
  const paces = fc.record({
    bytesPerMs: fc.integer({ min: 1, max: 200 * 1024 }),
    quotaMib: fc.integer({ min: 512, max: 4096 }),
  });
  fc.assert(
    fc.property(paces, ({ bytesPerMs, quotaMib }) => {
      const limits = { quotaBytes: quotaMib * MIB, reserveBytes: 0, deadlineMs: 1e12 };
      const disk = limits.quotaBytes * 2;
      let previous: ScratchReading | null = null;
      for (let atMs = 0; ; atMs += 200) {
        const usedBytes = atMs * bytesPerMs;
        const reading: ScratchReading = {
          usedBytes,
          freeBytes: disk - usedBytes,
          ageMs: atMs,
          growthBytesPerMs: growth(previous, usedBytes, 200),
        };
        previous = reading;
        if (scratchVerdict(reading, limits) === null) continue;
        // Another second passes until the job has ended.
        return usedBytes + 1000 * bytesPerMs <= limits.quotaBytes;
      }
    }),
    { numRuns: 50 },
  );
});

test('growth takes a burst at once and forgets it slowly', () => {
  assert.equal(growth(null, 5, 0), 0);
  const before = { ...CALM, usedBytes: 1000 };
  assert.equal(growth(before, 3000, 200), 10);
  assert.equal(growth({ ...before, growthBytesPerMs: 10 }, 1000, 200), 8);
});
