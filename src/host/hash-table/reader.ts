/**
 * Reads a hash table without holding it in memory. Records come as pages: buffers of whole 40-byte records
 * in ascending order, of which only the current one is held. Order and range of the indexes are checked as
 * they pass, so that a damaged table is an error and never a wrong comparison.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { blockCount } from '../../domain/bytes.ts';
import { UnderstudyError } from '../../domain/error.ts';
import type { HashTableHeader } from './record.ts';
import { blockIndexAt, decodeHeader, HEADER_BYTES, hashAt, RECORD_BYTES } from './record.ts';

/** 1,638 records, 102 MiB of disk: one read in well under a millisecond. */
const PAGE_RECORDS = Math.floor((64 * 1024) / RECORD_BYTES);

/** Blocks `fromBlock` up to, not including, `endBlock`. */
export type BlockRange = { readonly fromBlock: number; readonly endBlock: number };

export type BlockRecord = { readonly blockIndex: number; readonly hash: Buffer };

export interface HashTableReader extends AsyncDisposable {
  readonly path: string;
  readonly header: HashTableHeader;
  /** Position (0 … B) of the first record whose index is at least `blockIndex`: a binary search. */
  search(blockIndex: number): Promise<number>;
  /** The hash of one block, or null where the table has no record. The buffer is the caller's. */
  hashOf(blockIndex: number): Promise<Buffer | null>;
  /**
   * Whole block records in ascending order, by default all. A page is valid only until the next one is asked
   * for. Throws `invalid-file` where indexes do not ascend or exceed the disk.
   */
  pages(range?: BlockRange): AsyncGenerator<Buffer, void, undefined>;
  /** The same, record by record; each hash is the caller's to keep. */
  records(range?: BlockRange): AsyncGenerator<BlockRecord, void, undefined>;
  /** Raw node records, in pages as above; their order is not judged. */
  nodePages(): AsyncGenerator<Buffer, void, undefined>;
  close(): Promise<void>;
}

/** Opens a table and judges its header. Throws `invalid-file`, also when there is no such file. */
export async function openHashTable(path: string): Promise<HashTableReader> {
  const handle = await openFile(path);
  try {
    const { size } = await handle.stat();
    const bytes = Buffer.alloc(HEADER_BYTES);
    const { bytesRead } = await handle.read(bytes, 0, HEADER_BYTES, 0);
    const header = decodeHeader(bytes.subarray(0, bytesRead), { path, fileBytes: size });
    return readerOf({ path, handle, header });
  } catch (error) {
    await handle.close();
    throw error;
  }
}

type OpenTable = {
  readonly path: string;
  readonly handle: FileHandle;
  readonly header: HashTableHeader;
};

function readerOf(table: OpenTable): HashTableReader {
  const close = () => table.handle.close();
  return {
    path: table.path,
    header: table.header,
    search: (blockIndex) => search(table, blockIndex),
    hashOf: (blockIndex) => hashOf(table, blockIndex),
    pages: (range) => pages(table, range),
    records: (range) => records(table, range),
    nodePages: () =>
      rawPages(table, {
        from: table.header.blockRecordCount,
        end: table.header.blockRecordCount + table.header.nodeRecordCount,
      }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function search(table: OpenTable, blockIndex: number): Promise<number> {
  let low = 0;
  let high = table.header.blockRecordCount;
  const record = Buffer.alloc(RECORD_BYTES);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    await readRecords(table, middle, record);
    if (blockIndexAt(record, 0) < blockIndex) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function hashOf(table: OpenTable, blockIndex: number): Promise<Buffer | null> {
  const position = await search(table, blockIndex);
  if (position === table.header.blockRecordCount) return null;
  const record = Buffer.alloc(RECORD_BYTES);
  await readRecords(table, position, record);
  return blockIndexAt(record, 0) === blockIndex ? hashAt(record, 0) : null;
}

async function* pages(table: OpenTable, range?: BlockRange): AsyncGenerator<Buffer> {
  const lastBlock = blockCount(table.header.virtualSizeBytes) - 1;
  const from =
    range === undefined || range.fromBlock <= 0 ? 0 : await search(table, range.fromBlock);
  let previous = (range?.fromBlock ?? 0) - 1;
  for await (const page of rawPages(table, { from, end: table.header.blockRecordCount })) {
    let at = 0;
    for (; at < page.length; at += RECORD_BYTES) {
      const blockIndex = blockIndexAt(page, at);
      if (blockIndex <= previous || blockIndex > lastBlock) throw outOfOrder(table.path);
      if (range !== undefined && blockIndex >= range.endBlock) break;
      previous = blockIndex;
    }
    if (at > 0) yield page.subarray(0, at);
    if (at < page.length) return;
  }
}

async function* records(table: OpenTable, range?: BlockRange): AsyncGenerator<BlockRecord> {
  for await (const page of pages(table, range)) {
    for (let at = 0; at < page.length; at += RECORD_BYTES) {
      yield { blockIndex: blockIndexAt(page, at), hash: Buffer.from(hashAt(page, at)) };
    }
  }
}

async function* rawPages(
  table: OpenTable,
  { from, end }: { readonly from: number; readonly end: number },
): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(PAGE_RECORDS * RECORD_BYTES);
  for (let position = from; position < end; position += PAGE_RECORDS) {
    const count = Math.min(PAGE_RECORDS, end - position);
    const page = buffer.subarray(0, count * RECORD_BYTES);
    await readRecords(table, position, page);
    yield page;
  }
}

/** Fills `target` with the records from `position` on. */
async function readRecords(table: OpenTable, position: number, target: Buffer): Promise<void> {
  const start = HEADER_BYTES + position * RECORD_BYTES;
  let filled = 0;
  while (filled < target.length) {
    const { bytesRead } = await table.handle.read(
      target,
      filled,
      target.length - filled,
      start + filled,
    );
    if (bytesRead === 0) {
      throw new UnderstudyError('invalid-file', { path: table.path, reason: 'it ended early' });
    }
    filled += bytesRead;
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UnderstudyError('invalid-file', { path, reason }, error);
  }
}

function outOfOrder(path: string): UnderstudyError {
  return new UnderstudyError('invalid-file', {
    path,
    reason: 'its block records are not in order or exceed the disk',
  });
}
