import { type HashTableReader, openHashTable } from '../hash-table/reader.ts';
import {
  blockIndexAt,
  HASH_BYTES,
  hashAt,
  isZeroHash,
  RECORD_BYTES,
} from '../hash-table/record.ts';

/**
 * A hash table read once from its beginning to its end, in step with ascending blocks: each question must
 * be about blocks behind those of the one before. Holds one page of records.
 */
export class KnownHashes implements AsyncDisposable {
  readonly #reader: HashTableReader;
  readonly #pages: AsyncGenerator<Buffer>;
  #page: Buffer = Buffer.alloc(0);
  #at = 0;
  #isAtEnd = false;

  constructor(reader: HashTableReader) {
    this.#reader = reader;
    this.#pages = reader.pages();
  }

  static async open(path: string): Promise<KnownHashes> {
    return new KnownHashes(await openHashTable(path));
  }

  /** Hashes of `blockCount` blocks, 32 bytes each; zeros where there is no record. */
  async hashesOf(firstBlock: number, blockCount: number): Promise<Buffer> {
    const hashes = Buffer.alloc(blockCount * HASH_BYTES);
    const endBlock = firstBlock + blockCount;
    while (await this.#hasRecordBefore(endBlock)) {
      const block = blockIndexAt(this.#page, this.#at);
      if (block >= firstBlock)
        hashAt(this.#page, this.#at).copy(hashes, (block - firstBlock) * HASH_BYTES);
      this.#at += RECORD_BYTES;
    }
    return hashes;
  }

  /**
   * The next run of adjacent blocks before `endBlock` that are not zero, at most `blockCountMax` long; null
   * when there is none. `hashes` has 32 bytes for each of them.
   */
  async nextContent(
    endBlock: number,
    blockCountMax: number,
  ): Promise<{ readonly firstBlock: number; readonly hashes: Buffer } | null> {
    const hashes: Buffer[] = [];
    let firstBlock = -1;
    while (hashes.length < blockCountMax && (await this.#hasRecordBefore(endBlock))) {
      const block = blockIndexAt(this.#page, this.#at);
      const hash = hashAt(this.#page, this.#at);
      const isContent = !isZeroHash(hash);
      if (hashes.length > 0 && (block !== firstBlock + hashes.length || !isContent)) break;
      if (isContent) {
        if (hashes.length === 0) firstBlock = block;
        hashes.push(Buffer.from(hash));
      }
      this.#at += RECORD_BYTES;
    }
    return hashes.length === 0 ? null : { firstBlock, hashes: Buffer.concat(hashes) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.close();
  }

  async #hasRecordBefore(endBlock: number): Promise<boolean> {
    if (this.#at >= this.#page.length && !this.#isAtEnd) {
      const next = await this.#pages.next();
      this.#isAtEnd = next.done === true;
      this.#page = next.done ? Buffer.alloc(0) : next.value;
      this.#at = 0;
    }
    return this.#at < this.#page.length && blockIndexAt(this.#page, this.#at) < endBlock;
  }
}
