import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatBytes, GIB, isByteCount, KIB } from './bytes.ts';
import { diskKey, hostId, markName, vmId } from './ids.ts';
import { formatInstant, instant, parseInstant } from './instant.ts';

test('ids are safe in paths, URLs and option lists, or refused', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const parse of [hostId, markName, diskKey, vmId]) {
        try {
          assert.match(parse(text), /^[A-Za-z0-9][A-Za-z0-9_-]*$/);
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'invalid-id');
        }
      }
    }),
  );
  for (const bad of ['', '-a', 'a/b', '../x', 'a b', 'a\n', 'é', '--help']) {
    assert.throws(() => hostId(bad));
  }
});

test('instants survive being written and read; other text is null, never a wrong date', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4_000_000_000_000 }), (ms) => {
      assert.equal(parseInstant(formatInstant(instant(ms))), ms);
    }),
  );
  for (const bad of [
    '',
    'latest',
    '5',
    '2024-13-01',
    '10:30',
    '2024-01-01T10:00',
    'pt-2024',
    '2026-02-31',
    '2026-02-29T12:00:00Z',
  ]) {
    assert.equal(parseInstant(bad), null, bad);
  }
  assert.equal(parseInstant('2024-01-01T10:00Z'), Date.UTC(2024, 0, 1, 10));
  assert.equal(parseInstant('2024-01-01T10:00+02:00'), Date.UTC(2024, 0, 1, 8));
});

test('bytes are shown with three figures', () => {
  assert.deepEqual([0, 1023, KIB, 1.5 * GIB, 1000 * KIB, 5000 * GIB].map(formatBytes), [
    '0 B',
    '1023 B',
    '1.00 KiB',
    '1.50 GiB',
    '1000 KiB',
    '4.88 TiB',
  ]);
  assert.ok(!isByteCount(-1) && !isByteCount(1.5) && !isByteCount('1') && isByteCount(0));
});
