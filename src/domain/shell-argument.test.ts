import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shellArgument } from './shell-argument.ts';

test('what a shell would take for something else is quoted', () => {
  assert.equal(shellArgument('/srv/vm-1.qcow2'), '/srv/vm-1.qcow2');
  assert.equal(shellArgument('a?b=c'), "'a?b=c'");
  assert.equal(shellArgument(''), "''");
  assert.equal(shellArgument("Anna's VM"), "'Anna'\\''s VM'");
});
