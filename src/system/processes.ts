/** Programs of the operating system, see ports/processes.ts. Linux: what a pid means is read from /proc. */
import { type ChildProcess, spawn } from 'node:child_process';
import { UnderstudyError } from '../domain/error.ts';
import type { Command, CommandResult, Processes } from '../ports/processes.ts';
import { endDaemon, isAlive, startDaemon } from './daemons.ts';
import { programMissing } from './errors.ts';
import { namelessFiles } from './nameless-files.ts';
import { programEnv } from './program-env.ts';

const STDOUT_BYTES_MAX = 16 * 1024 * 1024;
const STDERR_BYTES_KEPT = 64 * 1024;
const TIMEOUT_MS = 60_000;
/** What a command gets to clean up between SIGTERM and SIGKILL. */
const GRACE_MS = 2000;

export function systemProcesses(): Processes {
  return {
    run: (command, { signal }) => runCommand(command, signal),
    startDaemon,
    isAlive,
    end: endDaemon,
  };
}

async function runCommand(command: Command, signal: AbortSignal): Promise<CommandResult> {
  await using files = await namelessFiles(command.files ?? []);
  if (signal.aborted) throw new UnderstudyError('cancelled');
  const child = spawn(command.command, [...command.arguments], {
    cwd: command.folder,
    env: programEnv(command.env),
    stdio: ['pipe', 'pipe', 'pipe', ...files.descriptors],
    shell: false,
  });
  return await collect(child, command, signal);
}

/** Resolves or rejects when the process is gone and its output is read, never before. */
function collect(
  child: ChildProcess,
  command: Command,
  signal: AbortSignal,
): Promise<CommandResult> {
  const ending = createEnding(child);
  const limitMs = command.timeoutMs ?? TIMEOUT_MS;
  const abort = () => ending.because(new UnderstudyError('cancelled'));
  const timer = setTimeout(() => {
    ending.because(new UnderstudyError('timed-out', { what: command.command, limitMs }));
  }, limitMs);
  signal.addEventListener('abort', abort, { once: true });
  const stdout = keepFirst(child, command, ending);
  const stderr = keepLast(child);
  feed(child, command.input);

  return new Promise<CommandResult>((resolve, reject) => {
    child.once('error', (error) => {
      // Also emitted when a signal could not be sent: then `close` still follows.
      if (child.pid === undefined) reject(programMissing(command.command, error));
    });
    child.once('close', (exitCode, endedBy) => {
      const error = ending.error();
      if (error !== null) reject(error);
      else resolve({ exitCode, signal: endedBy, stdout: stdout(), stderr: stderr() });
    });
  }).finally(() => {
    clearTimeout(timer);
    ending.over();
    signal.removeEventListener('abort', abort);
  });
}

type Ending = ReturnType<typeof createEnding>;

/** Ends the process for the first reason given. */
function createEnding(child: ChildProcess) {
  let reason: UnderstudyError | null = null;
  let killer: NodeJS.Timeout | undefined;
  return {
    because(error: UnderstudyError): void {
      if (reason !== null) return;
      reason = error;
      child.kill('SIGTERM');
      killer = setTimeout(() => {
        child.kill('SIGKILL');
        // Grandchildren may hold the pipes open for ever; what they say is of no interest any more.
        child.stdout?.destroy();
        child.stderr?.destroy();
      }, GRACE_MS);
    },
    error: () => reason,
    over: () => clearTimeout(killer),
  };
}

function keepFirst(child: ChildProcess, command: Command, ending: Ending): () => string {
  const limitBytes = command.stdoutBytesMax ?? STDOUT_BYTES_MAX;
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  child.stdout?.on('data', (chunk: Buffer) => {
    sizeBytes += chunk.length;
    if (sizeBytes <= limitBytes) chunks.push(chunk);
    else {
      const details = { command: command.command, limitBytes };
      ending.because(new UnderstudyError('command-output-too-large', details));
    }
  });
  return () => Buffer.concat(chunks).toString('utf8');
}

function keepLast(child: ChildProcess): () => string {
  let kept: Buffer = Buffer.alloc(0);
  child.stderr?.on('data', (chunk: Buffer) => {
    kept = Buffer.concat([kept, chunk]).subarray(-STDERR_BYTES_KEPT);
  });
  return () => kept.toString('utf8');
}

function feed(child: ChildProcess, input: string | Uint8Array | undefined): void {
  // A command may end without reading its input: the broken pipe is its right.
  child.stdin?.on('error', () => {});
  child.stdin?.end(input ?? '');
}
