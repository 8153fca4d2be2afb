import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { neighbourOf, parseGuestAddresses } from './test-addresses.ts';

test('reads IPv4 addresses and leaves out what nobody can reach', () => {
  const table = [
    ' lo         00:00:00:00:00:00    ipv4         127.0.0.1/8',
    ' eth0       52:54:00:aa:bb:cc    ipv4         10.77.187.204/16',
    ' eth0       52:54:00:aa:bb:cc    ipv6         fe80::1/64',
    ' x ipv4 1.2.3.4/99  aa           ipv4         999.1.1.1/8',
    ' eth1       52:54:00:aa:bb:cd    ipv4         169.254.3.4/16',
  ].join('\n');
  assert.deepEqual(parseGuestAddresses(table), [{ address: '10.77.187.204', prefix: 16 }]);
});

test('a neighbour is in the same network, is not the guest, and may be had', () => {
  const byte = fc.integer({ min: 1, max: 254 });
  const guests = fc.tuple(byte, byte, byte, byte, fc.integer({ min: 1, max: 30 }));
  fc.assert(
    fc.property(guests, ([a, b, c, d, prefix]) => {
      const own = neighbourOf({ address: `${a}.${b}.${c}.${d}`, prefix });
      assert.ok(own !== null);
      assert.notEqual(own, `${a}.${b}.${c}.${d}`);
      const number = (text: string) =>
        text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
      const size = 2 ** (32 - prefix);
      const network = (text: string) => Math.floor(number(text) / size);
      assert.equal(network(own), network(`${a}.${b}.${c}.${d}`));
      assert.ok(![0, size - 1].includes(number(own) % size));
    }),
  );
  assert.equal(neighbourOf({ address: '10.0.0.4', prefix: 31 }), '10.0.0.5');
  assert.equal(neighbourOf({ address: '10.0.0.5', prefix: 31 }), '10.0.0.4');
  assert.equal(neighbourOf({ address: '10.0.0.5', prefix: 32 }), null);
});
