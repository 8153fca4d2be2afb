/** The file that hash records are written to while blocks move (docs/formats/hash-table.md). */
import { writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RECORD_BYTES } from '../hash-table/record.ts';
import { fileError } from './errors.ts';

/** An empty spool at `path`, whatever was there. */
export async function openSpool(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'w');
  } catch (error) {
    throw fileError(path, error);
  }
}

/**
 * Puts whole records at their place. Synchronous on purpose: a few hundred bytes into the page cache cost
 * less than a trip to a thread. Takes a descriptor, because that is what threads can share.
 */
export function writeRecords(
  { descriptor, path }: { readonly descriptor: number; readonly path: string },
  spoolPosition: number,
  records: Buffer,
): void {
  const start = spoolPosition * RECORD_BYTES;
  try {
    for (let at = 0; at < records.length; ) {
      at += writeSync(descriptor, records, at, records.length - at, start + at);
    }
  } catch (error) {
    throw fileError(path, error);
  }
}

/** A new file is durable when its folder is, too. */
export async function makeDurable(file: FileHandle, path: string): Promise<void> {
  try {
    await file.datasync();
    await using folder = await open(dirname(path), 'r');
    await folder.sync();
  } catch (error) {
    throw fileError(path, error);
  }
}
