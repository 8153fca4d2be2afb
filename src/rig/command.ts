import { spawn } from 'node:child_process';

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  readonly cwd?: string;
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Written to standard input, which is then closed. */
  readonly input?: string;
}

/** Programs of the rig live in sbin folders that an ordinary user's PATH lacks. */
export const rigPath = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`;

/**
 * Runs a program to its end (never through a shell) and returns its standard output.
 *
 * @throws Error with the command line, the exit status and the end of standard error; an abort kills the program
 *   and throws the signal's reason.
 */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  options.signal?.throwIfAborted();
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: { ...process.env, PATH: rigPath, LC_ALL: 'C', ...options.env },
    signal: options.signal,
    killSignal: 'SIGKILL',
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  // A program that ends without reading its input breaks the pipe; its exit status is what counts.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const status = await new Promise<number | string>((resolve, reject) => {
    child.once('error', (error) => reject(options.signal?.aborted ? options.signal.reason : error));
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'));
  });
  const output = Buffer.concat(stdout).toString();
  if (status === 0) return output;
  const complaint = (Buffer.concat(stderr).toString().trim() || output.trim()).slice(-2000);
  throw new Error(`${program} ${args.join(' ')} ended with ${status}: ${complaint}`);
}
