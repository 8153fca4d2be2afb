import assert from 'node:assert/strict';
import { mkdtempDisposable, readFile, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { manualClock } from '../conformance/manual-clock.ts';
import { operationId } from '../domain/ids.ts';
import { systemClock } from './clock.ts';
import { systemIds } from './ids.ts';
import { jsonLogger, logFile } from './logger.ts';

test('ids are valid, distinct and sorted by age', () => {
  const ids = systemIds();
  const made = Array.from({ length: 5000 }, () => ids.fresh('op'));
  for (const id of made) assert.match(id, /^op-[0-9a-z]{12}$/);
  assert.equal(operationId(made[0] ?? ''), made[0]);
  assert.equal(new Set(made).size, made.length);
  assert.deepEqual([...made].sort(), made);
  assert.match(ids.uuid(), /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
});

test('sleep lasts at least as long as asked, and ends at once when aborted', async () => {
  const clock = systemClock();
  const from = clock.monotonicMs();
  await clock.sleep(5, { signal: new AbortController().signal });
  assert.ok(clock.monotonicMs() - from >= 5);
  const controller = new AbortController();
  const long = clock.sleep(2 ** 40, { signal: controller.signal });
  controller.abort();
  await assert.rejects(long, { code: 'cancelled' });
  await assert.rejects(clock.sleep(0, { signal: controller.signal }), { code: 'cancelled' });
});

test('the logger writes one line per event, and fields cannot forge it', () => {
  const stream = new PassThrough();
  const logger = jsonLogger({ stream, clock: manualClock(), levelMin: 'info' });
  logger.log('debug', 'not seen');
  logger.log('error', 'it broke', { host: 'a\nb', level: 'info' });
  const line = String(stream.read());
  assert.equal(line.split('\n').length, 2);
  assert.deepEqual(JSON.parse(line), {
    at: '2026-01-01T00:00:00.000Z',
    level: 'error',
    message: 'it broke',
    host: 'a\nb',
  });
});

test('a log that finds no room for a line goes on with the next', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'log-'));
  const path = join(folder.path, 'log.jsonl');
  const written = async (to: string, ...messages: readonly string[]) => {
    const stream = logFile(to);
    const logger = jsonLogger({ stream, clock: manualClock(), levelMin: 'info' });
    for (const message of messages) {
      logger.log('info', message);
      await new Promise<void>((done) => stream.write('', () => done()));
    }
    assert.ok(stream.writable);
    await new Promise<void>((done) => stream.end(done));
  };
  await written('/dev/full', 'lost', 'lost as well');
  await written(path, 'one', 'two');
  await written(path, 'three');
  const lines = (await readFile(path, 'utf8')).trim().split('\n');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).message),
    ['one', 'two', 'three'],
  );
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});
