/**
 * Writes a hash table: records are appended in ascending order, then the header is put in front, the file
 * made durable and renamed into place. Until the rename the table does not exist; the name's own durability
 * (fsync of the folder) is left to the caller, who usually has more to rename.
 */
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import { compareKeyAt, levelAt, RecordCursor, recordKey } from './cursor.ts';
import { encodeHeader, HASH_BYTES, HEADER_BYTES, INDEX_BYTES, RECORD_BYTES } from './record.ts';

const BUFFER_RECORDS = Math.floor((64 * 1024) / RECORD_BYTES);

export class HashTableWriter {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #virtualSizeBytes: number;
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_RECORDS * RECORD_BYTES);
  readonly #lastKey = Buffer.alloc(INDEX_BYTES);
  #buffered = 0;
  #flushed = 0;
  #blockRecords = 0;
  #isClosed = false;

  private constructor(options: { path: string; handle: FileHandle; virtualSizeBytes: number }) {
    this.#path = options.path;
    this.#handle = options.handle;
    this.#virtualSizeBytes = options.virtualSizeBytes;
  }

  static async create(options: {
    readonly path: string;
    readonly virtualSizeBytes: number;
  }): Promise<HashTableWriter> {
    const handle = await open(unfinishedPath(options.path), 'w+', 0o644);
    return new HashTableWriter({ ...options, handle });
  }

  /** Records appended so far. */
  get count(): number {
    return this.#flushed + this.#buffered;
  }

  /** True when `flush` must be awaited before the next append. */
  get isFull(): boolean {
    return this.#buffered === BUFFER_RECORDS;
  }

  /** Copies the 40-byte record at `at`. Throws `invalid-file` when it is not after the one before. */
  append(bytes: Buffer, at: number): void {
    if (this.count > 0 && compareKeyAt(bytes, at, this.#lastKey) <= 0) {
      throw new UnderstudyError('invalid-file', {
        path: this.#path,
        reason: 'its records would not be in order',
      });
    }
    bytes.copy(this.#buffer, this.#buffered * RECORD_BYTES, at, at + RECORD_BYTES);
    bytes.copy(this.#lastKey, 0, at, at + INDEX_BYTES);
    if (levelAt(bytes, at) === 0) this.#blockRecords += 1;
    this.#buffered += 1;
  }

  async appendNode(level: number, index: number, hash: Readonly<Uint8Array>): Promise<void> {
    if (this.isFull) await this.flush();
    const record = Buffer.alloc(RECORD_BYTES);
    recordKey(level, index).copy(record);
    record.set(hash.subarray(0, HASH_BYTES), INDEX_BYTES);
    this.append(record, 0);
  }

  async flush(): Promise<void> {
    const pending = this.#buffer.subarray(0, this.#buffered * RECORD_BYTES);
    const start = HEADER_BYTES + this.#flushed * RECORD_BYTES;
    let written = 0;
    while (written < pending.length) {
      const { bytesWritten } = await this.#handle.write(
        pending,
        written,
        pending.length - written,
        start + written,
      );
      written += bytesWritten;
    }
    this.#flushed += this.#buffered;
    this.#buffered = 0;
  }

  /** Over records already appended, counted from 0; flushes first. */
  async cursor(from: number, end: number): Promise<RecordCursor> {
    await this.flush();
    return new RecordCursor({ path: this.#path, handle: this.#handle, from, end });
  }

  /** Makes the table durable under its own name, replacing an older one. */
  async finish(): Promise<void> {
    await this.flush();
    const header = encodeHeader({
      virtualSizeBytes: this.#virtualSizeBytes,
      blockRecordCount: this.#blockRecords,
      nodeRecordCount: this.count - this.#blockRecords,
    });
    await this.#handle.write(header, 0, HEADER_BYTES, 0);
    await this.#handle.datasync();
    await this.#handle.close();
    this.#isClosed = true;
    await rename(unfinishedPath(this.#path), this.#path);
  }

  /** Without `finish` before it: gives up and leaves nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#handle.close();
    await unlink(unfinishedPath(this.#path));
  }
}

/** What a table is called until it is complete. */
function unfinishedPath(path: string): string {
  return `${path}.new`;
}
