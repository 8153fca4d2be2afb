import assert from 'node:assert/strict';
import { test } from 'node:test';
import { summarise } from './point-test.ts';

const verdict = (probe: string, passed: boolean) => ({
  probe,
  passed,
  why: passed ? 'it answered' : 'nobody listens',
  durationMs: 1,
});

test('a test passes only when the VM started and every probe passed', () => {
  assert.deepEqual(summarise(null, [verdict('agent', true)]), {
    passed: false,
    summary: 'The VM did not start.',
  });
  assert.equal(summarise(5, []).passed, true);
  assert.equal(summarise(5, [verdict('agent', true)]).summary, 'The probe passed.');
  assert.equal(
    summarise(5, [verdict('agent', true), verdict('tcp:1', true)]).summary,
    'All 2 probes passed.',
  );
  assert.deepEqual(summarise(5, [verdict('agent', true), verdict('tcp:1', false)]), {
    passed: false,
    summary: 'Probe tcp:1 failed: nobody listens.',
  });
  const two = summarise(5, [verdict('agent', false), verdict('tcp:1', false)]);
  assert.match(two.summary, /and 1 more/);
});
