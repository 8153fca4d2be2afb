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
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { VmId } from '../../domain/ids.ts';
import type { ProcessIdentity } from '../../ports/processes.ts';
import { hasCode, virshError } from './errors.ts';
import { type FreezeContext, UNABORTED } from './freeze-context.ts';
import { saysNotRunning } from './freeze-errors.ts';

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
const THAW_DEADLINE_MS = 60_000;
const THAW_RETRY_MS = 500;

/** Throws what the hypervisor refused the backup for; the guest is thawed then too. Cannot be aborted. */
export async function beginQuiesced(
  context: FreezeContext,
  request: BackupBegin,
): Promise<{ readonly hasBegun: boolean; readonly note: QuiesceNote }> {
  const logPath = join(request.ownFolder, 'quiesce.log');
  await rm(logPath, { force: true });
  const daemon = {
    command: 'virsh',
    arguments: ['-c', context.virsh.uri, await sequence(request)],
    logPath,
  };
  const process = await context.processes.startDaemon(daemon);
  await request.onProcess(process);
  const overstayed = await watchSequence(context, { vmId: request.vmId, process, logPath });
  const log = parseSequenceLog(await readFile(logPath, 'utf8'));
  if (log.frozenCount > 0 && !log.isThawed) await thaw(context, request.vmId);
  if (!log.hasReachedBegin) return { hasBegun: false, note: overstayed ?? log.freezeComplaint };
  if (log.beginComplaint !== null) {
    const { hostName } = context;
    const complaint = { hostName, action: 'backup-begin', vm: request.vmId };
    throw virshError({ ...complaint, stderr: log.beginComplaint });
  }
  const note = overstayed ?? log.freezeComplaint;
  return { hasBegun: true, note: note ?? (log.frozenCount > 0 ? null : 'it froze no file system') };
}

/** Thaws until the guest says so. A VM that is gone is thawed. Throws `freeze-failed` with what a person must do. */
export async function thaw(context: FreezeContext, vmId: VmId): Promise<void> {
  const { virsh, clock } = context;
  const began = clock.monotonicMs();
  for (;;) {
    try {
      await virsh.run(['domfsthaw', '--', vmId], UNABORTED);
      return;
    } catch (error) {
      if (hasCode(error, 'vm-missing') || saysNotRunning(error)) return;
      if (clock.monotonicMs() - began > THAW_DEADLINE_MS) {
        const reason = `its file systems may still be frozen: run \`virsh domfsthaw ${vmId}\` on ${context.hostName}`;
        throw new UnderstudyError('freeze-failed', { vm: vmId, reason }, error);
      }
    }
    await clock.sleep(THAW_RETRY_MS, UNABORTED);
  }
}

/** Waits for its end, and steps in when the guest would be held too long. Says why the point is not quiesced then. */
async function watchSequence(
  context: FreezeContext,
  { vmId, process, logPath }: { vmId: VmId; process: ProcessIdentity; logPath: string },
): Promise<string | null> {
  const { clock, processes } = context;
  const began = clock.monotonicMs();
  let frozenAt: number | null = null;
  let overstayed: string | null = null;
  while (await processes.isAlive(process)) {
    const now = clock.monotonicMs();
    const log = parseSequenceLog(await readFile(logPath, 'utf8'));
    if (log.frozenCount > 0) frozenAt ??= now;
    if (!log.hasReachedBegin && now - began > FREEZE_DEADLINE_MS) {
      await processes.end(process, 1000, UNABORTED);
      // What the guest was asked to do it may still do, later than anybody waits for.
      await thaw(context, vmId);
      return `the guest did not freeze within ${FREEZE_DEADLINE_MS / 1000} s`;
    }
    if (overstayed === null && frozenAt !== null && now - frozenAt > FROZEN_MS_MAX) {
      overstayed = `the hypervisor needed more than ${FROZEN_MS_MAX} ms while the guest was frozen`;
      await thaw(context, vmId);
    }
    if (now - began > SEQUENCE_DEADLINE_MS) await processes.end(process, 1000, UNABORTED);
    await clock.sleep(POLL_MS, UNABORTED);
  }
  return overstayed;
}

async function sequence({ vmId, backup, mark, ownFolder }: BackupBegin): Promise<string> {
  const backupPath = join(ownFolder, 'backup.xml');
  const markPath = join(ownFolder, 'mark.xml');
  await writeFile(backupPath, backup, { mode: 0o600 });
  if (mark !== null) await writeFile(markPath, mark, { mode: 0o600 });
  const files = mark === null ? [backupPath] : [backupPath, markPath];
  return [
    `domfsfreeze ${vmId}`,
    'echo --err @begin',
    `backup-begin ${[vmId, ...files.map(virshWord)].join(' ')}`,
    'echo --err @thaw',
    `domfsthaw ${vmId}`,
  ].join('; ');
}

/** One word of virsh's own command language (virsh(1): like the shell's, without expansion). */
export function virshWord(text: string): string {
  return `"${text.replaceAll(/[\\"]/g, (character) => `\\${character}`)}"`;
}

export type SequenceLog = {
  readonly frozenCount: number;
  readonly isThawed: boolean;
  readonly hasReachedBegin: boolean;
  /** Why freezing failed; null when it did not. */
  readonly freezeComplaint: string | null;
  /** What was said on refusing the backup; null when it was not refused. */
  readonly beginComplaint: string | null;
};

export function parseSequenceLog(text: string): SequenceLog {
  const [freeze = '', rest] = split(text, /^(?:error: )?@begin$/m);
  const [begin = '', thawing = ''] = split(rest ?? '', /^(?:error: )?@thaw$/m);
  const frozen = /^Froze (\d+) filesystem/m.exec(freeze);
  return {
    frozenCount: Number(frozen?.[1] ?? 0),
    isThawed: /^Thawed \d+ filesystem/m.test(thawing),
    hasReachedBegin: rest !== undefined,
    freezeComplaint:
      frozen === null ? (complaints(freeze).at(-1) ?? 'the guest agent is silent') : null,
    beginComplaint: complaints(begin).join('\n') || null,
  };
}

function split(text: string, mark: RegExp): [string, string | undefined] {
  const found = mark.exec(text);
  if (found === null) return [text, undefined];
  return [text.slice(0, found.index), text.slice(found.index + found[0].length)];
}

function complaints(text: string): string[] {
  return [...text.matchAll(/^error: (.*\S)/gm)].map((found) => found[1] ?? '');
}
