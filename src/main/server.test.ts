import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { UnderstudyError } from '../domain/error.ts';
import { startServer } from './server.ts';

test('a data folder that is none is no bug of ours: what is wrong and what to do is said', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-server-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'file');
  await writeFile(file, '');
  for (const dataFolder of [file, join(file, 'below')]) {
    const starting = startServer({
      dataFolder,
      listen: '127.0.0.1:0',
      runtimeFolder: join(folder, 'run'),
      version: '1.2.3',
      onFault: () => undefined,
    });
    await assert.rejects(starting, ({ code, message }: UnderstudyError) => {
      assert.equal(code, 'access-denied');
      assert.match(message, /cannot be used by the server: .*no folder .*--data/s);
      return true;
    });
  }
});
