/** Ending a freeze, wherever it was cut off: from its record alone. */
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import { hasCode } from './errors.ts';
import { type FreezeContext, UNABORTED } from './freeze-context.ts';
import { endBackupAndRescue } from './freeze-job.ts';
import {
  type FreezePlaces,
  type FreezeRecord,
  freezePlaces,
  readRecord,
  removePlaces,
} from './freeze-record.ts';
import { readSequenceLog } from './freeze-sequence.ts';
import { isOver, thaw } from './freeze-thaw.ts';
import { endExport } from './offline-export.ts';

/** A sequence that freezes and thaws ends by itself; see freeze-quiesce.ts for how long it may take. */
const SEQUENCE_ENDS_WITHIN_MS = 20_000;
const POLL_MS = 50;
const GRACE_MS = 2000;

/** No freeze is success. Throws `host-unreachable` when that cannot be known; the record then stays. */
export async function endFreeze(
  context: FreezeContext,
  request: {
    readonly places: FreezePlaces;
    readonly vmId: VmId;
    readonly record: FreezeRecord | null;
  },
  options: CallOptions,
): Promise<void> {
  const { places, vmId, record } = request;
  const isCutOff = record !== null && record.point === null;
  const [held] = await Promise.allSettled([
    isCutOff ? settleBeginning(context, { record, places }, options) : null,
  ]);
  // Also when the guest could not be thawed: nobody watches any more how much of old blocks is kept.
  const [ended] = await Promise.allSettled([
    record?.kind === 'off'
      ? null
      : endBackupAndRescue(context, { vmId, socketPath: places.socketPath }, options),
  ]);
  for (const outcome of [held, ended]) {
    if (outcome.status === 'rejected') throw outcome.reason;
  }
  if (record?.kind === 'off' && record.process !== null) {
    await context.processes.end(record.process, GRACE_MS, options);
  } else {
    await endExport(context, places);
  }
  await removePlaces(places);
}

/** For when something went wrong already: that error counts, and what is left here the record remembers. */
export async function endFreezeAfterError(
  context: FreezeContext,
  record: FreezeRecord,
  cause: unknown,
): Promise<void> {
  const places = freezePlaces(context.scratchFolder, record.key);
  try {
    // What was begun meanwhile is in the record only.
    const latest = (await readRecord(places.recordPath)) ?? record;
    await endFreeze(context, { places, vmId: record.vmId, record: latest }, UNABORTED);
  } catch (error) {
    // The next freeze of the VM, or the caller's `end`, ends it from its record. A person must hear of a frozen guest.
    if (hasCode(error, 'freeze-failed')) {
      throw new UnderstudyError('freeze-failed', error.details, cause);
    }
  }
}

type CutOff = { readonly record: FreezeRecord; readonly places: FreezePlaces };

/** A freeze that was cut off while the guest's file systems were frozen: nobody else may thaw them. */
async function settleBeginning(
  context: FreezeContext,
  cutOff: CutOff,
  options: CallOptions,
): Promise<void> {
  const { vmId, isQuiesced, kind } = cutOff.record;
  if (!isQuiesced || kind === 'off') return;
  await sequenceEnd(context, cutOff, options);
  const log = await readSequenceLog(cutOff.places.ownFolder);
  const hold = log?.hold ?? 'unknown';
  // Thawing what is not frozen is harmless, so it is tried whatever the log says.
  await context.virsh.run(['domfsthaw', '--', vmId], options).catch(async (error: unknown) => {
    // Then nothing can be done for it now, and the record stays. A guest that hangs is none of the host's fault.
    const isAway = hasCode(error, 'host-unreachable') && !hasCode(error.cause, 'timed-out');
    if (isAway || hasCode(error, 'cancelled')) throw error;
    if (hold !== 'none' && !isOver(error)) await thaw(context, vmId, hold);
  });
}

/** One whose process was never written down has begun if there is a log, and is over when its log says so. */
async function sequenceEnd(
  { clock, processes }: FreezeContext,
  { record: { process }, places }: CutOff,
  options: CallOptions,
): Promise<void> {
  const began = clock.monotonicMs();
  const isGoingOn = async (): Promise<boolean> => {
    if (process !== null) return processes.isAlive(process);
    return (await readSequenceLog(places.ownFolder))?.hasEnded === false;
  };
  while (await isGoingOn()) {
    if (clock.monotonicMs() - began > SEQUENCE_ENDS_WITHIN_MS) {
      if (process !== null) await processes.end(process, GRACE_MS, options);
      return;
    }
    await clock.sleep(POLL_MS, options);
  }
}
