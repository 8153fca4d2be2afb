/** Programs that outlive a call, and how to know one again. */
import { spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { UnderstudyError } from '../domain/error.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Daemon, ProcessIdentity } from '../ports/processes.ts';
import { programMissing } from './errors.ts';
import { programEnv } from './program-env.ts';

/** No event tells of the end of a process that is not our child; asking is cheap. */
const POLL_MS = 20;

export async function startDaemon(daemon: Daemon): Promise<ProcessIdentity> {
  const log = await open(daemon.logPath, 'a', 0o600);
  try {
    const child = spawn(daemon.command, [...daemon.arguments], {
      cwd: daemon.folder,
      env: programEnv(daemon.env),
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
      shell: false,
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) => reject(programMissing(daemon.command, error)));
    });
    child.unref();
    const pid = Number(child.pid);
    // It may be over already; then it never matches a later process, which is all that is asked of it.
    const status = await processStatus(pid);
    return { pid, startTime: status?.startTime ?? 'ended' };
  } finally {
    await log.close();
  }
}

export async function isAlive({ pid, startTime }: ProcessIdentity): Promise<boolean> {
  const status = await processStatus(pid);
  return status !== null && status.startTime === startTime && !status.hasEnded;
}

export async function endDaemon(
  identity: ProcessIdentity,
  graceMs: number,
  { signal }: CallOptions,
): Promise<void> {
  if (!(await isAlive(identity))) return;
  send(identity.pid, 'SIGTERM');
  const killAt = performance.now() + graceMs;
  let isKilled = false;
  while (await isAlive(identity)) {
    if (signal.aborted) throw new UnderstudyError('cancelled');
    if (!isKilled && performance.now() >= killAt) {
      isKilled = true;
      send(identity.pid, 'SIGKILL');
    }
    // An abort ends the pause; the loop then notices it.
    await delay(POLL_MS, undefined, { signal }).catch(() => {});
  }
}

/** The process may have ended since it was looked at. */
function send(pid: number, name: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

type ProcessStatus = { readonly startTime: string; readonly hasEnded: boolean };

/**
 * From proc(5) `stat`: field 3 is the state, field 22 the start in clock ticks since boot. Field 2 is the program's
 * name in parentheses and may hold anything, so that the fields are counted from the last one. The boot is
 * part of the answer, because ticks start over with it.
 */
async function processStatus(pid: number): Promise<ProcessStatus | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (stat === null) return null;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  const ticks = fields[19];
  if (state === undefined || ticks === undefined) return null;
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  return { startTime: `${boot}/${ticks}`, hasEnded: state === 'Z' || state === 'X' };
}
