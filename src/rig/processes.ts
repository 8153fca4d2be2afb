/** Looks at /proc; a process that ends meanwhile, or that we may not look at, is simply not reported. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export function listProcesses(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

export function childrenOf(pid: number): number[] {
  const text = attempt(() => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')) ?? '';
  return text.split(' ').filter(Boolean).map(Number);
}

/** Identity of the process-id namespace. */
export function namespaceOf(pid: number): string | undefined {
  return attempt(() => readlinkSync(`/proc/${pid}/ns/pid`));
}

export function commandLineOf(pid: number): string[] {
  return attempt(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'))?.split('\0') ?? [];
}

/** Whether `text` occurs in the command line or the environment. */
export function belongsTo(pid: number, text: string): boolean {
  return ['cmdline', 'environ'].some((file) =>
    attempt(() => readFileSync(`/proc/${pid}/${file}`, 'utf8'))?.includes(text),
  );
}

/** Returns when the process no longer exists (or is only waiting to be reaped). */
export async function waitForExit(pid: number, signal?: AbortSignal): Promise<void> {
  while (isAlive(pid)) await sleep(10, undefined, { signal });
}

export function isAlive(pid: number): boolean {
  try {
    // The state follows the command name, which is in parentheses and may itself contain any character.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

export function killIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // It ended by itself in the meantime, which is what was wanted.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
