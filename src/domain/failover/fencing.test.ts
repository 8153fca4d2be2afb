import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addFence, connectsAtSwitchover, type Fencing, stillFenced } from './fencing.ts';

const nics = (...fencedNics: string[]): Fencing => ({ fence: 'nics', fencedNics });
const off: Fencing = { fence: 'shutdown', fencedNics: [] };
const none: Fencing = { fence: 'none', fencedNics: [] };

test('what an earlier fence disconnected is still connected again when a later one is lifted', () => {
  assert.deepEqual(addFence(nics('a'), off), { fence: 'shutdown', fencedNics: ['a'] });
  assert.deepEqual(addFence(nics('a'), nics('b', 'a')), nics('a', 'b'));
  assert.deepEqual(addFence(none, nics('a')), nics('a'));
});

test('a fence that found nothing to do changes nothing', () => {
  for (const before of [none, off, nics('a'), { fence: 'nics', fencedNics: null } as const]) {
    assert.deepEqual(addFence(before, none), before);
  }
});

test('all NICs, as older versions remembered them, include every one', () => {
  const all: Fencing = { fence: 'nics', fencedNics: null };
  assert.deepEqual(addFence(all, nics('a')), all);
  assert.deepEqual(addFence(nics('a'), all), all);
  assert.deepEqual(addFence(all, off), { fence: 'shutdown', fencedNics: null });
});

test('what was left disconnected stays remembered until it is seen connected', () => {
  assert.deepEqual(stillFenced(['a', 'b'], ['b', 'c']), ['a']);
  assert.deepEqual(stillFenced(['a'], null), ['a']);
  assert.equal(stillFenced(null, ['a']), null);
});

test('a switchover says which NICs it connects, where a fence had disconnected any', () => {
  assert.equal(connectsAtSwitchover(off), null);
  assert.match(connectsAtSwitchover(nics('a', 'b')) ?? '', /^its NICs a, b are connected then/);
  assert.match(connectsAtSwitchover({ fencedNics: null }) ?? '', /^all its NICs are connected/);
});
