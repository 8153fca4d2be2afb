import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createProgressDisplay } from './progress-display.ts';

function plainDisplay() {
  const lines: string[] = [];
  let nowMs = 0;
  const output = { isTerminal: false, columns: 80, write: (text: string) => void lines.push(text) };
  const display = createProgressDisplay({ output, now: () => nowMs });
  return { lines, display, pass: (ms: number) => (nowMs += ms) };
}

test('in a log, rounds of one wait are told once a minute, and another step at once', () => {
  const { lines, display, pass } = plainDisplay();
  for (let round = 1; round <= 30; round += 1) {
    display.step('Test web', `probe-${round}`);
    pass(5000);
  }
  display.step('Test web', 'tear-down-tests');
  assert.deepEqual(lines, [
    'Test web: probe\n',
    'Test web: probe\n',
    'Test web: probe\n',
    'Test web: tear-down-tests\n',
  ]);
});
