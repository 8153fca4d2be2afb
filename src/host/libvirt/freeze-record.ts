/**
 * What is known about a freeze outside this process: written before anything of it is made, so that whatever a crash
 * leaves can be found and ended.
 *
 *   <scratch>/<id>.json    the record; id is a hash of the operation key
 *   <scratch>/<id>/        belongs to QEMU's user: old blocks, the NBD socket
 *   <scratch>/<id>.own/    ours alone: logs, XML for a quiesced start, sidecars
 *
 * The record is not inside QEMU's folder: a guest that broke out of its QEMU must not tell us what to do.
 */
import { createHash } from 'node:crypto';
import { lstat, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskKey, MarkName, OperationKey, VmId } from '../../domain/ids.ts';
import type { FrozenPoint } from '../../ports/point-source.ts';
import type { ProcessIdentity } from '../../ports/processes.ts';
import type { FileGeneration } from './offline-generation.ts';

export type FreezeRecord = {
  readonly format: 1;
  readonly key: OperationKey;
  readonly vmId: VmId;
  readonly mark: MarkName;
  /** Whether QEMU itself serves the frozen view, or we do because the VM is off. */
  readonly kind: 'running' | 'off';
  readonly isQuiesced: boolean;
  /** At most this much of old blocks, decided when the freeze began. */
  readonly quotaBytes: number;
  /** A process of ours that works for this freeze; null when none was started yet. */
  readonly process: ProcessIdentity | null;
  /** Of the disks' files; only for a VM that is off. */
  readonly generation: readonly FileGeneration[];
  /** Null until the instant is frozen: a freeze without it is worthless and is ended. */
  readonly point: FrozenPoint | null;
};

export type FreezePlaces = {
  readonly id: string;
  /** QEMU's. */
  readonly folder: string;
  readonly socketPath: string;
  /** Ours. */
  readonly ownFolder: string;
  readonly recordPath: string;
};

const RECORD = /^([0-9a-f]{16})\.json$/;

/** Short, because a socket's path has at most 107 bytes. */
export function freezePlaces(scratchFolder: string, key: OperationKey): FreezePlaces {
  const id = createHash('sha256').update(key).digest('hex').slice(0, 16);
  const folder = join(scratchFolder, id);
  return {
    id,
    folder,
    socketPath: join(folder, 'nbd'),
    ownFolder: join(scratchFolder, `${id}.own`),
    recordPath: join(scratchFolder, `${id}.json`),
  };
}

export function scratchPath(places: FreezePlaces, disk: DiskKey): string {
  return join(places.folder, `${disk}.qcow2`);
}

/** Durable when it resolves. */
export async function writeRecord(places: FreezePlaces, record: FreezeRecord): Promise<void> {
  const temporary = `${places.recordPath}.new`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(JSON.stringify(record));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, places.recordPath);
}

/** Null when there is none. */
export async function readRecord(recordPath: string): Promise<FreezeRecord | null> {
  try {
    return parseRecord(await readFile(recordPath, 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

/** Every freeze of this VM that was begun here and not ended. */
export async function recordsOf(scratchFolder: string, vmId: VmId): Promise<FreezeRecord[]> {
  const names = await readdir(scratchFolder).catch(() => []);
  const records: FreezeRecord[] = [];
  for (const name of names.filter((candidate) => RECORD.test(candidate)).sort()) {
    const record = await readRecord(join(scratchFolder, name));
    if (record?.vmId === vmId) records.push(record);
  }
  return records;
}

export async function makeOwnFolder({ ownFolder }: FreezePlaces): Promise<void> {
  await mkdir(ownFolder, { recursive: true, mode: 0o700 });
}

export async function hasFolders({ folder, ownFolder }: FreezePlaces): Promise<boolean> {
  const found = await Promise.all([folder, ownFolder].map((path) => lstat(path).catch(() => null)));
  return found.some((entry) => entry !== null);
}

/** The record goes last: while anything is left, it can be found. */
export async function removePlaces(places: FreezePlaces): Promise<void> {
  await rm(places.folder, { recursive: true, force: true });
  await rm(places.ownFolder, { recursive: true, force: true });
  await rm(`${places.recordPath}.new`, { force: true });
  await rm(places.recordPath, { force: true });
}

/** Written by us alone and replaced atomically; a record of another format is from another version of us. */
export function parseRecord(text: string): FreezeRecord | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const record = value as Partial<FreezeRecord>;
  const isOurs =
    record.format === 1 &&
    typeof record.key === 'string' &&
    typeof record.vmId === 'string' &&
    typeof record.quotaBytes === 'number' &&
    Array.isArray(record.generation);
  return isOurs ? (value as FreezeRecord) : null;
}
