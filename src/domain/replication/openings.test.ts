import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Instant, instant } from '../instant.ts';
import {
  lastStretch,
  longestClosedMs,
  nextOpening,
  type Windows,
  windowFinding,
} from './openings.ts';
import { parseWindow, type ReplicationWindow, WEEKDAYS } from './window.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const WEEK_MS = 7 * 24 * HOUR_MS;

const at = (text: string): Instant => instant(Date.parse(`${text}Z`));
const windows = (...texts: string[]) => texts.map(parseWindow);
const opening = (of: Windows, text: string) =>
  new Date(nextOpening(of, at(text))).toISOString().slice(0, 16);

// 2026-01-01 was a Thursday.
test('the next opening is now, later today, or on the next day that the window names', () => {
  const nights = windows('mon-fri 22:00-06:00');
  assert.equal(opening(nights, '2026-01-01T21:59:59.999'), '2026-01-01T22:00');
  assert.equal(opening(nights, '2026-01-01T23:10'), '2026-01-01T23:10');
  assert.equal(opening(nights, '2026-01-02T05:59'), '2026-01-02T05:59');
  assert.equal(opening(nights, '2026-01-02T06:00'), '2026-01-02T22:00');
  assert.equal(opening(nights, '2026-01-03T05:00'), '2026-01-03T05:00', 'the night of Friday');
  assert.equal(opening(nights, '2026-01-03T06:00'), '2026-01-05T22:00');
});

test('around the end of the week, and around the epoch', () => {
  const sundays = windows('sun 23:00-01:00');
  assert.equal(opening(sundays, '2026-01-05T00:30'), '2026-01-05T00:30');
  assert.equal(opening(sundays, '2026-01-05T01:00'), '2026-01-11T23:00');
  assert.equal(opening(windows('thu 00:00-01:00'), '1970-01-01T00:00'), '1970-01-01T00:00');
  assert.equal(opening(windows('wed 00:00-01:00'), '1969-12-30T00:00'), '1969-12-31T00:00');
});

test('without windows, and with those that cover the week, it is always open', () => {
  const always = [[], windows('00:00-24:00'), windows('06:00-18:00', '17:00-07:00')];
  for (const none of always) {
    assert.equal(opening(none, '2026-01-01T12:34'), '2026-01-01T12:34');
    assert.equal(longestClosedMs(none), 0);
  }
  assert.equal(lastStretch([], at('2026-01-01T12:00')), null);
});

test('the longest closed time is between stretches, not between windows', () => {
  const hours = (...texts: string[]) => longestClosedMs(windows(...texts)) / HOUR_MS;
  assert.equal(hours('22:00-06:00'), 16);
  assert.equal(hours('22:00-06:00', '05:00-07:00'), 15, 'they overlap');
  assert.equal(hours('22:00-06:00', '06:00-07:00'), 15, 'they adjoin');
  assert.equal(hours('mon-fri 22:00-06:00'), 64, 'from Saturday to Monday');
  assert.equal(hours('sun 12:00-24:00', 'mon 00:00-12:00'), 6 * 24);
  assert.equal(hours('wed 00:00-24:00'), 6 * 24);
});

test('windows that are closed for as long as the RPO are told of before the job is made', () => {
  const found = (rpoHours: number, ...texts: string[]) =>
    windowFinding(windows(...texts), rpoHours * 3600)?.message;
  assert.equal(found(1), undefined);
  assert.equal(found(1, '00:00-24:00'), undefined);
  assert.equal(found(17, '22:00-06:00'), undefined);
  assert.match(found(16, '22:00-06:00') ?? '', /outside 22:00-06:00 UTC, for up to 16 h:.*57600 s/);
  assert.match(found(2, '22:00-19:15') ?? '', /for up to 2 h 45 min/);
});

