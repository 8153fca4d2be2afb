import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SharedWork } from './shared-work.ts';

function workOf(byteCounts: readonly number[], longBytes: number): SharedWork {
  const batches = byteCounts.map((byteCount) => ({ runs: [], byteCount }));
  return new SharedWork({ nextBatch: async () => batches.shift() ?? null, longBytes });
}

test('work is long as soon as more was handed out', async () => {
  const work = workOf([5, 5, 1, 5], 10);
  for (let count = 0; count < 3; count += 1) await work.next();
  assert.equal(await work.isLong, true);
});

test('work is not long when it ends with no more', async () => {
  const work = workOf([5, 5], 10);
  assert.equal((await work.next())?.byteCount, 5);
  assert.equal((await work.next())?.byteCount, 5);
  assert.equal(await work.next(), null);
  assert.equal(await work.isLong, false);
  await work.exhausted;
});

test('work that is given up is not long', async () => {
  const work = workOf([5, 5, 5], 10);
  await work.next();
  work.end();
  assert.equal(await work.isLong, false);
  await work.exhausted;
});
