import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createKeyedMutex } from './mutex.ts';

const NEVER = new AbortController().signal;

test('whoever gives up waiting goes at once, and is never run; the order of the others stays', async () => {
  const mutex = createKeyedMutex();
  const ran: string[] = [];
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const run = (name: string) => async () => void ran.push(name);
  const long = mutex('a', NEVER, () => held.then(run('long')));
  const patience = new AbortController();
  const impatient = mutex('a', patience.signal, run('impatient'));
  const patient = mutex('a', NEVER, run('patient'));
  await mutex('b', NEVER, run('another key'));
  patience.abort();
  await assert.rejects(impatient, { code: 'cancelled' });
  const late = mutex('a', NEVER, run('late'));
  release();
  await Promise.all([long, patient, late]);
  assert.deepEqual(ran, ['another key', 'long', 'patient', 'late']);
});

test('what has begun is waited for, whoever gives up', async () => {
  const mutex = createKeyedMutex();
  const patience = new AbortController();
  const { promise: held, resolve: release } = Promise.withResolvers<string>();
  const begun = mutex('a', patience.signal, () => held);
  await Promise.resolve();
  patience.abort();
  release('done');
  assert.equal(await begun, 'done');
  await assert.rejects(
    mutex('a', patience.signal, () => held),
    { code: 'cancelled' },
  );
});
