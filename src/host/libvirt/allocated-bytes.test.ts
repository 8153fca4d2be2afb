import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chainBytes } from './allocated-bytes.ts';

test('all images of a chain count, and what qemu-img does not say counts as nothing', () => {
  const chain = [{ filename: 'top', 'actual-size': 4096 }, { 'actual-size': 65_536 }, {}, null];
  assert.equal(chainBytes(JSON.stringify(chain)), 69_632);
  assert.equal(chainBytes('{"actual-size": 1}'), 0);
});
