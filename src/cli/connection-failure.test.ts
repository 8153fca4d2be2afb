import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectionFailure } from './connection-failure.ts';

test('a socket that is closed to others is not taken for a server that is not there', () => {
  const location = {
    address: 'unix:/srv/api.sock',
    socket: { socketPath: '/srv/api.sock' },
    token: 'key',
  };
  const asked = { location, signal: new AbortController().signal, mayBeTaken: false };
  const said = (code: string) => connectionFailure(asked, Object.assign(new Error(), { code }));
  assert.match(said('EACCES').message, /by its owner alone \(EACCES\)\. Run as the user who runs/);
  assert.match(said('ECONNREFUSED').message, /Start one with `understudy serve`/);
  assert.equal(said('EACCES').exitCode, 69);
});
