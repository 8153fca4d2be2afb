import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnderstudyError } from '../domain/error.ts';
import { storeError } from './errors.ts';

test('a folder that may not be written is told by its own name', () => {
  const denied = Object.assign(new Error('EACCES: permission denied'), {
    code: 'EACCES',
    path: '/srv/data/log.jsonl',
  });
  const error = storeError('/srv/data', denied);
  assert.ok(error instanceof UnderstudyError);
  assert.equal(error.code, 'access-denied');
  assert.match(
    error.message,
    /^\/srv\/data\/log\.jsonl cannot be used by the server: .*\(EACCES\)/,
  );
  const other = Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
  assert.equal(storeError('/srv/data', other), other);
});
