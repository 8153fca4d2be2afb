import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createTimerQueue, type Timer } from './timer-queue.ts';

function timer(dueMs: number, sequence: number): Timer {
  const fire = () => undefined;
  return { dueMs, sequence, isBackground: false, fire, isCancelled: false, isTaken: false };
}

/** Due in an order that is not theirs. */
function many(count: number): Timer[] {
  return Array.from({ length: count }, (_, index) => timer((index * 7919) % 1000, index));
}

test('what is left after many were cancelled comes in its order', () => {
  const queue = createTimerQueue();
  const timers = many(1000);
  for (const one of timers) queue.add(one);
  for (const one of timers) if (one.sequence % 10 !== 3) queue.cancel(one);
  const taken: Timer[] = [];
  for (let next = queue.take(); next !== null; next = queue.take()) taken.push(next);
  const left = timers.filter(({ sequence }) => sequence % 10 === 3);
  const ordered = left.toSorted((a, b) => a.dueMs - b.dueMs || a.sequence - b.sequence);
  assert.deepEqual(taken, ordered);
});

test('deadlines that are cancelled long before they are due are not kept until then', async () => {
  const queue = createTimerQueue();
  const deadlines = Array.from({ length: 1000 }, (_, index) => {
    const far = timer(1_000_000 + index, index);
    queue.add(far);
    queue.cancel(far);
    return new WeakRef(far);
  });
  await new Promise((resolve) => setImmediate(resolve)); // weak references hold until the end of their turn
  collectGarbage();
  const kept = deadlines.filter((deadline) => deadline.deref() !== undefined);
  assert.ok(kept.length < 100, `${kept.length} of 1000 are still there`);
});

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}
