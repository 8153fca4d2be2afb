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
import { lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import type { DiskKey, MarkName, OperationKey, VmId } from '../../domain/ids.ts';
import type { BlockEndpoint } from '../../ports/mover.ts';
import type { FrozenDisk, FrozenPoint } from '../../ports/point-source.ts';
import type { ProcessIdentity } from '../../ports/processes.ts';
import * as text from '../file-parsing.ts';
import { hasCode } from './errors.ts';
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

const endpoint: z.ZodType<BlockEndpoint> = z.object({
  address: z.discriminatedUnion('type', [
    z.object({ type: z.literal('unix'), path: z.string() }),
    z.object({ type: z.literal('tcp'), host: z.string(), port: text.count }),
  ]),
  exportName: z.string(),
});

const frozenDisk: z.ZodType<FrozenDisk> = z.object({
  key: text.diskKeyText,
  sizeBytes: text.byteCount,
  tracksChanges: z.boolean(),
  found: z.discriminatedUnion('type', [
    z.object({ type: z.literal('changed'), since: text.markNameText }),
    z.object({ type: z.literal('allocated'), markLostBecause: z.string().nullable() }),
  ]),
  endpoint,
  extents: z.discriminatedUnion('type', [
    z.object({ type: z.literal('allocated') }),
    z.object({ type: z.literal('changed'), metaContext: z.string() }),
  ]),
  mark: text.markNameText.nullable(),
});

const frozenPoint: z.ZodType<FrozenPoint> = z.object({
  takenAt: text.moment,
  consistency: z.enum(['crash', 'application']),
  consistencyNote: z.string().nullable(),
  vm: text.vmDescription,
  disks: z.array(frozenDisk),
  sidecars: z.array(z.object({ name: z.enum(['nvram', 'tpm']), path: z.string() })),
});

const recordFile: z.ZodType<FreezeRecord> = z.object({
  format: z.literal(1),
  key: z.string().transform((key) => key as OperationKey),
  vmId: text.vmIdText,
  mark: text.markNameText,
  kind: z.enum(['running', 'off']),
  isQuiesced: z.boolean(),
  quotaBytes: text.byteCount,
  process: text.processIdentity.nullable(),
  generation: z.array(z.object({ path: z.string(), seen: z.string() })),
  point: frozenPoint.nullable(),
});

const RECORD = /^([0-9a-f]{16})\.json$/;

/** Short, because a socket's path has at most 107 bytes. */
export function freezePlaces(scratchFolder: string, key: OperationKey): FreezePlaces {
  const id = idOf(key);
  const folder = join(scratchFolder, id);
  return {
    id,
    folder,
    socketPath: join(folder, 'nbd'),
    ownFolder: join(scratchFolder, `${id}.own`),
    recordPath: join(scratchFolder, `${id}.json`),
  };
}

function idOf(key: OperationKey): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 16);
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

/** Null when there is none, or what is there is none: a damaged one, or one of another version of us. */
export async function readRecord(recordPath: string): Promise<FreezeRecord | null> {
  try {
    const record = recordFile.safeParse(await text.readJson(recordPath));
    // One of another key would lead to the places of another freeze.
    const isHere = record.success && basename(recordPath) === `${idOf(record.data.key)}.json`;
    return isHere ? record.data : null;
  } catch (error) {
    if (hasCode(error, 'invalid-file')) return null;
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