test('the last stretch is the one that ended last', () => {
  const of = windows('12:00-13:00', '22:00-06:00');
  const last = (text: string) => {
    const { opensAt, closesAt } = lastStretch(of, at(text)) ?? {};
    return [opensAt, closesAt].map((one) => new Date(one ?? 0).toISOString().slice(8, 16));
  };
  assert.deepEqual(last('2026-01-02T11:00'), ['01T22:00', '02T06:00']);
  assert.deepEqual(last('2026-01-02T13:00'), ['02T12:00', '02T13:00']);
  assert.deepEqual(last('2026-01-02T21:00'), ['02T12:00', '02T13:00']);
  const adjoining = windows('04:00-05:00', '05:00-06:00');
  assert.equal(lastStretch(adjoining, at('2026-01-02T07:00'))?.opensAt, at('2026-01-02T04:00'));
});

const anyWindow = fc
  .record({
    days: fc.subarray([...WEEKDAYS], { minLength: 1 }),
    fromMinute: fc.nat(1439),
    toMinute: fc.nat(1440),
  })
  .filter(({ fromMinute, toMinute }) => fromMinute !== toMinute);
const anyWindows = fc.array(anyWindow, { minLength: 1, maxLength: 4 });
const anyTime = fc.integer({ min: 0, max: 4 * WEEK_MS }).map((ms) => instant(1.7e12 + ms));

/** By the definition: on that day of the week, or that began on the day before and goes on. */
function isOpenByHand(of: readonly ReplicationWindow[], time: number): boolean {
  const date = new Date(time);
  const minute = date.getUTCHours() * 60 + date.getUTCMinutes();
  const day = (date.getUTCDay() + 6) % 7;
  const isNamed = (days: readonly string[], index: number) =>
    days.includes(WEEKDAYS[(index + 7) % 7] ?? '');
  return of.some(({ days, fromMinute, toMinute }) =>
    fromMinute < toMinute
      ? isNamed(days, day) && fromMinute <= minute && minute < toMinute
      : (isNamed(days, day) && minute >= fromMinute) ||
        (isNamed(days, day - 1) && minute < toMinute),
  );
}

test('the next opening is open, not before, and nothing in between is', () => {
  fc.assert(
    fc.property(
      anyWindows,
      anyTime,
      fc.double({ min: 0, max: 1, noNaN: true }),
      (of, time, share) => {
        const next = nextOpening(of, time);
        assert.ok(next >= time && next - time < WEEK_MS);
        assert.ok(isOpenByHand(of, next));
        assert.equal(next === time, isOpenByHand(of, time));
        const between = Math.floor(time + (next - time) * share);
        if (between < next) assert.ok(!isOpenByHand(of, between));
        // Openings are on whole minutes.
        if (next > time) assert.ok(!isOpenByHand(of, next - 1));
      },
    ),
    { numRuns: 500 },
  );
});

test('no closed time is longer than the longest, and one is as long', () => {
  fc.assert(
    fc.property(anyWindows, anyTime, (of, time) => {
      const longest = longestClosedMs(of);
      assert.ok(nextOpening(of, time) - time <= longest);
      const minutes = Array.from(
        { length: WEEK_MS / MINUTE_MS },
        (_, minute) => minute * MINUTE_MS,
      );
      const base = Math.floor(time / MINUTE_MS) * MINUTE_MS;
      let waited = 0;
      let most = 0;
      for (const ms of [...minutes, ...minutes]) {
        waited = isOpenByHand(of, base + ms) ? 0 : waited + MINUTE_MS;
        most = Math.max(most, waited);
      }
      assert.equal(longest, most);
    }),
    { numRuns: 20 },
  );
});

test('the last stretch is open from its beginning to its end, and closed from there on', () => {
  fc.assert(
    fc.property(anyWindows, anyTime, (of, time) => {
      if (nextOpening(of, time) === time) return;
      const { opensAt, closesAt } = lastStretch(of, time) ?? assert.fail();
      assert.ok(closesAt <= time && opensAt < closesAt);
      assert.ok(isOpenByHand(of, opensAt) && isOpenByHand(of, closesAt - 1));
      assert.ok(!isOpenByHand(of, opensAt - 1));
      assert.ok(nextOpening(of, closesAt) > time, 'nothing opens between them');
      assert.ok(isOpenByHand(of, Math.floor((opensAt + closesAt) / 2)));
    }),
    { numRuns: 500 },
  );
});
