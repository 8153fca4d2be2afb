/**
 * The command line within the test's own process. A test asks hundreds of times, and starting the program costs a third
 * of a second of computing each time. It is the same code on the same server; that the program as it is installed
 * says the same is shown by data-stage.e2e.ts, src/rig/server-process.e2e.ts and the demo.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { runCli } from '../../../src/cli/run-cli.ts';
import type { Output } from '../../../src/cli/world.ts';
import type { Client, CliOutcome } from '../../../src/rig/server-process.ts';

export const clientWithin: Client = async (args, env, { signal }): Promise<CliOutcome> => {
  signal?.throwIfAborted();
  const [stdout, stderr] = [collected(), collected()];
  const exitCode = await runCli({
    arguments: args,
    environment: env,
    stdout,
    stderr,
    version: '0.0.0',
    defaultDataFolder: '/nonexistent',
    readFile: (path) => readFile(path, 'utf8'),
    now: () => Date.now(),
    sleep: (ms, options) => sleep(ms, undefined, options),
    freshKey: () => randomUUID(),
    interrupt: signal ?? new AbortController().signal,
    serve: () => Promise.reject(new Error('A test starts its server as a process of its own')),
  });
  signal?.throwIfAborted();
  return { exitCode, stdout: stdout.text, stderr: stderr.text };
};

function collected(): Output & { readonly text: string } {
  const pieces: string[] = [];
  return {
    isTerminal: false,
    columns: 80,
    write: (piece) => {
      pieces.push(piece);
    },
    get text() {
      return pieces.join('');
    },
  };
}
