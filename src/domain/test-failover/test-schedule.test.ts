import assert from 'node:assert/strict';
import { test } from 'node:test';
import { instant } from '../instant.ts';
import { isTestDue, type PastTest } from './test-schedule.ts';

const T0 = 1_700_000_000_000;
const HOUR = 3_600_000;
const WEEK = 7 * 24 * 3600;
const past = (hoursAgo: number, isCarriedOut = true, hasEnded = true): PastTest => ({
  createdAt: instant(T0 - hoursAgo * HOUR),
  endedAt: hasEnded ? instant(T0 - hoursAgo * HOUR + 60_000) : null,
  isCarriedOut,
});
const isDue = (...tests: readonly PastTest[]) => isTestDue(WEEK, tests, instant(T0));

test('the first test is due at once, the next after the period', () => {
  assert.equal(isDue(), true);
  assert.equal(isDue(past(1)), false);
  assert.equal(isDue(past(7 * 24 - 1)), false);
  assert.equal(isDue(past(7 * 24)), true);
});

test('none is due while one is under way', () => {
  assert.equal(isDue(past(9 * 24, true, false)), false);
});

test('one that could not be carried out is tried again within the hour, not at once', () => {
  assert.equal(isDue(past(0.5, false), past(8 * 24)), false);
  assert.equal(isDue(past(1.1, false), past(8 * 24)), true);
  assert.equal(isTestDue(600, [past(0.1, false)], instant(T0)), false);
  assert.equal(isTestDue(600, [past(0.2, false)], instant(T0)), true);
});

test('a clock that was ahead does not put tests off for good', () => {
  assert.equal(isDue(past(-1000)), true);
  assert.equal(isDue(past(-1000), past(2)), false);
});
