/**
 * Begins a backup with the guest's file systems frozen around it.
 *
 * A guest that stays frozen is as good as down, so thawing must not depend on us: freezing, beginning and thawing are one
 * `virsh` in a session of its own, which goes on when a command of it fails and also when we are killed.
 *
 *   virsh ── domfsfreeze ── @begin ── backup-begin ── @thaw ── domfsthaw      (its log is read while it grows)
 *                  └─ not frozen within 15 s: ended, thawed
 *                                   └─ frozen for a second: thawed from here, the point is then crash-consistent
 */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { ProcessIdentity } from '../../ports/processes.ts';
import { virshError } from './errors.ts';
import { type FreezeContext, UNABORTED } from './freeze-context.ts';
import { readSequenceLog, type SequenceLog, sequence, sequenceLogPath } from './freeze-sequence.ts';
import { thaw } from './freeze-thaw.ts';

export type BackupBegin = {
  readonly vmId: VmId;
  readonly backup: string;
  readonly mark: string | null;
  /** Exists, and nobody else may write there. */
  readonly ownFolder: string;
  /** Called as soon as the process runs, so that a crash of ours can be cleaned up. */
  readonly onProcess: (process: ProcessIdentity) => Promise<void>;
};

/** Null when the file systems were frozen at the instant; else why not. */
export type QuiesceNote = string | null;

const POLL_MS = 20;

/** libvirt waits 5 s for a silent agent; flushing a busy guest takes seconds. */
const FREEZE_DEADLINE_MS = 15_000;

/** Beginning a backup takes 50 ms; longer than this hurts whoever waits for the guest. */
const FROZEN_MS_MAX = 1000;

/** libvirt waits 30 s for its turn with a busy VM. */
const SEQUENCE_DEADLINE_MS = 60_000;

/**
 * Throws what the hypervisor refused the backup for; the guest is thawed then too, as it is whatever else fails: from the
 * moment the process runs, nothing ends this before the guest is free or a person is told. Cannot be aborted.
 */
export async function beginQuiesced(
  context: FreezeContext,
  request: BackupBegin,
): Promise<{ readonly hasBegun: boolean; readonly note: QuiesceNote }> {
  const { vmId, ownFolder } = request;
  const logPath = sequenceLogPath(ownFolder);
  await rm(logPath, { force: true });
  const text = await writeSequence(request);
  const daemon = { command: 'virsh', arguments: ['-c', context.virsh.uri, text], logPath };
  const process = await context.processes.startDaemon(daemon);
  const [recorded, watched] = await Promise.allSettled([
    request.onProcess(process),
    watchSequence(context, { vmId, process, ownFolder }),
  ]);
  if (watched.status === 'rejected') throw watched.reason;
  const log = await readLog(ownFolder);
  const hold = log?.hold ?? 'unknown';
  if (hold !== 'none') await thaw(context, vmId, hold);
  if (recorded.status === 'rejected') throw recorded.reason;
  return outcomeOf(context, { vmId, log, overstayed: watched.value });
}

function outcomeOf(
  { hostName }: FreezeContext,
  { vmId, log, overstayed }: { vmId: VmId; log: SequenceLog | null; overstayed: QuiesceNote },
): { readonly hasBegun: boolean; readonly note: QuiesceNote } {
  if (log === null) {
    const reason = 'what was said about quiescing it cannot be read';
    throw new UnderstudyError('freeze-failed', { vm: vmId, reason });
  }
  const note = overstayed ?? log.freezeComplaint;
  if (!log.hasReachedBegin) return { hasBegun: false, note };
  if (log.beginComplaint !== null) {
    const complaint = { hostName, action: 'backup-begin', vm: vmId };
    throw virshError({ ...complaint, stderr: log.beginComplaint });
  }
  return { hasBegun: true, note: note ?? (log.frozenCount > 0 ? null : 'it froze no file system') };
}

/** Waits for its end, and steps in when the guest would be held too long. Says why the point is not quiesced then. */
async function watchSequence(
  context: FreezeContext,
  { vmId, process, ownFolder }: { vmId: VmId; process: ProcessIdentity; ownFolder: string },
): Promise<string | null> {
  const { clock, processes } = context;
  const began = clock.monotonicMs();
  let frozenAt: number | null = null;
  let overstayed: string | null = null;
  while (await processes.isAlive(process)) {
    const now = clock.monotonicMs();
    const log = await readLog(ownFolder);
    if (log?.hold === 'frozen') frozenAt ??= now;
    if (!log?.hasReachedBegin && now - began > FREEZE_DEADLINE_MS) {
      await processes.end(process, 1000, UNABORTED);
      // What the guest was asked to do it may still do, later than anybody waits for.
      await thaw(context, vmId, 'frozen');
      return `the guest did not freeze within ${FREEZE_DEADLINE_MS / 1000} s`;
    }
    if (overstayed === null && frozenAt !== null && now - frozenAt > FROZEN_MS_MAX) {
      overstayed = `the hypervisor needed more than ${FROZEN_MS_MAX} ms while the guest was frozen`;
      await thaw(context, vmId, 'frozen');
    }
    if (now - began > SEQUENCE_DEADLINE_MS) await processes.end(process, 1000, UNABORTED);
    await clock.sleep(POLL_MS, UNABORTED);
  }
  return overstayed;
}

/** Null also when it cannot be read: it tells nothing then, which has to be taken for the worst. */
function readLog(ownFolder: string): Promise<SequenceLog | null> {
  return readSequenceLog(ownFolder).catch(() => null);
}

async function writeSequence({ vmId, backup, mark, ownFolder }: BackupBegin): Promise<string> {
  const backupPath = join(ownFolder, 'backup.xml');
  const markPath = join(ownFolder, 'mark.xml');
  await writeFile(backupPath, backup, { mode: 0o600 });
  if (mark !== null) await writeFile(markPath, mark, { mode: 0o600 });
  return sequence(vmId, mark === null ? [backupPath] : [backupPath, markPath]);
}
