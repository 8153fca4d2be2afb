/**
 * The commands by which `virsh` freezes a guest, begins a backup and thaws it again, and what their log tells of them.
 * virsh goes on when a command of it fails; between them it says to the log how far it is.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { VmId } from '../../domain/ids.ts';
import { isThere } from '../is-there.ts';

/** Whether the guest's file systems are held after a sequence. Where it is not told, the guest may freeze even later. */
export type Hold = 'frozen' | 'unknown' | 'unlikely' | 'none';

export type SequenceLog = {
  readonly frozenCount: number;
  readonly isThawed: boolean;
  readonly hasReachedBegin: boolean;
  /** Its last command is over, too. */
  readonly hasEnded: boolean;
  readonly hold: Hold;
  /** Why freezing failed; null when it did not. */
  readonly freezeComplaint: string | null;
  /** What was said on refusing the backup; null when it was not refused. */
  readonly beginComplaint: string | null;
};

/** Nothing was sent to the agent, or the agent itself said no, which then holds nothing. */
const REFUSED =
  /guest agent is not con(?:nected|figured)|unable to execute qemu agent command|domain is not running|cannot acquire state change lock|^domain not found|^failed to get domain/i;

/**
 * Nobody answered before freezing, and so it was not asked of the guest: unless somebody has shortened libvirt's patience
 * (`virsh guest-agent-timeout`), for then it also says so of a guest that takes longer to freeze.
 */
const SILENT = /guest agent not available for now/i;

/** The files are the backup's XML and, if it sets one, the mark's. */
export function sequence(vmId: VmId, files: readonly string[]): string {
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

export function sequenceLogPath(ownFolder: string): string {
  return join(ownFolder, 'quiesce.log');
}

/** Null when no sequence was begun. */
export async function readSequenceLog(ownFolder: string): Promise<SequenceLog | null> {
  const path = sequenceLogPath(ownFolder);
  return (await isThere(path)) ? parseSequenceLog(await readFile(path, 'utf8')) : null;
}

export function parseSequenceLog(text: string): SequenceLog {
  const [freeze = '', rest] = split(text, /^(?:error: )?@begin$/m);
  const [begin = '', thawing = ''] = split(rest ?? '', /^(?:error: )?@thaw$/m);
  const frozen = /^Froze (\d+) filesystem/m.exec(freeze)?.[1] ?? null;
  const isThawed = /^Thawed \d+ filesystem/m.test(thawing);
  const complaint = complaints(freeze).at(-1) ?? null;
  return {
    frozenCount: Number(frozen ?? 0),
    isThawed,
    hasReachedBegin: rest !== undefined,
    hasEnded: isThawed || complaints(thawing).length > 0,
    hold: isThawed ? 'none' : holdAfter(frozen, complaint),
    freezeComplaint: frozen === null ? (complaint ?? 'the guest agent is silent') : null,
    beginComplaint: complaints(begin).join('\n') || null,
  };
}

function holdAfter(frozen: string | null, complaint: string | null): Hold {
  if (frozen !== null) return Number(frozen) > 0 ? 'frozen' : 'none';
  if (complaint === null) return 'unknown';
  if (REFUSED.test(complaint)) return 'none';
  return SILENT.test(complaint) ? 'unlikely' : 'unknown';
}

function split(text: string, mark: RegExp): [string, string | undefined] {
  const found = mark.exec(text);
  if (found === null) return [text, undefined];
  return [text.slice(0, found.index), text.slice(found.index + found[0].length)];
}

function complaints(text: string): string[] {
  return [...text.matchAll(/^error: (.*\S)/gm)].map((found) => found[1] ?? '');
}
