import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { operationId } from '../../domain/ids.ts';
import { type SlotUser, startable, waitsOf } from './slots.ts';

const LIMIT = 2;

function user(accepted: number, ...names: readonly string[]): SlotUser {
  const slots = names.map((name) => ({ name, limit: LIMIT }));
  return { id: operationId(`op-${accepted}`), accepted, slots };
}

const numbers = (ids: readonly string[]) => ids.map((id) => Number(id.slice('op-'.length)));

test('a queue at one host does not keep the others of a ring waiting', () => {
  const hosts = 10;
  const waiting = Array.from({ length: hosts * 5 }, (_, index) => {
    const host = Math.floor(index / 5);
    return user(index, `${host}`, `${(host + 1) % hosts}`);
  });
  // Two of each pair of hosts would be the best there is: ten at once.
  assert.ok(startable(waiting, [], 64).length >= hosts / 2);
});

test('of two that wait for a slot, the first gets it', () => {
  const running = [user(1, 'a'), user(2, 'a')];
  const waiting = [user(3, 'a'), user(4, 'a')];
  assert.deepEqual(numbers(startable(waiting, running, 64)), []);
  assert.deepEqual(numbers(startable(waiting, running.slice(1), 64)), [3]);
});

test('one that needs several slots keeps those that are free from all later ones', () => {
  const running = [user(1, 'a'), user(2, 'a'), user(3, 'b')];
  const waiting = [user(4, 'a', 'b'), user(5, 'b')];
  assert.deepEqual(numbers(startable(waiting, running, 64)), []);
});

test('who waits is told for what, and who has it or comes first', () => {
  const running = [user(1, 'a'), user(2, 'a'), user(3, 'b')];
  const waiting = [user(6, 'b'), user(4, 'a', 'b'), user(5, 'b', 'c'), user(7, 'c')];
  const waits = waitsOf(waiting, running, 64);
  const told = [4, 5, 6, 7].map((number) =>
    waits
      .get(operationId(`op-${number}`))
      ?.map(({ name, taken, heldBy }) => [name, taken, ...numbers(heldBy)]),
  );
  assert.deepEqual(told, [[['a', 2, 1, 2]], [['b', 2, 3, 4]], [['b', 2, 3, 4]], []]);
});

test('one that waits although every slot is free waits for the others to end', () => {
  const waits = waitsOf([user(3, 'b'), user(4, 'b')], [user(1, 'a'), user(2)], 3);
  assert.deepEqual(waits.get(operationId('op-3')), []);
  assert.deepEqual(waits.get(operationId('op-4')), [
    { name: null, limit: 3, taken: 3, heldBy: [] },
  ]);
});

test('no slot is given twice, and whoever was accepted first starts as soon as it fits', () => {
  const users = fc.array(fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1 }), {
    maxLength: 12,
  });
  fc.assert(
    fc.property(users, users, (queued, busy) => {
      const waiting = queued.map((names, index) => user(100 + index, ...names));
      const admitted = startable(
        busy.map((names, index) => user(index, ...names)),
        [],
        64,
      );
      const running = busy.flatMap((names, index) =>
        admitted.includes(operationId(`op-${index}`)) ? [user(index, ...names)] : [],
      );
      const chosen = startable(waiting, running, 64);
      const all = [...running, ...waiting.filter(({ id }) => chosen.includes(id))];
      for (const name of ['a', 'b', 'c', 'd']) {
        const taken = all.filter(({ slots }) => slots.some((slot) => slot.name === name));
        assert.ok(taken.length <= LIMIT);
      }
      const [first] = waiting;
      const isFree = first?.slots.every(
        ({ name }) =>
          running.filter(({ slots }) => slots.some((slot) => slot.name === name)).length < LIMIT,
      );
      if (first !== undefined) assert.equal(chosen.includes(first.id), isFree);
    }),
  );
});

test('a queue of any kind is worked off to its last operation', () => {
  const users = fc.array(fc.uniqueArray(fc.constantFrom('a', 'b', 'c'), { minLength: 1 }), {
    minLength: 1,
    maxLength: 10,
  });
  fc.assert(
    fc.property(users, (queued) => {
      let waiting = queued.map((names, index) => user(index, ...names));
      let running: SlotUser[] = [];
      for (let round = 0; waiting.length > 0; round += 1) {
        assert.ok(round <= 2 * queued.length);
        const chosen = startable(waiting, running, 64);
        running = [...running.slice(1), ...waiting.filter(({ id }) => chosen.includes(id))];
        waiting = waiting.filter(({ id }) => !chosen.includes(id));
      }
    }),
  );
});
