/** Ending a freeze, wherever it was cut off: from its record alone. */
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import { hasCode } from './errors.ts';
import { type FreezeContext, UNABORTED } from './freeze-context.ts';
import { endBackupAndRescue } from './freeze-job.ts';
import { thaw } from './freeze-quiesce.ts';
import {
  type FreezePlaces,
  type FreezeRecord,
  freezePlaces,
  removePlaces,
} from './freeze-record.ts';
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
  if (record !== null && record.point === null) await settleBeginning(context, record, options);
  if (record?.kind !== 'off') {
    await endBackupAndRescue(context, { vmId, socketPath: places.socketPath }, options);
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
    await endFreeze(context, { places, vmId: record.vmId, record }, UNABORTED);
  } catch (error) {
    // The next freeze of the VM, or the caller's `end`, ends it from its record. A person must hear of a frozen guest.
    if (hasCode(error, 'freeze-failed')) {
      throw new UnderstudyError('freeze-failed', error.details, cause);
    }
  }
}

/** A freeze that was cut off while the guest's file systems were frozen: nobody else may thaw them. */
async function settleBeginning(
  context: FreezeContext,
  { vmId, isQuiesced, kind, process }: FreezeRecord,
  options: CallOptions,
): Promise<void> {
  if (!isQuiesced || kind === 'off') return;
  const { clock, processes } = context;
  const began = clock.monotonicMs();
  while (process !== null && (await processes.isAlive(process))) {
    if (clock.monotonicMs() - began > SEQUENCE_ENDS_WITHIN_MS) {
      await processes.end(process, GRACE_MS, options);
      await thaw(context, vmId);
      return;
    }
    await clock.sleep(POLL_MS, options);
  }
  // Thawing what is not frozen is harmless; a guest without an agent cannot have been frozen by one.
  await context.virsh.run(['domfsthaw', '--', vmId], options).catch(async (error: unknown) => {
    // Whoever has its turn now says nothing about its file systems.
    if (hasCode(error, 'vm-busy')) return thaw(context, vmId);
    if (!hasCode(error, 'guest-not-answering', 'hypervisor-refused', 'vm-missing')) throw error;
  });
}
