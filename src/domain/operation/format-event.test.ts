import assert from 'node:assert/strict';
import { test } from 'node:test';
import { operationId } from '../ids.ts';
import { instant } from '../instant.ts';
import { formatEvent } from './format-event.ts';
import type { OperationEvent } from './operation.ts';

const operation = { id: operationId('op-1'), kind: 'replicate', subject: 'rp-1' } as const;
const event: OperationEvent = {
  operationId: operation.id,
  sequence: 1,
  at: instant(Date.UTC(2026, 0, 1)),
  type: 'step-succeeded',
  step: 'freeze',
  message: '',
  durationMs: 1234,
};
const head = '2026-01-01T00:00:00.000Z op-1 replicate rp-1 ';

test('an event is one line that says what, where and how long', () => {
  assert.equal(formatEvent(event, operation), `${head} step-succeeded freeze (1.2 s)`);
  const note = { ...event, type: 'note', step: null, durationMs: null } as const;
  const message = 'first\n  second';
  assert.equal(formatEvent({ ...note, message }, operation), `${head} note: first second`);
});

test('durations read like people say them', () => {
  const lengths = [
    [0.4, '0 ms'],
    [999, '999 ms'],
    [59_949, '59.9 s'],
    [61_000, '1 min 1 s'],
    [3_720_000, '1 h 2 min'],
  ] as const;
  for (const [durationMs, text] of lengths) {
    const line = formatEvent({ ...event, durationMs }, operation);
    assert.equal(line, `${head} step-succeeded freeze (${text})`);
  }
});
