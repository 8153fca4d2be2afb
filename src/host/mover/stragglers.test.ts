import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../system/clock.ts';
import { Stragglers } from './stragglers.ts';

const NEVER = { signal: new AbortController().signal };
const ABORTED = { signal: AbortSignal.abort() };
const impatient = () => new Stragglers({ clock: systemClock(), patienceMs: 0 });
const leave = (stragglers: Stragglers, session: Promise<void>, ...paths: readonly string[]) =>
  assert.rejects(stragglers.orLeave(session, paths, ABORTED), { code: 'cancelled' });

test('who writes to the same file waits for all that still do, and nobody else', async () => {
  const stragglers = impatient();
  const first = Promise.withResolvers<void>();
  const second = Promise.withResolvers<void>();
  await leave(stragglers, first.promise, 'image', 'records');
  await leave(stragglers, second.promise, 'image');
  const seen: string[] = [];
  const image = stragglers.gone(['image'], NEVER).then(() => seen.push('image'));
  const records = stragglers.gone(['records'], NEVER).then(() => seen.push('records'));
  await stragglers.gone(['other'], NEVER);
  first.resolve();
  await records;
  second.reject(new Error('cancelled'));
  await image;
  assert.deepEqual(seen, ['records', 'image']);
  await stragglers.gone(['image', 'records'], NEVER);
});

test('waiting for one ends when it is aborted', async () => {
  const stragglers = impatient();
  await leave(stragglers, new Promise(() => {}), 'image');
  const aborting = new AbortController();
  const waiting = stragglers.gone(['image'], aborting);
  aborting.abort();
  await assert.rejects(waiting, { code: 'cancelled' });
  await assert.rejects(stragglers.gone(['image'], aborting), { code: 'cancelled' });
});

test('one that settles in time is none', async () => {
  const stragglers = new Stragglers({ clock: systemClock(), patienceMs: 60_000 });
  const session = Promise.withResolvers<number>();
  const result = stragglers.orLeave(session.promise, ['image'], ABORTED);
  session.resolve(1);
  assert.equal(await result, 1);
  await stragglers.gone(['image'], NEVER);
});
