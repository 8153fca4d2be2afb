/**
 * An Understudy server as a process of its own, and the command line as its client: what an operator has. It can be
 * killed at any instant and started again on the same data, which is what tests of durability do.
 *
 *   <folder>/api.sock     the API; the path is short, whatever the data folder's is
 *   <folder>/sockets/     of the storage daemons (UNDERSTUDY_RUNTIME), instead of /run/understudy
 *   <folder>/server.log   standard output and error of every life of the server
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endProcessesOf } from './leftovers.ts';
import { killIfAlive } from './processes.ts';

export interface CliOutcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  /** Ends the client, not what it asked for. */
  readonly signal?: AbortSignal | undefined;
}

/** Runs the command line with these arguments, and nothing else in its environment but what says where the server is. */
export type Client = (
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  options: CliOptions,
) => Promise<CliOutcome>;

export interface ServerProcess extends AsyncDisposable {
  readonly dataFolder: string;
  readonly logPath: string;
  /** Environment with which `understudy` finds this server. */
  readonly env: Readonly<Record<string, string>>;
  /** Undefined while it does not run. */
  readonly pid: number | undefined;
  /** Runs `understudy` with these arguments. An exit code other than 0 is an outcome, not an error. */
  cli(args: readonly string[], options?: CliOptions): Promise<CliOutcome>;
  /** As `cli` with `-o json`; parses the answer. @throws Error with the message of the client when it fails. */
  json(args: readonly string[], options?: CliOptions): Promise<unknown>;
  /** SIGKILL to the server alone; its storage daemons run on. Idempotent. */
  kill9(): Promise<void>;
  /** Starts it again on the same data, after ending it in order if it runs. Returns when it answers. */
  restart(): Promise<void>;
  /** Ends it in order, then what it left running. Data and log stay. Idempotent. */
  stop(): Promise<void>;
}

export interface ServerProcessOptions {
  readonly dataFolder: string;
  /** Short, and the server's alone: the path of a socket has at most 107 bytes. */
  readonly folder: string;
  /** Default: the program as it is installed, a process for each command. */
  readonly client?: Client;
  /** Gives up waiting for the server to answer. */
  readonly signal?: AbortSignal | undefined;
}

/** The program as it is installed; this file runs on the Node that it needs. */
const understudyProgram = join(import.meta.dirname, '..', '..', 'bin', 'understudy.js');

const readinessDeadlineMs = 60_000;
const endDeadlineMs = 30_000;

