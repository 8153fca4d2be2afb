/**
 * The backup job of a running VM: libvirt allows one at a time, and the path of its NBD socket tells whose it is.
 * The job lives in QEMU and in the daemon's state files, so it survives a crash of ours and of libvirtd.
 */
import { basename, dirname, resolve } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import { readBackupSocket } from './backup-xml.ts';
import { hasCode } from './errors.ts';
import type { FreezeContext } from './freeze-context.ts';
import { refusalOf, saysNotRunning } from './freeze-errors.ts';
import { askTogether } from './virsh-together.ts';

export type BackupJob = { readonly socketPath: string | null };

const NO_BACKUP = /no domain backup job present|domain backup job id not found/i;
const NO_JOB = /no job is active|no domain backup job present|domain is not running/i;
const POLL_MS = 25;

/**
 * What libvirt says of a guest whose write failed. Since QEMU 10 a disk tells of errors at most once a second: a guest that
 * stops twice within one has stopped for reasons unknown, and only its disks can be asked.
 */
const PAUSED_BY_ERROR = /^paused \((?:I\/O error|unknown)\)$/;

const ERROR_HELD_BACK_MS = 1100;

/** `No errors found`, or one line for each disk that made the guest stop; forgotten when it goes on. */
const DISK_ERROR = /^\S+: (?:no space|unspecified error)$/m;
const DISK_FULL = /^\S+: no space$/m;

/** An abort takes 75 ms with reads in flight; asking again is harmless. */
const REPEAT_ABORT_MS = 2000;
const END_DEADLINE_MS = 30_000;

/** The backup that runs now, whoever began it; null when none does. */
export async function activeBackup(
  { virsh }: FreezeContext,
  vmId: VmId,
  options: CallOptions,
): Promise<BackupJob | null> {
  try {
    const text = await virsh.run(backupQuery(vmId), options);
    return { socketPath: readBackupSocket(text, vmId) };
  } catch (error) {
    if (NO_BACKUP.test(refusalOf(error)) || saysNotRunning(error)) return null;
    throw error;
  }
}

const backupQuery = (vmId: VmId) => ['backup-dumpxml', '--', vmId] as const;
const jobQuery = (vmId: VmId) => ['domjobinfo', '--', vmId] as const;

/**
 * Clears the way for a backup: one of ours whose record was lost is ended, known by where its socket is. Throws
 * `vm-busy` naming the job of anybody else: it would make ours wait half a minute, maybe with the guest frozen.
 */
export async function clearTheWay(
  context: FreezeContext,
  vmId: VmId,
  options: CallOptions,
): Promise<void> {
  // A backup is a job, too: where there is no job, as nearly always, there is no backup.
  const queries = [jobQuery(vmId), backupQuery(vmId)];
  const [info, backup] = await askTogether(context.virsh, queries, options);
  if (info && isFree(info) && backup === null) return;
  const job = await activeBackup(context, vmId, options);
  if (job !== null) {
    const { socketPath } = job;
    if (socketPath === null || !isOurSocket(context, socketPath)) {
      const reason = `a backup of another program is running (${socketPath ?? 'in push mode'})`;
      throw new UnderstudyError('vm-busy', { vm: vmId, reason });
    }
    await endBackup(context, { vmId, socketPath }, options);
  }
  const text = await context.virsh.run(jobQuery(vmId), options);
  if (isFree(text)) return;
  const operation = /^Operation:\s+(.*\S)/m.exec(text)?.[1] ?? 'unnamed';
  throw new UnderstudyError('vm-busy', { vm: vmId, reason: `a job is running: ${operation}` });
}

function isFree(jobInfo: string): boolean {
  const type = /^Job type:\s+(\S+)/m.exec(jobInfo)?.[1] ?? 'None';
  return type === 'None' || type === 'Completed';
}

/**
 * Ends the backup that serves this socket, and waits until libvirt has closed it; none is success, as is
 * a VM that is gone. A backup of somebody else is left alone.
 */
async function endBackup(
  context: FreezeContext,
  { vmId, socketPath }: { readonly vmId: VmId; readonly socketPath: string },
  options: CallOptions,
): Promise<void> {
  const job = await activeBackup(context, vmId, options).catch(noneIfMissing);
  if (job?.socketPath === socketPath) await abortAndAwait(context, { vmId, socketPath }, options);
}

