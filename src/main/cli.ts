/** The program `understudy`: hands the world to the command line, and runs the server for `serve`. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { WriteStream } from 'node:tty';
import { EXIT, exitCodeOf } from '../cli/exit-codes.ts';
import { Failure } from '../cli/failure.ts';
import { runCli } from '../cli/run-cli.ts';
import { terminalColumns } from '../cli/table.ts';
import type { CliWorld, Output, ServeOptions } from '../cli/world.ts';
import { UnderstudyError } from '../domain/error.ts';

const interrupt = new AbortController();
process.on('SIGINT', () => interrupt.abort());
process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => {
  // A reader that went away, as in `understudy … | head`, is no error of ours.
  if (code === 'EPIPE') process.exit(EXIT.ok);
  process.stderr.write(`understudy: what there is to say cannot be written (${code})\n`);
  process.exit(EXIT.failed);
});
// What is said beside the answer is lost then; what was asked for is done all the same, and the exit code tells.
process.stderr.on('error', () => undefined);

const version: string = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
).version;

const world: CliWorld = {
  arguments: process.argv.slice(2),
  environment: process.env,
  stdout: output(process.stdout),
  stderr: output(process.stderr),
  version,
  defaultDataFolder: defaultDataFolder(),
  readFile: (path) => readFile(path, 'utf8'),
  now: () => Date.now(),
  sleep: (ms, { signal }) => pause(ms, undefined, { signal }),
  freshKey: () => randomUUID(),
  interrupt: interrupt.signal,
  serve,
};

process.exitCode = await runCli(world);

function output(stream: WriteStream): Output {
  return {
    isTerminal: stream.isTTY === true,
    columns: terminalColumns(stream.columns),
    write: (text) => {
      stream.write(text);
    },
  };
}

function defaultDataFolder(): string {
  if (process.getuid?.() === 0) return '/var/lib/understudy';
  const base = process.env.XDG_DATA_HOME ?? join(homedir(), '.local', 'share');
  return join(base, 'understudy');
}

/** Loaded only here, so that every other command starts without the server's modules. */
async function serve({ dataFolder: named, listen }: ServeOptions): Promise<number> {
  const { startServer } = await import('./server.ts');
  const dataFolder = resolve(named);
  const end = Promise.withResolvers<number>();
  interrupt.signal.addEventListener('abort', () => end.resolve(0));
  process.once('SIGTERM', () => end.resolve(0));
  const server = await startServer({
    dataFolder,
    listen: listen ?? `unix:${join(dataFolder, 'api.sock')}`,
    runtimeFolder: runtimeFolder(),
    version,
    onFault: (error) => {
      process.stderr.write(`understudy ends: its journal cannot be written (${String(error)})\n`);
      end.resolve(EXIT.bug);
    },
  }).catch(refuseToServe);
  process.stderr.write(`understudy ${version} listens on ${server.address}\n`);
  const exitCode = await end.promise;
  await server.close();
  return exitCode;
}

/** What the server says of itself is for people, as what it says to clients is. */
function refuseToServe(error: unknown): never {
  if (!(error instanceof UnderstudyError)) throw error;
  throw new Failure(error.message, exitCodeOf(error.kind), { cause: error });
}

/** `UNDERSTUDY_RUNTIME` is for several servers on one machine, as in tests and the demo. */
function runtimeFolder(): string {
  const named = process.env.UNDERSTUDY_RUNTIME;
  if (named !== undefined && named !== '') return resolve(named);
  if (process.getuid?.() === 0) return '/run/understudy';
  return join(process.env.XDG_RUNTIME_DIR ?? tmpdir(), `understudy-${process.getuid?.() ?? 0}`);
}
