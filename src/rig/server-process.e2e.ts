/** Proves the server as a process: it answers, is killed and comes back on the same data, and leaves nothing behind. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { isAlive } from './processes.ts';
import { type ServerProcess, startServerProcess } from './server-process.ts';

suite('server process', () => {
  let folder = '';
  let server: ServerProcess;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'server-'));
    server = await startServerProcess({ dataFolder: join(folder, 'data'), folder });
  });
  after(async () => {
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test('answers its command line', async () => {
    assert.deepEqual(await server.json(['host', 'list']), []);
    const { exitCode, stderr } = await server.cli(['job', 'show', 'no such job']);
    assert.equal(exitCode, 4);
    assert.match(stderr, /no such job/);
    await assert.rejects(server.json(['job', 'show', 'no such job']), /ended with 4/);
  });

  test('comes back after a kill on the same data', async () => {
    const killed = server.pid;
    await server.kill9();
    assert.ok(killed !== undefined && !isAlive(killed));
    assert.equal(server.pid, undefined);
    assert.equal((await server.cli(['host', 'list'])).exitCode, 69);
    await server.restart();
    assert.notEqual(server.pid, killed);
    assert.deepEqual(await server.json(['host', 'list']), []);
  });

  test('is restarted in order, and stopped', async () => {
    const first = server.pid;
    await server.restart();
    assert.ok(first !== undefined && !isAlive(first));
    const second = server.pid;
    await server.stop();
    await server.stop();
    assert.ok(second !== undefined && !isAlive(second));
    await server.restart();
    assert.deepEqual(await server.json(['host', 'list']), []);
  });

  test('tells why it cannot start', async () => {
    const dataFolder = server.dataFolder;
    const starting = startServerProcess({ dataFolder, folder: join(folder, 'second') });
    await assert.rejects(starting, /The server ended at once: .+/s);
  });
});
