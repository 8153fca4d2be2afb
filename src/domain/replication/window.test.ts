import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { UnderstudyError } from '../error.ts';
import {
  formatWindow,
  formatWindows,
  parseWindow,
  type ReplicationWindow,
  WEEKDAYS,
} from './window.ts';

const at = (hour: number, minute = 0) => hour * 60 + minute;

test('every written form is read', () => {
  const forms: readonly (readonly [string, ReplicationWindow])[] = [
    ['22:00-06:00', { days: WEEKDAYS, fromMinute: at(22), toMinute: at(6) }],
    ['00:00-24:00', { days: WEEKDAYS, fromMinute: 0, toMinute: at(24) }],
    ['22:30-00:00 UTC', { days: WEEKDAYS, fromMinute: at(22, 30), toMinute: 0 }],
    ['mon 01:00-02:00', { days: ['mon'], fromMinute: at(1), toMinute: at(2) }],
    ['Sat,Sun 00:00-24:00', { days: ['sat', 'sun'], fromMinute: 0, toMinute: at(24) }],
    ['sat-mon 12:00-13:00', { days: ['mon', 'sat', 'sun'], fromMinute: at(12), toMinute: at(13) }],
    [
      'wed,mon-tue,mon 12:00-13:00',
      { days: ['mon', 'tue', 'wed'], fromMinute: at(12), toMinute: at(13) },
    ],
  ];
  for (const [text, window] of forms) assert.deepEqual(parseWindow(text), window, text);
});

test('what is no window is refused with the forms there are', () => {
  const wrong = [
    '',
    '22:00',
    '22-06',
    '24:00-06:00',
    '22:60-06:00',
    '22:00-24:01',
    '25:00-06:00',
    '22:00-22:00',
    '22:00-06:00 CET',
    'mo 22:00-06:00',
    'mon- 22:00-06:00',
    'mon-tue-wed 22:00-06:00',
    ', 22:00-06:00',
    '-22:00-06:00',
  ];
  for (const text of wrong) {
    assert.throws(
      () => parseWindow(text),
      (error) =>
        error instanceof UnderstudyError &&
        error.code === 'invalid-request' &&
        error.message.includes('mon-fri 22:00-06:00') &&
        error.message.includes('UTC'),
      text,
    );
  }
});

test('days are written as ranges', () => {
  const written = (text: string) => formatWindow(parseWindow(text));
  assert.equal(written('mon-fri 22:00-06:00'), 'mon-fri 22:00-06:00 UTC');
  assert.equal(written('mon-sun 01:00-06:00'), '01:00-06:00 UTC');
  assert.equal(written('fri-mon,wed 22:05-24:00'), 'mon,wed,fri-sun 22:05-24:00 UTC');
  const two = ['22:00-06:00', 'sun 00:00-24:00'].map(parseWindow);
  assert.equal(formatWindows(two), '22:00-06:00 UTC, sun 00:00-24:00 UTC');
});

test('what is written is read back as it was', () => {
  const windows = fc
    .tuple(fc.subarray([...WEEKDAYS], { minLength: 1 }), fc.nat(at(24) - 1), fc.nat(at(24)))
    .map(([days, fromMinute, toMinute]) => ({ days, fromMinute, toMinute }))
    .filter(({ fromMinute, toMinute }) => fromMinute !== toMinute);
  fc.assert(
    fc.property(windows, (window) => {
      assert.deepEqual(parseWindow(formatWindow(window)), window);
    }),
  );
});
