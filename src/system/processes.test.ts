import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { commandFile } from '../ports/processes.ts';
import { systemProcesses } from './processes.ts';

const processes = systemProcesses();
const signal = new AbortController().signal;
const node = process.execPath;

function script(code: string, ...more: string[]) {
  return { command: node, arguments: ['-e', code, '--', ...more] };
}

async function contentIs(path: string, content: string): Promise<void> {
  while ((await readFile(path, 'utf8').catch(() => '')) !== content) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('a command answers its exit code, output and input', async () => {
  const code = `process.stdin.on('data', (d) => process.stdout.write(d)).on('end', () => {
    process.stderr.write(process.env.LC_ALL + process.env.OWN); process.exitCode = 3; });`;
  const result = await processes.run(
    { ...script(code), input: 'héllo\n', env: { OWN: '!' } },
    { signal },
  );
  assert.deepEqual(result, { exitCode: 3, signal: null, stdout: 'héllo\n', stderr: 'C!' });
});

test('arguments reach the command untouched, whatever they hold', async () => {
  const hostile = ['--x', "a'b", 'a"b', '$(id)', 'a\nb', '', 'x:y', '*'];
  const result = await processes.run(
    script('console.log(JSON.stringify(process.argv.slice(1)))', ...hostile),
    { signal },
  );
  assert.deepEqual(JSON.parse(result.stdout), hostile);
});

test('a command opens its files by their paths, and they have no names', async () => {
  const code = `const { readFileSync, readlinkSync, statSync } = require('fs');
    const seen = process.argv.slice(1).map((path) => [readFileSync(path, 'utf8'), statSync(path), readlinkSync(path)]);
    console.log(JSON.stringify(seen.map(([text, { mode, nlink }, link]) => [text, mode & 0o777, nlink, link])));`;
  const files = ['secret', 'ein Paßwort'];
  const command = script(code, commandFile(0), commandFile(1));
  const { stdout } = await processes.run({ ...command, files }, { signal });
  for (const [index, [text, mode, links, name]] of JSON.parse(stdout).entries()) {
    assert.deepEqual([text, mode, links], [files[index], 0o600, 0]);
    assert.match(name, /^\/dev\/shm\/.* \(deleted\)$/);
  }
});

test('a program that is not there has a name of its own', async () => {
  const run = processes.run({ command: 'no-such-program-here', arguments: [] }, { signal });
  await assert.rejects(run, { code: 'command-missing' });
});

test('too much output ends the command', async () => {
  const endless = script(`setInterval(() => process.stdout.write('x'.repeat(65536)), 1)`);
  const run = processes.run({ ...endless, stdoutBytesMax: 100_000 }, { signal });
  await assert.rejects(run, { code: 'command-output-too-large' });
});

test('the time limit ends the command', async () => {
  const run = processes.run(
    { ...script('setInterval(() => {}, 1000)'), timeoutMs: 100 },
    { signal },
  );
  await assert.rejects(run, { code: 'timed-out' });
});

test('an abort ends the command, and waits until it is gone', async () => {
  const controller = new AbortController();
  const folder = await mkdtemp(join(tmpdir(), 'processes-'));
  const mark = join(folder, 'mark');
  const code = `process.on('SIGTERM', () => { require('fs').writeFileSync(process.argv[1], 'ended'); process.exit(); });
    require('fs').writeFileSync(process.argv[1], 'ready'); setInterval(() => {}, 1000);`;
  try {
    const run = processes.run(script(code, mark), { signal: controller.signal });
    await contentIs(mark, 'ready');
    controller.abort();
    await assert.rejects(run, { code: 'cancelled' });
    assert.equal(await readFile(mark, 'utf8'), 'ended');
  } finally {
    await rm(folder, { recursive: true });
  }
  await assert.rejects(processes.run(script('0'), { signal: AbortSignal.abort() }), {
    code: 'cancelled',
  });
});

test('a daemon goes on, is known by pid and start time, and is ended', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'daemon-'));
  const logPath = join(folder, 'log');
  try {
    const code = `process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000);`;
    const identity = await processes.startDaemon({ ...script(code), logPath });
    assert.equal(await processes.isAlive(identity), true);
    assert.equal(await processes.isAlive({ ...identity, startTime: 'another' }), false);
    await processes.end({ ...identity, startTime: 'another' }, 0, { signal });
    assert.equal(await processes.isAlive(identity), true, 'another identity ends nothing');
    await contentIs(logPath, 'up\n');
    await processes.end(identity, 50, { signal });
    assert.equal(await processes.isAlive(identity), false);
    await processes.end(identity, 50, { signal });
    await assert.rejects(
      processes.startDaemon({ command: 'no-such-program-here', arguments: [], logPath }),
      { code: 'command-missing' },
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});
