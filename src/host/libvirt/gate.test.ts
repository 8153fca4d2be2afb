import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGatePerKey, type Gate } from './gate.ts';

const options = { signal: new AbortController().signal };

test('of one key one at a time, in order; another key does not wait', async () => {
  const gate = createGatePerKey<string>();
  const ran: string[] = [];
  const run = (name: string) => async () => void ran.push(name);
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const long = gate.enter('a', () => held.then(run('long')), options);
  const next = gate.enter('a', run('next'), options);
  await gate.enter('b', run('another key'), options);
  release();
  await Promise.all([long, next]);
  assert.deepEqual(ran, ['another key', 'long', 'next']);
});

test('nothing is kept of a key at which nobody is any more', async () => {
  const gates = new Map<string, Gate>();
  const gate = createGatePerKey(gates);
  const patience = new AbortController();
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const long = gate.enter('a', () => held, options);
  const impatient = gate.enter('a', async () => undefined, patience);
  const failing = gate.enter('a', () => Promise.reject(new Error('in vain')), options);
  patience.abort();
  await assert.rejects(impatient, { code: 'cancelled' });
  assert.equal(gates.size, 1);
  release();
  await long;
  await assert.rejects(failing, /in vain/);
  assert.deepEqual([...gates], []);
});

test('nobody slips by who comes while a key goes', async () => {
  // From every turn of the queue on in which it may be about to go.
  for (let first = 0; first < 10; first += 1) {
    const gate = createGatePerKey<string>();
    let inside = 0;
    const alone = async () => {
      inside += 1;
      assert.equal(inside, 1);
      for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
      inside -= 1;
    };
    const patience = new AbortController();
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const all = [gate.enter('a', () => held, options)];
    const impatient = assert.rejects(gate.enter('a', alone, patience), { code: 'cancelled' });
    const come = async () => {
      for (let turn = 0; turn < first; turn += 1) await Promise.resolve();
      for (let count = 0; count < 10; count += 1) {
        all.push(gate.enter('a', alone, options));
        await Promise.resolve();
      }
    };
    // In this order: each turn sees one go, then somebody come, then the other go.
    release();
    const came = come();
    patience.abort();
    await Promise.all([impatient, came]);
    await Promise.all(all);
  }
});
