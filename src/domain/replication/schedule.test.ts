import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { instant } from '../instant.ts';
import { longestClosedMs, nextOpening } from './openings.ts';
import {
  awaitedOpening,
  beginsAt,
  isRpoAtRisk,
  predictRunMs,
  type ScheduleFacts,
  schedule,
  withoutFuture,
} from './schedule.ts';
import { parseWindow, WEEKDAYS } from './window.ts';

const T0 = 1_700_000_000_000;
const HOUR_MS = 3600_000;
const at = (ms: number) => instant(T0 + ms);
const run = (startMs: number, endMs: number, succeeded = true) => ({
  startedAt: at(startMs),
  endedAt: at(endMs),
  succeeded,
});

function facts(given: Partial<ScheduleFacts>): ScheduleFacts {
  return {
    newestTakenAt: at(0),
    protectedSince: at(-1_000_000),
    rpoSeconds: 600,
    windows: [],
    runs: [],
    runningSince: null,
    ...given,
  };
}

test('the first run is due at once', () => {
  const planned = schedule(facts({ newestTakenAt: null, protectedSince: at(0) }));
  assert.equal(planned.startAt, at(0));
});

test('a run starts so early that its predicted end lies before the deadline', () => {
  const planned = schedule(facts({ runs: [run(0, 90_000)] }));
  assert.equal(planned.deadline, at(600_000));
  assert.equal(planned.predictedMs, 90_000);
  assert.ok(planned.startAt + planned.predictedMs < planned.deadline);
});

test('the prediction is the slowest of the last five successes', () => {
  const runs = [
    run(0, 10),
    run(0, 70),
    run(0, 5_000, false),
    run(0, 20),
    run(0, 30),
    run(0, 40),
    run(0, 9_999),
  ];
  assert.equal(predictRunMs(runs), 70);
});

test('failures in a row double the pause, a success forgets them', () => {
  const failing = (count: number) =>
    schedule(
      facts({
        newestTakenAt: null,
        runs: Array.from({ length: count }, () => run(0, 1_000, false)),
      }),
    ).startAt - at(1_000);
  assert.deepEqual([1, 2, 3, 4].map(failing), [5_000, 10_000, 20_000, 40_000]);
  assert.equal(failing(30), 300_000, 'never more than half the RPO');
  const recovered = schedule(facts({ runs: [run(0, 1_000), run(0, 900, false)] }));
  assert.ok(recovered.startAt > at(1_000));
});

test('a breach is foreseen: told while the deadline is still ahead', () => {
  const slow = facts({ runs: [run(0, 60_000)], runningSince: at(570_000) });
  const planned = schedule(slow);
  assert.ok(isRpoAtRisk(slow, planned, at(571_000)));
  assert.ok(at(571_000) < planned.deadline);
  const intime = facts({ runs: [run(0, 60_000)], runningSince: at(470_000) });
  assert.equal(isRpoAtRisk(intime, schedule(intime), at(480_000)), false);
});

test('a run that hangs beyond its prediction is at risk as soon as its end would be late', () => {
  const hanging = facts({ runs: [run(0, 1_000)], runningSince: at(100_000) });
  assert.equal(isRpoAtRisk(hanging, schedule(hanging), at(500_000)), false);
  assert.ok(isRpoAtRisk(hanging, schedule(hanging), at(541_000)), 'a tenth of the RPO early');
});

test('whenever runs take at most half the RPO and none fails, the planned run ends in time', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 10, max: 86_400 }),
      fc.double({ min: 0, max: 0.5, noNaN: true }),
      (rpoSeconds, share) => {
        const length = Math.floor(rpoSeconds * 1000 * share);
        const given = facts({ rpoSeconds, runs: [run(0, length)] });
        const planned = schedule(given);
        assert.ok(planned.startAt + length <= planned.deadline);
        assert.ok(planned.startAt > at(0), 'and runs are not back to back');
        assert.equal(isRpoAtRisk(given, planned, at(0)), false);
      },
    ),
  );
});

test('whatever a clock that was ahead wrote down, a run is due within the RPO or the longest pause', () => {
  const moment = fc.integer({ min: -1e10, max: 1e10 });
  fc.assert(
    fc.property(moment, moment, moment, fc.boolean(), (takenAt, since, endedAt, succeeded) => {
      const recorded = facts({
        newestTakenAt: at(takenAt),
        protectedSince: at(since),
        runs: [run(endedAt - 1000, endedAt, succeeded)],
      });
      const { startAt } = schedule(withoutFuture(recorded, at(0)));
      assert.ok(startAt <= at(600_000 + 600_000), `${startAt - at(0)} ms from now`);
    }),
  );
});

const clock = (text: string) => instant(Date.parse(`${text}Z`));
const NIGHTS = [parseWindow('22:00-06:00')];
const nightly = (given: Partial<ScheduleFacts>) => facts({ windows: NIGHTS, ...given });

