import assert from 'node:assert/strict';
import { mkdtemp, mkdtempDisposable, readFile, rm } from 'node:fs/promises';
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

/** Temporary files are made in the folder meanwhile. */
async function inTemporaryFolder<Result>(path: string, use: () => Promise<Result>) {
  const before = process.env.TMPDIR;
  process.env.TMPDIR = path;
  try {
    return await use();
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
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

test('a command opens its files by their paths, and no folder holds them', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'processes-'));
  const code = `const { readFileSync, readdirSync, statSync } = require('fs');
    const [folder, ...paths] = process.argv.slice(1);
    const texts = paths.map((path) => readFileSync(path, 'utf8'));
    const modes = paths.map((path) => statSync(path).mode & 0o777);
    console.log(JSON.stringify({ texts, modes, left: readdirSync(folder) }));`;
  const files = ['secret', 'ein Paßwort'];
  const result = await inTemporaryFolder(folder.path, () =>
    processes.run(
      { ...script(code, folder.path, commandFile(0), commandFile(1)), files },
      { signal },
    ),
  );
  const seen = { texts: files, modes: [0o600, 0o600], left: [] };
  assert.deepEqual(JSON.parse(result.stdout), seen);
  await rm(folder.path, { recursive: true });
  const run = inTemporaryFolder(folder.path, () =>
    processes.run({ ...script('0'), files }, { signal }),
  );
  await assert.rejects(run, { code: 'access-denied' });
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
