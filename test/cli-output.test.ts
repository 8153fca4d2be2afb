/** The program as the system runs it, with an output that cannot be written to. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../src/main/cli.ts', import.meta.url));

test('an output that is lost on a full disk is no success', (t) => {
  const full = openSync('/dev/full', 'w');
  t.after(() => closeSync(full));
  const { status, stderr } = spawnSync(process.execPath, [PROGRAM, 'completion', 'bash'], {
    stdio: ['ignore', full, 'pipe'],
    encoding: 'utf8',
  });
  assert.equal(stderr, 'understudy: what there is to say cannot be written (ENOSPC)\n');
  assert.equal(status, 1);
});

test('the exit code tells also when nobody hears why', (t) => {
  const full = openSync('/dev/full', 'w');
  t.after(() => closeSync(full));
  const nowhere = join(import.meta.dirname, 'no-such-data-folder');
  const { status } = spawnSync(process.execPath, [PROGRAM, '--data', nowhere, 'status'], {
    stdio: ['ignore', 'ignore', full],
    env: { ...process.env, UNDERSTUDY_SERVER: '', UNDERSTUDY_TOKEN: '' },
  });
  assert.equal(status, 69);
});

test('a data folder is seen from where the program was started', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-output-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const server = spawn(process.execPath, [PROGRAM, 'serve', '--data', 'data'], {
    cwd: folder,
    env: { ...process.env, UNDERSTUDY_RUNTIME: join(folder, 'run'), UNDERSTUDY_SERVER: '' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(server, 'close');
  t.after(() => server.kill('SIGKILL'));
  server.stderr.setEncoding('utf8');
  const [said] = await once(server.stderr, 'data');
  assert.match(String(said), /listens on unix:\/.*\/data\/api\.sock/);
  server.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
});
