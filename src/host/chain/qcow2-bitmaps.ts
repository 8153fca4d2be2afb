/**
 * The dirty bitmaps that a qcow2 image carries, told from its own directory: whether a change mark can still be believed,
 * without starting a program. Layout: QEMU docs/interop/qcow2.txt, "Bitmaps extension".
 *
 *   directory entry   table offset 8 │ table entries 4 │ flags 4 │ type 1 │ granularity bits 1 │ name bytes 2 │ extra bytes 4
 *                     extra, name, zeros up to a multiple of 8
 */
import { type FileHandle, open } from 'node:fs/promises';
import { readImageHeader } from './identity.ts';

const ENTRY_BYTES = 24;
const IN_USE = 1;
const AUTO = 2;
const TYPE_DIRTY_TRACKING = 1;
const GRANULARITY_BITS = 16;
/** QEMU's own limit (block/qcow2.h, QCOW2_MAX_BITMAP_DIRECTORY_SIZE). */
const DIRECTORY_BYTES_MAX = 1024 * (1024 + 24);
const TABLE_ENTRY_BYTES = 8;
/** Of a disk of two pebibytes, at a bit for each 64 KiB. */
const TABLE_ENTRIES_MAX = 65_536;

export type StoredBitmap = {
  readonly name: string;
  /** False after a writer died, or one that does not know bitmaps wrote: what it says may lack changes. */
  readonly isConsistent: boolean;
  /** Every writer that knows bitmaps goes on with it. */
  readonly isRecording: boolean;
  /** It holds no change. */
  readonly isEmpty: boolean;
};

/** None where there is no such image. What cannot be read as a directory holds no bitmap to be believed. */
export async function readBitmaps(path: string): Promise<readonly StoredBitmap[]> {
  const place = (await readImageHeader(path))?.bitmaps ?? null;
  if (place === null || place.directoryBytes > DIRECTORY_BYTES_MAX) return [];
  if (!Number.isSafeInteger(place.directoryOffset)) return [];
  const directory = Buffer.alloc(place.directoryBytes);
  await using handle = await open(path, 'r');
  await handle.read(directory, 0, directory.length, place.directoryOffset);
  const bitmaps: StoredBitmap[] = [];
  for (const { name, flags, table } of entriesOf(directory)) {
    bitmaps.push({
      name,
      isConsistent: place.isCurrent && (flags & IN_USE) === 0,
      isRecording: (flags & AUTO) !== 0,
      isEmpty: await isEmpty(handle, table),
    });
  }
  return bitmaps;
}

/** A cluster of bits that are all zero has no place, and an entry of zeros. */
async function isEmpty(handle: FileHandle, { offset, count }: TablePlace): Promise<boolean> {
  if (count > TABLE_ENTRIES_MAX || !Number.isSafeInteger(offset)) return false;
  const table = Buffer.alloc(count * TABLE_ENTRY_BYTES);
  const { bytesRead } = await handle.read(table, 0, table.length, offset);
  return bytesRead === table.length && table.every((byte) => byte === 0);
}

/** Whether the image has a bitmap of this name that tells everything written since it was made. */
export async function hasUsableBitmap(path: string, name: string): Promise<boolean> {
  const bitmap = await bitmapOf(path, name);
  return bitmap !== null && isUsable(bitmap);
}

/** Whether it tells for certain that nothing was. Null: the image has no such bitmap. */
export async function isUnwrittenSince(path: string, name: string): Promise<boolean | null> {
  const bitmap = await bitmapOf(path, name);
  return bitmap === null ? null : isUsable(bitmap) && bitmap.isEmpty;
}

async function bitmapOf(path: string, name: string): Promise<StoredBitmap | null> {
  return (await readBitmaps(path)).find((each) => each.name === name) ?? null;
}

function isUsable({ isConsistent, isRecording }: StoredBitmap): boolean {
  return isConsistent && isRecording;
}

type TablePlace = { readonly offset: number; readonly count: number };
type DirectoryEntry = {
  readonly name: string;
  readonly flags: number;
  readonly table: TablePlace;
};

function* entriesOf(directory: Buffer): Generator<DirectoryEntry> {
  for (let at = 0; at + ENTRY_BYTES <= directory.length; ) {
    const nameBytes = directory.readUInt16BE(at + 18);
    const nameAt = at + ENTRY_BYTES + directory.readUInt32BE(at + 20);
    if (nameAt + nameBytes > directory.length) return;
    yield {
      name: directory.toString('utf8', nameAt, nameAt + nameBytes),
      flags: directory.readUInt32BE(at + 12),
      table: {
        offset: Number(directory.readBigUInt64BE(at)),
        count: directory.readUInt32BE(at + 8),
      },
    };
    at = Math.ceil((nameAt + nameBytes) / 8) * 8;
  }
}

/** Of a bitmap that records from now on, of blocks of 64 KiB. */
export function encodeDirectoryEntry(bitmap: {
  readonly name: string;
  readonly tableOffset: number;
  readonly tableCount: number;
}): Buffer {
  const name = Buffer.from(bitmap.name);
  const entry = Buffer.alloc(Math.ceil((ENTRY_BYTES + name.length) / 8) * 8);
  entry.writeBigUInt64BE(BigInt(bitmap.tableOffset), 0);
  entry.writeUInt32BE(bitmap.tableCount, 8);
  entry.writeUInt32BE(AUTO, 12);
  entry.writeUInt8(TYPE_DIRTY_TRACKING, 16);
  entry.writeUInt8(GRANULARITY_BITS, 17);
  entry.writeUInt16BE(name.length, 18);
  name.copy(entry, ENTRY_BYTES);
  return entry;
}