test('a run begins in a window: when it is due, or at the next opening', () => {
  const begun = (takenAt: string) =>
    schedule(nightly({ rpoSeconds: 24 * 3600, newestTakenAt: clock(takenAt) })).startAt;
  // Due after four fifths of a day.
  assert.equal(begun('2026-01-01T05:00:05'), clock('2026-01-02T00:12:00'));
  assert.equal(begun('2026-01-01T01:00'), clock('2026-01-01T22:00'));
  const first = nightly({ newestTakenAt: null, protectedSince: clock('2026-01-01T12:00') });
  assert.equal(schedule(first).startAt, clock('2026-01-01T22:00'));
  const retried = { startedAt: clock('2026-01-02T05:50'), endedAt: clock('2026-01-02T05:59:58') };
  const failed = nightly({
    newestTakenAt: null,
    protectedSince: clock('2026-01-02T05:00'),
    runs: [{ ...retried, succeeded: false }],
  });
  assert.equal(schedule(failed).startAt, clock('2026-01-02T22:00'), 'not even for another attempt');
});

test('where waiting for the next window would break the RPO, the last run ends just before this one closes', () => {
  const runs = [run(0, 20 * 60_000)];
  const planned = schedule(
    nightly({ rpoSeconds: 18 * 3600, newestTakenAt: clock('2026-01-01T22:05'), runs }),
  );
  assert.equal(planned.startAt, clock('2026-01-02T05:39'));
  const again = schedule(
    nightly({ rpoSeconds: 18 * 3600, newestTakenAt: clock('2026-01-02T05:39:01'), runs }),
  );
  assert.equal(again.startAt, clock('2026-01-02T22:00'), 'and only once');
});

test('of several windows before a long closed time the last one is taken, however long a run takes', () => {
  const windows = ['01:00-02:00', '04:00-05:00'].map(parseWindow);
  const runs = [run(0, 3 * HOUR_MS)];
  const newestTakenAt = clock('2026-01-02T01:00');
  const planned = schedule(facts({ windows, rpoSeconds: 20 * 3600, newestTakenAt, runs }));
  assert.equal(planned.startAt, clock('2026-01-02T04:00'));
});

test('a start that was missed is made up for when a window is open, and not before', () => {
  const late = nightly({ rpoSeconds: 24 * 3600, newestTakenAt: clock('2026-01-01T05:00') });
  const planned = schedule(late);
  const begins = (now: string) => beginsAt(late, planned, clock(now));
  assert.equal(begins('2026-01-01T12:00'), planned.startAt);
  assert.equal(begins('2026-01-02T03:00'), planned.startAt, 'due now');
  assert.equal(begins('2026-01-02T06:00'), clock('2026-01-02T22:00'));
});

test('an RPO that the window cannot keep is at risk as soon as the last run before the closing is there', () => {
  const newestTakenAt = clock('2026-01-02T05:58:50');
  const kept = nightly({ rpoSeconds: 12 * 3600, newestTakenAt });
  const planned = schedule(kept);
  const now = clock('2026-01-02T05:59:10');
  assert.ok(isRpoAtRisk(kept, planned, now), 'eleven hours before the deadline');
  assert.equal(awaitedOpening(kept, planned, now), clock('2026-01-02T22:00'));
  assert.equal(awaitedOpening(kept, planned, clock('2026-01-02T21:00')), clock('2026-01-02T22:00'));
  assert.equal(awaitedOpening(kept, planned, clock('2026-01-02T22:00')), null, 'it is open');
  const running = { ...kept, runningSince: now };
  assert.equal(awaitedOpening(running, planned, now), null);
  const wide = { ...kept, rpoSeconds: 20 * 3600 };
  assert.equal(isRpoAtRisk(wide, schedule(wide), now), false);
});

/** Three weeks of runs by the clock, each as long as the others: how late each came, negative when in time. */
function lateness(given: ScheduleFacts, lengthMs: number): readonly number[] {
  const late: number[] = [];
  let known = given;
  for (let now = given.protectedSince; now < given.protectedSince + 21 * 24 * HOUR_MS; ) {
    const planned = schedule(known);
    const startAt = beginsAt(known, planned, now);
    assert.equal(
      nextOpening(given.windows, instant(Math.max(startAt, now))),
      Math.max(startAt, now),
    );
    const startedAt = instant(Math.max(startAt, now));
    now = instant(startedAt + lengthMs);
    if (known.newestTakenAt !== null) late.push(now - planned.deadline);
    const done = { startedAt, endedAt: now, succeeded: true };
    known = { ...known, newestTakenAt: startedAt, runs: [done, ...known.runs].slice(0, 10) };
  }
  return late;
}

test('whatever the windows, an RPO with some air over the longest closed time is always kept', () => {
  const window = fc
    .tuple(fc.subarray([...WEEKDAYS], { minLength: 1 }), fc.nat(23), fc.nat(23))
    .filter(([, from, to]) => from !== to)
    .map(([days, from, to]) => ({ days, fromMinute: from * 60, toMinute: to * 60 }));
  const windows = fc.array(window, { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(windows, fc.integer({ min: 1, max: 1200 }), (of, lengthSeconds) => {
      const lengthMs = lengthSeconds * 1000;
      const airMs = 2 * lengthMs + 2 * 60_000;
      const rpoSeconds = Math.ceil((longestClosedMs(of) + airMs) / 0.9 / 1000);
      const protectedSince = clock('2026-01-01T00:00');
      const runs = [{ startedAt: instant(0), endedAt: instant(lengthMs), succeeded: true }];
      const given = facts({ windows: of, newestTakenAt: null, protectedSince, rpoSeconds, runs });
      const late = lateness(given, lengthMs);
      assert.ok(late.length > 0 && Math.max(...late) <= 0, `${Math.max(...late)} ms late`);
    }),
  );
});