/** Of a backup that was just seen. */
async function abortAndAwait(
  context: FreezeContext,
  { vmId, socketPath }: { readonly vmId: VmId; readonly socketPath: string },
  options: CallOptions,
): Promise<void> {
  const { clock } = context;
  const began = clock.monotonicMs();
  let asked: number | null = null;
  for (;;) {
    const passed = clock.monotonicMs() - began;
    if (passed > END_DEADLINE_MS) {
      const reason = 'libvirt does not end the backup job';
      throw new UnderstudyError('freeze-failed', { vm: vmId, reason });
    }
    if (asked === null || passed - asked > REPEAT_ABORT_MS) {
      await abortJob(context, vmId, options);
      asked = passed;
    } else {
      await clock.sleep(POLL_MS, options);
    }
    const job = await activeBackup(context, vmId, options).catch(noneIfMissing);
    if (job?.socketPath !== socketPath) return;
  }
}

/**
 * As `endBackup`; and if old blocks had filled their file system, which pauses the guest, it goes on. True when it was
 * so. Only for want of space is it resumed: then nothing was lost, the guest's write is tried again.
 */
export async function endBackupAndRescue(
  context: FreezeContext,
  request: { readonly vmId: VmId; readonly socketPath: string },
  options: CallOptions,
): Promise<boolean> {
  const { vmId, socketPath } = request;
  const job = await activeBackup(context, vmId, options).catch(noneIfMissing);
  if (job?.socketPath !== socketPath) return false;
  await abortAndAwait(context, request, options);
  // Only now: until the job is gone the guest may still run into the full file system, and the reason why it is
  // paused may still be on its way to the daemon. What its disks ran into is remembered until it is resumed.
  const error = await pausingError(context, vmId, options).catch(noneIfMissing);
  const wasStarved = error !== null && DISK_FULL.test(error);
  if (wasStarved) await resume(context, vmId, options);
  return wasStarved;
}

/** The error that QEMU held back arrives when the guest runs again, and makes libvirt believe that it does not. */
async function resume(context: FreezeContext, vmId: VmId, options: CallOptions): Promise<void> {
  const command = ['resume', '--', vmId];
  await context.virsh.run(command, options);
  await context.clock.sleep(ERROR_HELD_BACK_MS, options);
  const power = await powerWithReason(context, vmId, options);
  // One that really stands still has run into something else, which is not ours to judge.
  const isMisjudged =
    PAUSED_BY_ERROR.test(power) && (await pausingError(context, vmId, options)) === null;
  if (isMisjudged) await context.virsh.run(command, options);
}

/** What the disks of a guest that stands still ran into, as libvirt says it; null when that is not why, or it runs. */
export async function pausingError(
  { virsh }: FreezeContext,
  vmId: VmId,
  options: CallOptions,
): Promise<string | null> {
  const errorsQuery = ['domblkerror', '--', vmId];
  const [power, errors] = await askTogether(virsh, [stateQuery(vmId), errorsQuery], options);
  const state = power ?? (await virsh.run(stateQuery(vmId), options)).trim();
  if (!PAUSED_BY_ERROR.test(state)) return null;
  const told = errors ?? (await virsh.run(errorsQuery, options));
  return DISK_ERROR.test(told) ? told : null;
}

async function abortJob({ virsh }: FreezeContext, vmId: VmId, options: CallOptions): Promise<void> {
  try {
    await virsh.run(['domjobabort', '--', vmId], options);
  } catch (error) {
    // It ended by itself between the look and the command.
    if (!NO_JOB.test(refusalOf(error))) throw error;
  }
}

/** `running`, `paused (I/O error)`, `shut off (crashed)`, … as libvirt says it. */
export async function powerWithReason(
  { virsh }: FreezeContext,
  vmId: VmId,
  options: CallOptions,
): Promise<string> {
  return (await virsh.run(stateQuery(vmId), options)).trim();
}

const stateQuery = (vmId: VmId) => ['domstate', '--reason', '--', vmId] as const;

function isOurSocket({ scratchFolder }: FreezeContext, path: string): boolean {
  const folder = dirname(path);
  return dirname(folder) === resolve(scratchFolder) && /^[0-9a-f]{16}$/.test(basename(folder));
}

function noneIfMissing(error: unknown): null {
  if (hasCode(error, 'vm-missing')) return null;
  throw error;
}
