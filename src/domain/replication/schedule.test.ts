import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { instant } from '../instant.ts';
import {
  isRpoAtRisk,
  predictRunMs,
  type ScheduleFacts,
  schedule,
  withoutFuture,
} from './schedule.ts';

const T0 = 1_700_000_000_000;
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