/** @throws Error with the end of the log when the server does not answer; nothing is left running then. */
export async function startServerProcess(options: ServerProcessOptions): Promise<ServerProcess> {
  const server = serverProcess(options);
  try {
    await server.restart();
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}

function serverProcess({
  dataFolder,
  folder,
  client = runProgram,
  signal,
}: ServerProcessOptions): ServerProcess {
  const socketFolder = join(folder, 'sockets');
  const logPath = join(folder, 'server.log');
  const listen = `unix:${join(folder, 'api.sock')}`;
  const env = { UNDERSTUDY_DATA: dataFolder };
  let child: ChildProcess | undefined;

  const end = async (first: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    const ending = child;
    child = undefined;
    if (ending !== undefined) await endChild(ending, first);
  };
  const cli: ServerProcess['cli'] = (args, options = {}) => client(args, env, options);
  const stop = async (): Promise<void> => {
    await end('SIGTERM');
    await endProcessesOf(socketFolder);
  };
  return {
    dataFolder,
    logPath,
    env,
    get pid() {
      return child === undefined || hasEnded(child) ? undefined : child.pid;
    },
    cli,
    async json(args, options) {
      const { exitCode, stdout, stderr } = await cli([...args, '-o', 'json'], options);
      if (exitCode === 0) return JSON.parse(stdout);
      throw new Error(`understudy ${args.join(' ')} ended with ${exitCode}: ${stderr.trim()}`);
    },
    kill9: () => end('SIGKILL'),
    async restart() {
      await end('SIGTERM');
      await mkdir(socketFolder, { recursive: true, mode: 0o711 });
      const args = ['serve', '--data', dataFolder, '--listen', listen];
      child = await spawnServer(args, { UNDERSTUDY_RUNTIME: socketFolder }, logPath);
      await waitUntilAnswering({ child, dataFolder, logPath, signal });
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function spawnServer(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  logPath: string,
): Promise<ChildProcess> {
  const log = await open(logPath, 'a', 0o600);
  try {
    const child = spawn(process.execPath, [understudyProgram, ...args], {
      env: { ...ownEnvironment(), ...env },
      stdio: ['ignore', log.fd, log.fd],
      // An interrupt at the terminal is for us; we then end the server in order.
      detached: true,
    });
    await once(child, 'spawn');
    return child;
  } finally {
    await log.close();
  }
}

export const runProgram: Client = async (args, env, { signal }) => {
  signal?.throwIfAborted();
  const child = spawn(process.execPath, [understudyProgram, ...args], {
    env: { ...ownEnvironment(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
    killSignal: 'SIGKILL',
    detached: true,
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  const exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', (error) => reject(signal?.aborted ? signal.reason : error));
    child.once('close', (code) => resolve(code ?? -1));
  });
  const text = (chunks: Buffer[]) => Buffer.concat(chunks).toString('utf8');
  return { exitCode, stdout: text(stdout), stderr: text(stderr) };
};

/** Ours, without what an operator may have set for another server, and with the program's own cache of what it compiled. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const foreign = (name: string) => name.startsWith('UNDERSTUDY_') || name === 'NODE_COMPILE_CACHE';
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign(name)));
}

type Starting = Pick<ServerProcess, 'dataFolder' | 'logPath'> & {
  readonly child: ChildProcess;
  readonly signal: AbortSignal | undefined;
};

async function waitUntilAnswering({ child, dataFolder, logPath, signal }: Starting): Promise<void> {
  const end = Date.now() + readinessDeadlineMs;
  while (!(await isAnswering(child, dataFolder))) {
    signal?.throwIfAborted();
    if (hasEnded(child) || Date.now() > end) {
      const state = hasEnded(child) ? 'ended at once' : 'does not answer';
      const log = (await readFile(logPath, 'utf8').catch(() => '')).slice(-2000);
      throw new Error(`The server ${state}: ${log.trim()}`);
    }
    await sleep(20);
  }
}

/** A server that was killed leaves its `server.json` behind: the process id tells whose it is. */
async function isAnswering(child: ChildProcess, dataFolder: string): Promise<boolean> {
  try {
    const record: unknown = JSON.parse(await readFile(join(dataFolder, 'server.json'), 'utf8'));
    const { address, pid } = record as { address: string; pid: number };
    if (pid !== child.pid) return false;
    const token = (await readFile(join(dataFolder, 'token'), 'utf8')).trim();
    return (await askVersion(address.replace(/^unix:/, ''), token)) === 200;
  } catch {
    // Not there yet, or not listening yet.
    return false;
  }
}

async function askVersion(socketPath: string, token: string): Promise<number | undefined> {
  const headers = { host: 'localhost', authorization: `Bearer ${token}` };
  const asking = request({ socketPath, path: '/api/v1/version', headers, timeout: 5000 });
  asking.on('timeout', () => asking.destroy());
  const answered = once(asking, 'response');
  asking.end();
  const [response] = await answered;
  response.resume();
  return response.statusCode;
}

async function endChild(child: ChildProcess, first: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, 'exit');
  child.kill(first);
  const patience = new AbortController();
  const late = sleep(endDeadlineMs, 'late', { signal: patience.signal }).catch(() => undefined);
  if ((await Promise.race([ended, late])) === 'late') killIfAlive(child.pid ?? 0);
  patience.abort();
  await ended;
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
