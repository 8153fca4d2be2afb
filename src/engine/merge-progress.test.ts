import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OperationContext } from '../ports/durable.ts';
import { mergeProgress } from './merge-progress.ts';

test('a rate and a time left, once there are two looks; a merge that stands still has neither', () => {
  const told: unknown[] = [];
  let nowMs = 5000;
  const context = {
    progress: ({ bytesPerSecond, remainingMs }) => told.push([bytesPerSecond, remainingMs]),
  } as Partial<OperationContext> as OperationContext;
  const tell = mergeProgress(context, { monotonicMs: () => nowMs }, 'flatten');
  // Resumed by another life of the server: what was merged before is no rate of this one.
  tell(4_000_000, 10_000_000);
  nowMs += 2000;
  tell(4_000_000, 10_000_000);
  nowMs += 2000;
  tell(6_000_000, 10_000_000);
  assert.deepEqual(told, [
    [0, null],
    [0, null],
    [500_000, 8000],
  ]);
});
