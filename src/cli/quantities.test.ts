import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAge, formatBytes, formatMs, formatSeconds, formatTime } from './format.ts';
import { parseBytes, parseMoment, parseNetworks, parseSeconds, parseTier } from './quantities.ts';

test('durations and sizes are read as people write them', () => {
  assert.equal(parseSeconds('90s', '--rpo'), 90);
  assert.equal(parseSeconds('1h30m', '--rpo'), 5400);
  assert.equal(parseSeconds('2w', '--rpo'), 1_209_600);
  assert.equal(parseBytes('4096', '--limit'), 4096);
  assert.equal(parseBytes('50MiB', '--limit'), 50 * 2 ** 20);
  assert.equal(parseBytes('1.5g', '--limit'), 1.5 * 2 ** 30);
  assert.equal(parseBytes('10 kb', '--limit'), 10_240);
  assert.deepEqual(parseTier('1h:1d'), { everySeconds: 3600, forSeconds: 86_400 });
  assert.deepEqual(parseNetworks(['bridge:a=b=c', 'lan=']), { 'bridge:a': 'b=c', lan: null });
});

test('anything else is a usage failure that names the option', () => {
  for (const text of ['', '5', 'm', '-5m', '5 m', '1.5h', '5minutes', '99999999999m']) {
    assert.throws(() => parseSeconds(text, '--rpo'), { exitCode: 2, message: /--rpo/ }, text);
  }
  for (const text of ['', '-1', 'MiB', '1e9', '5XB', '9999999999TiB']) {
    assert.throws(() => parseBytes(text, '--limit'), { exitCode: 2, message: /--limit/ }, text);
  }
  for (const text of ['', '1h', '1h:', '1h:1d:1w']) {
    assert.throws(() => parseTier(text), { exitCode: 2 }, text);
  }
  for (const text of ['', 'lan', '=lan']) {
    assert.throws(() => parseNetworks([text]), { exitCode: 2 });
  }
  const twice = ['lan=a', 'wan=', 'lan=b'];
  assert.throws(() => parseNetworks(twice), { exitCode: 2, message: /lan .*twice/ });
});

test('whole seconds survive being written and read', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 59 }), fc.integer({ min: 0, max: 59 }), (m, s) => {
      const written = formatSeconds(m * 60 + s).replaceAll(' ', '');
      assert.equal(parseSeconds(written, '--x'), m * 60 + s);
    }),
  );
});

test('times carry their zone, with a blank or a T', () => {
  assert.equal(parseMoment('2026-03-01'), '2026-03-01T00:00:00.000Z');
  assert.equal(parseMoment('2026-03-01 12:00:05Z'), '2026-03-01T12:00:05.000Z');
  assert.equal(parseMoment('2026-03-01T12:00+01:00'), '2026-03-01T11:00:00.000Z');
  assert.equal(parseMoment('2028-02-29'), '2028-02-29T00:00:00.000Z');
  for (const text of ['', 'soon', '12:00', '2026-03-01T12:00:00', '2026-13-01', '2026-03-01Z']) {
    assert.equal(parseMoment(text), null, text);
  }
  // Not the third of March: whoever mistypes a day must not get another one.
  for (const text of ['2026-02-31', '2026-02-29T03:00:00Z', '2026-04-31 03:00+02:00']) {
    assert.equal(parseMoment(text), null, text);
  }
});

test('figures for people', () => {
  assert.equal(formatBytes(0), '0 B');
  assert.equal(formatBytes(1023), '1023 B');
  assert.equal(formatBytes(1.5 * 2 ** 30), '1.50 GiB');
  assert.equal(formatBytes(1023 * 2 ** 20), '1023 MiB');
  assert.equal(formatSeconds(0), '0s');
  assert.equal(formatSeconds(90_061), '1d 1h');
  assert.equal(formatSeconds(3601), '1h');
  assert.equal(formatMs(null), '–');
  assert.equal(formatMs(812), '0.8 s');
  assert.equal(formatMs(65_000), '1m 5s');
  assert.equal(formatTime('2026-03-01T12:00:05.123Z'), '2026-03-01 12:00:05Z');
  const noon = Date.parse('2026-03-01T12:00:00Z');
  assert.equal(formatAge('2026-03-01T11:59:00.000Z', noon), '1m ago');
  assert.equal(formatAge('2026-03-01T12:05:00.000Z', noon), '2026-03-01 12:05:00Z');
});
