/**
 * A forward-only walk over the records of a hash table. Block records and node records together are one
 * array in ascending order of their first eight bytes (level, then index), so one cursor serves both: a
 * block is a record of level 0.
 *
 * One page is held. A seek gallops ahead in doubling steps before it bisects, so that dense seeks cost
 * one sequential read of the file and sparse ones a few small reads each, whatever the size of the table.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import type { HashTableHeader } from './record.ts';
import { decodeHeader, HEADER_BYTES, INDEX_BYTES, RECORD_BYTES } from './record.ts';

/** 1,638 records: one read in well under a millisecond. */
const PAGE_RECORDS = Math.floor((64 * 1024) / RECORD_BYTES);
const TWO_POW_32 = 2 ** 32;
const LEVEL_SHIFT = 2 ** 24;

/** The first eight bytes of a record: level (0 for a block) and index. */
export function recordKey(level: number, index: number): Buffer {
  const key = Buffer.alloc(INDEX_BYTES);
  key.writeUInt32BE(level * LEVEL_SHIFT + Math.floor(index / TWO_POW_32), 0);
  key.writeUInt32BE(index % TWO_POW_32, 4);
  return key;
}

export function levelAt(bytes: Buffer, at: number): number {
  return bytes[at] ?? 0;
}

/** The index without the level. */
export function indexAt(bytes: Buffer, at: number): number {
  return (bytes.readUInt32BE(at) % LEVEL_SHIFT) * TWO_POW_32 + bytes.readUInt32BE(at + 4);
}

/** Negative, zero or positive, as the record at `at` lies before, on or after the key at `keyAt`. */
export function compareKeyAt(bytes: Buffer, at: number, key: Buffer, keyAt = 0): number {
  return bytes.compare(key, keyAt, keyAt + INDEX_BYTES, at, at + INDEX_BYTES);
}

type CursorRange = {
  readonly path: string;
  readonly handle: FileHandle;
  /** Positions of records, counted from the end of the header. */
  readonly from: number;
  readonly end: number;
};

export class RecordCursor {
  readonly #range: CursorRange;
  readonly #buffer = Buffer.allocUnsafeSlow(PAGE_RECORDS * RECORD_BYTES);
  #pageStart = 0;
  #pageEnd = 0;
  #position: number;

  /** Over `range` of an open file, which stays the caller's to close. */
  constructor(range: CursorRange) {
    this.#range = range;
    this.#position = range.from;
  }

  get isAtEnd(): boolean {
    return this.#position >= this.#range.end;
  }

  /** True where `load` must be awaited before `bytes` and `at` say anything. */
  get needsPage(): boolean {
    return this.#position >= this.#pageEnd && !this.isAtEnd;
  }

  /** The page; the current record is at `at`. Valid until the next `load` or `seek`. */
  get bytes(): Buffer {
    return this.#buffer;
  }

  get at(): number {
    return (this.#position - this.#pageStart) * RECORD_BYTES;
  }

  advance(): void {
    this.#position += 1;
  }

  /** Brings the current record into memory. Throws `invalid-file` where records do not ascend. */
  async load(): Promise<void> {
    const count = Math.min(PAGE_RECORDS, this.#range.end - this.#position);
    await this.#read(this.#position, this.#buffer.subarray(0, count * RECORD_BYTES));
    this.#pageStart = this.#position;
    this.#pageEnd = this.#position + count;
    for (let at = RECORD_BYTES; at < count * RECORD_BYTES; at += RECORD_BYTES) {
      if (compareKeyAt(this.#buffer, at, this.#buffer, at - RECORD_BYTES) <= 0) {
        throw this.#invalid('its records are not in order');
      }
    }
  }

  /** Moves ahead to the first record that is not before `key`, and loads it. Never moves back. */
  async seek(key: Buffer): Promise<void> {
    if (this.needsPage) await this.load();
    if (this.isAtEnd) return;
    const lastAt = (this.#pageEnd - 1 - this.#pageStart) * RECORD_BYTES;
    if (compareKeyAt(this.#buffer, lastAt, key) < 0) {
      this.#position = await this.#gallop(key);
      if (this.isAtEnd) return;
      await this.load();
    }
    this.#position = this.#searchPage(key);
    if (this.needsPage) await this.load();
  }

  /** A position behind this page, not after the key's place and at most one page before it. */
  async #gallop(key: Buffer): Promise<number> {
    let low = this.#pageEnd;
    let high = low;
    const probe = Buffer.alloc(RECORD_BYTES);
    for (let step = PAGE_RECORDS; high < this.#range.end; step *= 2) {
      high = Math.min(low + step, this.#range.end);
      if (high === this.#range.end) break;
      await this.#read(high, probe);
      if (compareKeyAt(probe, 0, key) >= 0) break;
      low = high + 1;
    }
    while (high - low > PAGE_RECORDS) {
      const middle = Math.floor((low + high) / 2);
      await this.#read(middle, probe);
      if (compareKeyAt(probe, 0, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #searchPage(key: Buffer): number {
    let low = this.#position;
    let high = this.#pageEnd;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const at = (middle - this.#pageStart) * RECORD_BYTES;
      if (compareKeyAt(this.#buffer, at, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async #read(position: number, target: Buffer): Promise<void> {
    const start = HEADER_BYTES + position * RECORD_BYTES;
    let filled = 0;
    while (filled < target.length) {
      const { bytesRead } = await this.#range.handle.read(
        target,
        filled,
        target.length - filled,
        start + filled,
      );
      if (bytesRead === 0) throw this.#invalid('it ended early');
      filled += bytesRead;
    }
  }

  #invalid(reason: string): UnderstudyError {
    return new UnderstudyError('invalid-file', { path: this.#range.path, reason });
  }
}

/** A table file open for walking; every `cursor()` starts at the first block record. */
export interface WalkableTable extends AsyncDisposable {
  readonly header: HashTableHeader;
  cursor(): RecordCursor;
}

/** Opens a table and judges its header. Throws `invalid-file`, also when there is no such file. */
export async function openWalkable(path: string): Promise<WalkableTable> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UnderstudyError('invalid-file', { path, reason }, error);
  });
  try {
    const { size } = await handle.stat();
    const bytes = Buffer.alloc(HEADER_BYTES);
    const { bytesRead } = await handle.read(bytes, 0, HEADER_BYTES, 0);
    const header = decodeHeader(bytes.subarray(0, bytesRead), { path, fileBytes: size });
    const end = header.blockRecordCount + header.nodeRecordCount;
    return {
      header,
      cursor: () => new RecordCursor({ path, handle, from: 0, end }),
      [Symbol.asyncDispose]: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}
