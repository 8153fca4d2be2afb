import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { statesDocument } from '../src/domain/replica/states-document.ts';

test('docs/states.md is what the transition table says (else: npm run states)', () => {
  const written = readFileSync(new URL('../docs/states.md', import.meta.url), 'utf8');
  assert.equal(written, statesDocument());
});
