import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createVirtualClock } from './clock.ts';

const NEVER = { signal: new AbortController().signal };

test('sleepers wake in order of time, and of asking where times are equal', async () => {
  const clock = createVirtualClock({ mode: 'automatic' });
  const woken: string[] = [];
  const sleeper = async (name: string, ms: number) => {
    await clock.sleep(ms, NEVER);
    woken.push(`${name} at ${clock.monotonicMs()}`);
  };
  await Promise.all([sleeper('c', 30), sleeper('a', 10), sleeper('b', 10), sleeper('d', 30)]);
  assert.deepEqual(woken, ['a at 10', 'b at 10', 'c at 30', 'd at 30']);
});

test('time stands still while promises can run', async () => {
  const clock = createVirtualClock({ mode: 'automatic' });
  let isDone = false;
  const chain = async () => {
    for (let turn = 0; turn < 1000; turn += 1) await null;
    assert.equal(clock.monotonicMs(), 0);
    isDone = true;
  };
  await Promise.all([clock.sleep(1, NEVER), chain()]);
  assert.equal(isDone, true);
});

test('manual time moves only when told', async () => {
  const clock = createVirtualClock({ mode: 'manual' });
  let isAwake = false;
  const sleeping = clock.sleep(100, NEVER).then(() => {
    isAwake = true;
  });
  await clock.advance(99);
  assert.equal(isAwake, false);
  await clock.advance(1);
  assert.equal(isAwake, true);
  await sleeping;
});

test('what happens by itself happens as time passes, but does not make it pass', async () => {
  const clock = createVirtualClock({ mode: 'automatic' });
  let beats = 0;
  const heart = clock.every(10, () => {
    beats += 1;
  });
  await clock.settle();
  assert.equal(beats, 0);
  await clock.sleep(35, NEVER);
  assert.equal(beats, 3);
  heart[Symbol.dispose]();
  await clock.sleep(100, NEVER);
  assert.equal(beats, 3);
});

test('an aborted sleep rejects at once and leaves no timer', async () => {
  const clock = createVirtualClock({ mode: 'automatic' });
  const stop = new AbortController();
  const sleeping = clock.sleep(1_000_000, { signal: stop.signal });
  stop.abort();
  await assert.rejects(sleeping, { code: 'cancelled' });
  await clock.sleep(1, NEVER);
  assert.equal(clock.monotonicMs(), 1);
});

test('work that can never go on is told', async () => {
  const clock = createVirtualClock({ mode: 'automatic' });
  await assert.rejects(clock.run(new Promise(() => {})), /stalled/);
});

test('a hold keeps time from jumping', async () => {
  const clock = createVirtualClock({ mode: 'automatic' });
  const hold = clock.hold();
  let isAwake = false;
  const sleeping = clock.sleep(5, NEVER).then(() => {
    isAwake = true;
  });
  await clock.settle();
  await clock.settle();
  assert.equal(isAwake, false);
  hold[Symbol.dispose]();
  await sleeping;
});

test('the wall clock may jump, the monotonic one never', () => {
  const clock = createVirtualClock({ mode: 'manual' });
  const before = clock.now();
  clock.jumpWall(-5000);
  assert.equal(clock.now() - before, -5000);
  assert.equal(clock.monotonicMs(), 0);
});
