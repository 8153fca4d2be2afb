import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LedgerState } from '../../rig/ledger-client.ts';
import { watchLedger } from './ledger-watch.ts';

const silent: LedgerState = {
  seq: 0,
  sum: '',
  boot: 1,
  firstThisBoot: 0,
  verified: 0,
  errors: 0,
  now: 0,
  up: 0,
  interval: 20,
  verifying: false,
  paused: false,
  full: false,
  previousSum: '',
  previousAt: 0,
  capacity: 1000,
  fillBytes: 0,
};

/** Ten records more at each question. */
function growingLedger() {
  let seq = 0;
  return {
    ledger: async () => {
      seq += 10;
      return { ...silent, seq, sum: `sum of ${seq}` };
    },
  };
}

test('an instant lies between the last answer before and the first question after', async () => {
  const watch = await watchLedger(growingLedger(), new AbortController().signal);
  const before = await watch.next();
  const instant = before.answeredAt + 1;
  await watch.untilWritten(20);
  const after = await watch.next();
  await watch.stop();
  const bounds = watch.bounds(instant, instant);
  assert.ok(bounds.atLeast >= before.seq && bounds.atLeast < after.seq);
  assert.ok(bounds.atMost > bounds.atLeast && bounds.atMost <= after.seq + 1);
  assert.equal(bounds.before.sum, `sum of ${bounds.atLeast}`);
});

test('nothing is claimed of an instant that was not watched', async () => {
  const watch = await watchLedger(growingLedger(), new AbortController().signal);
  await watch.next();
  await watch.stop();
  assert.throws(() => watch.bounds(0, 0), /not heard/);
  assert.throws(() => watch.bounds(Date.now(), Date.now() + 1000), /not heard/);
});

test('a ledger that does not answer is no knowledge, and the watch goes on', async () => {
  const growing = growingLedger();
  let questions = 0;
  const ledger = async (): Promise<LedgerState> => {
    questions += 1;
    if (questions > 1 && questions < 4) throw new Error('no answer');
    return growing.ledger();
  };
  const watch = await watchLedger({ ledger }, new AbortController().signal);
  assert.equal((await watch.untilWritten(10)).seq, 20);
  await watch.stop();
  assert.equal(watch.last.seq, 20);
});
