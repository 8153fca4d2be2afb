/**
 * The XML of libvirt's pull backups and checkpoints (formatbackup.html, formatcheckpoint.html), built and read through
 * a DOM. Pure. A disk that is not listed takes part in neither; we list exactly those that we read.
 */
import type { DiskKey, MarkName } from '../../domain/ids.ts';
import {
  append,
  attribute,
  child,
  createRoot,
  find,
  findAll,
  parseRoot,
  serialiseXml,
} from './xml.ts';

export type BackupDisk = {
  readonly key: DiskKey;
  /** Where old blocks are kept; must not exist yet. */
  readonly scratchPath: string;
  /** Also export what changed since this mark; null: the whole disk only. */
  readonly since: MarkName | null;
};

/** The name under which the changes of a disk are exported beside it. */
export const CHANGES_BITMAP = 'since';

/** One job over all disks, which mixes full and incremental per disk; exports are named by the disk. */
export function backupXml(request: {
  readonly socketPath: string;
  readonly disks: readonly BackupDisk[];
}): string {
  const root = createRoot('domainbackup', { mode: 'pull' });
  append(root, 'server', { transport: 'unix', socket: request.socketPath });
  const disks = append(root, 'disks');
  for (const { key, scratchPath, since } of request.disks) {
    const disk = append(disks, 'disk', {
      name: key,
      backup: 'yes',
      type: 'file',
      exportname: key,
      backupmode: since === null ? 'full' : 'incremental',
      incremental: since,
      exportbitmap: since === null ? null : CHANGES_BITMAP,
    });
    append(disk, 'driver', { type: 'qcow2' });
    append(disk, 'scratch', { file: scratchPath });
  }
  return serialiseXml(root);
}

export type MarkDefinition = {
  readonly mark: MarkName;
  /** The disks that carry it, each in a bitmap of the same name. */
  readonly disks: readonly string[];
  /** Only for a mark whose bitmaps exist already (`--redefine`): libvirt wants to know its age and place. */
  readonly existing?: { readonly createdAtSeconds: number; readonly parent: string | null };
};

export function markXml({ mark, disks, existing }: MarkDefinition): string {
  const root = createRoot('domaincheckpoint');
  append(root, 'name', {}, mark);
  if (existing !== undefined) {
    if (existing.parent !== null) {
      append(append(root, 'parent'), 'name', {}, existing.parent);
    }
    append(root, 'creationTime', {}, String(existing.createdAtSeconds));
  }
  const list = append(root, 'disks');
  for (const name of disks) append(list, 'disk', { name, checkpoint: 'bitmap', bitmap: mark });
  return serialiseXml(root);
}

/** The socket of a running pull backup, by which ours is told from others; null for a push job or one over TCP. */
export function readBackupSocket(text: string, subject: string): string | null {
  const root = parseRoot(text, 'domainbackup', subject);
  if (attribute(root, 'mode') !== 'pull') return null;
  return attribute(child(root, 'server'), 'socket');
}

/** What libvirt recorded about a mark. */
export function readMark(
  text: string,
  subject: string,
): { readonly disks: string[]; readonly createdAtSeconds: number; readonly parent: string | null } {
  const root = parseRoot(text, 'domaincheckpoint', subject);
  const disks = findAll(root, 'disks/disk')
    .filter((disk) => attribute(disk, 'checkpoint') === 'bitmap')
    .map((disk) => attribute(disk, 'name') ?? '');
  const seconds = Number(find(root, 'creationTime')?.textContent ?? '0');
  return {
    disks: disks.filter((name) => name !== ''),
    createdAtSeconds: Number.isSafeInteger(seconds) ? seconds : 0,
    parent: find(root, 'parent/name')?.textContent ?? null,
  };
}
