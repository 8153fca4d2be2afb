import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addFence, addStopOf, connectsAtSwitchover, type Fencing, stillFenced } from './fencing.ts';

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

test('a failback that is given up leaves the source that it stopped to be started again, whatever cut it off before', () => {
  const stopped = { home: { kind: 'original' }, hasStoppedHome: true } as const;
  assert.deepEqual(addStopOf(stopped, none), off);
  assert.deepEqual(addStopOf(stopped, nics('a')), { fence: 'shutdown', fencedNics: ['a'] });
  const found = { ...stopped, hasStoppedHome: false };
  assert.deepEqual(addStopOf(found, nics('a')), nics('a'));
});

test('a restored copy that a failback stopped is not the source', () => {
  for (const kind of ['copy', 'new'] as const) {
    assert.deepEqual(addStopOf({ home: { kind }, hasStoppedHome: true }, none), none);
  }
});
