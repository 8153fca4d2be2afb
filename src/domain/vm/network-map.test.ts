import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unusedNetworkFindings } from './network-map.ts';

test('a network that no NIC is plugged into is told, with those that are there', () => {
  const networks = ['network:lan', 'bridge:br0', 'user', 'network:lan'];
  const map = { lan: 'isolated', 'bridge:br0': null, user: null };
  assert.deepEqual(unusedNetworkFindings(map, networks), []);
  const [finding, ...others] = unusedNetworkFindings({ lna: 'isolated', ...map }, networks);
  assert.deepEqual(others, []);
  assert.equal(finding?.severity, 'warns');
  assert.equal(finding?.element, 'network lna');
  assert.match(finding?.message ?? '', /NICs: bridge:br0, network:lan, user\.$/);
});

test('a name is not taken for a type, nor a type for a name', () => {
  assert.equal(
    unusedNetworkFindings({ network: null, 'bridge:lan': null }, ['network:lan']).length,
    2,
  );
  assert.match(unusedNetworkFindings({ lan: null }, [])[0]?.message ?? '', /NICs: none\.$/);
});
