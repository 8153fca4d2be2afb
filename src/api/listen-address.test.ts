import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatServerAddress, parseListenAddress } from './listen-address.ts';

test('loopback addresses and sockets are accepted and written back', () => {
  const cases: [string, string][] = [
    ['127.0.0.1:7070', 'http://127.0.0.1:7070'],
    ['localhost:0', 'http://127.0.0.1:0'],
    ['[::1]:65535', 'http://[::1]:65535'],
    ['unix:/run/u.sock', 'unix:/run/u.sock'],
  ];
  for (const [text, written] of cases) {
    assert.equal(formatServerAddress(parseListenAddress(text)), written);
  }
});

test('everything else is refused', () => {
  const wrong = [
    '',
    '7070',
    '0.0.0.0:7070',
    '192.168.1.1:80',
    '127.0.0.1:65536',
    '127.0.0.1:-1',
    'unix:relative',
    'unix:',
    `unix:/${'x'.repeat(107)}`,
    'unix:/a\0b',
  ];
  for (const text of wrong) {
    assert.throws(() => parseListenAddress(text), { code: 'invalid-request' }, text);
  }
});
