/**
 * Watches over a freeze so that the guest never notices it: old blocks, free space and age five times a second by
 * looking at files, the hypervisor every two seconds, because asking it costs a process.
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { Instant } from '../../domain/instant.ts';
import type { ScratchPolicy } from '../../domain/job/job.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { FreezeCommand } from '../../ports/point-source.ts';
import { hasCode } from './errors.ts';
import { type FreezeContext, UNABORTED } from './freeze-context.ts';
import { activeBackup, endBackupAndRescue, pausingError, powerWithReason } from './freeze-job.ts';
import { type FreezePlaces, type FreezeRecord, freezePlaces, readRecord } from './freeze-record.ts';
import { offlineProblem } from './offline-freeze.ts';
import { growth, type ScratchReading, scratchVerdict, WATCH_POLL_MS } from './scratch-policy.ts';
import { freeBytes, usedBytes } from './scratch-usage.ts';

export type WatchCommand = FreezeCommand & {
  readonly scratch: ScratchPolicy;
  readonly frozenAt: Instant;
};

const HYPERVISOR_POLL_MS = 2000;

/** See `PointSource.watch`. */
export async function watchFreeze(
  context: FreezeContext,
  command: WatchCommand,
  { signal }: CallOptions,
): Promise<void> {
  const { clock } = context;
  const places = freezePlaces(context.scratchFolder, command.key);
  const beganAt = clock.monotonicMs();
  // The wall clock is read once: it may jump while we watch.
  const ageAtBegin = Math.max(0, clock.now() - command.frozenAt);
  let previous: { readonly reading: ScratchReading; readonly atMs: number } | null = null;
  // The first poll looks at files only: most runs are over before the second.
  let askedAt = Number.NEGATIVE_INFINITY;
  let isFirst = true;
  while (!signal.aborted) {
    const atMs = clock.monotonicMs();
    const record = await requireRecord(places, command);
    const used = await usedBytes(places.folder);
    const passedMs = previous === null ? 0 : atMs - previous.atMs;
    const reading: ScratchReading = {
      usedBytes: used,
      freeBytes: await freeBytes(context.scratchFolder),
      ageMs: ageAtBegin + atMs - beganAt,
      growthBytesPerMs: growth(previous?.reading ?? null, used, passedMs),
    };
    previous = { reading, atMs };
    const limits = { ...command.scratch, quotaBytes: record.quotaBytes };
    const verdict = scratchVerdict(reading, limits);
    if (verdict !== null) throw exhausted(command, verdict);
    if (!isFirst && atMs - askedAt >= HYPERVISOR_POLL_MS) {
      askedAt = atMs;
      await untilAborted(signal, refuseIfGone(context, record, { signal }));
    }
    isFirst = false;
    await untilAborted(signal, clock.sleep(WATCH_POLL_MS, { signal }));
  }
}

/** Why the freeze does not hold any more; null while it does. */
export async function freezeProblem(
  context: FreezeContext,
  record: FreezeRecord,
  options: CallOptions,
): Promise<string | null> {
  if (record.point === null) return 'the freeze was cut off while it began';
  if (record.kind === 'off') return offlineProblem(context, record, options);
  const { socketPath } = freezePlaces(context.scratchFolder, record.key);
  const job = await activeBackup(context, record.vmId, options);
  if (job?.socketPath === socketPath) return null;
  const power = await powerWithReason(context, record.vmId, options);
  return `its backup job has ended; the VM is ${power}`;
}

async function requireRecord(places: FreezePlaces, command: FreezeCommand): Promise<FreezeRecord> {
  const record = await readRecord(places.recordPath);
  if (record !== null) return record;
  throw new UnderstudyError('freeze-failed', {
    vm: command.vmId,
    reason: 'there is no such freeze',
  });
}

async function refuseIfGone(
  context: FreezeContext,
  record: FreezeRecord,
  options: CallOptions,
): Promise<void> {
  const problem = await freezeProblem(context, record, options);
  if (problem !== null) {
    throw new UnderstudyError('freeze-failed', { vm: record.vmId, reason: problem });
  }
  if (record.kind === 'off') return;
  const error = await pausingError(context, record.vmId, options);
  if (error !== null) await rescue(context, record);
}

/** We came too late: whatever paused the guest, what we hold must not be the reason that it stays so. Always throws. */
async function rescue(context: FreezeContext, { vmId, key }: FreezeRecord): Promise<never> {
  const { socketPath } = freezePlaces(context.scratchFolder, key);
  if (await endBackupAndRescue(context, { vmId, socketPath }, UNABORTED)) {
    const reason =
      'the file system of old blocks was full and had paused the VM, which was resumed';
    throw new UnderstudyError('scratch-exhausted', { vm: vmId, reason });
  }
  const reason = 'the VM was paused by an error of its own storage';
  throw new UnderstudyError('freeze-failed', { vm: vmId, reason });
}

/** An abort ends watching in peace. */
async function untilAborted(signal: AbortSignal, task: Promise<void>): Promise<void> {
  try {
    await task;
  } catch (error) {
    if (!(signal.aborted && hasCode(error, 'cancelled'))) throw error;
  }
}

function exhausted({ vmId }: FreezeCommand, reason: string): UnderstudyError {
  return new UnderstudyError('scratch-exhausted', { vm: vmId, reason });
}
