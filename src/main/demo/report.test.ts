import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createReport, formatMebibytes } from './report.ts';

function record(isTerminal: boolean) {
  const written: string[] = [];
  const report = createReport({
    isTerminal,
    hasColours: false,
    columns: () => 40,
    write: (text) => written.push(text),
  });
  return { report, text: () => written.join('') };
}

test('elsewhere than on a terminal there are plain lines only', () => {
  const { report, text } = record(false);
  report.meanwhile('waiting');
  report.command(['failover', "it's", '--dry-run']);
  report.output('one\ntwo\n');
  report.output('\n');
  report.claim('it holds', true);
  const indent = ' '.repeat(9);
  const command = `${indent}$ understudy failover 'it'\\''s' --dry-run\n`;
  const output = `${indent}  one\n${indent}  two\n`;
  assert.equal(text(), `${command}${output}[ok]     it holds\n`);
});

test('a live line is as wide as the terminal at most, and the next line replaces it', () => {
  const { report, text } = record(true);
  report.meanwhile('x'.repeat(100));
  report.claim('done', true);
  const [live = '', rest = ''] = text().split('\r\u001b[2K').slice(1);
  assert.equal(live.length, 39);
  assert.equal(rest, '[ok]     done\n');
});

test('a claim that is not true is marked and remembered', () => {
  const { report, text } = record(false);
  report.claim('two and two is four', true);
  report.claim('two and two is five', false);
  assert.match(text(), /^\[FAILED\] two and two is five$/m);
  assert.deepEqual(report.failedClaims, ['two and two is five']);
  assert.equal(report.claimCount, 2);
});

test('sizes are rounded to what matters', () => {
  assert.equal(formatMebibytes(832 * 1024), '0.8 MiB');
  assert.equal(formatMebibytes(512 * 1024 ** 2), '512 MiB');
});
