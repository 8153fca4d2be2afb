/** Turns the record spool of a transfer into the hash table of the layer that it filled. */
import { open } from 'node:fs/promises';
import { blockCount } from '../../domain/bytes.ts';
import { UnderstudyError } from '../../domain/error.ts';
import { openChain, type TableChain } from './layered.ts';
import { blockIndexAt, INDEX_BYTES, isZeroHash, RECORD_BYTES, VOID_INDEX } from './record.ts';
import { appendNodes, chainRoot } from './tree.ts';
import { HashTableWriter } from './writer.ts';

const PAGE_BYTES = 1638 * RECORD_BYTES;

/**
 * Writes the table of a layer over `below` (tables, base first; empty for a new base), durable but for its
 * folder, and returns the hex root of what the disk now reads. May be repeated. Throws `invalid-file`.
 */
export async function sealTable(request: {
  readonly recordsPath: string;
  readonly below: TableChain;
  readonly virtualSizeBytes: number;
  readonly path: string;
}): Promise<string> {
  const { tables, open: opened } = await openChain(request.below);
  await using _opened = opened;
  await using writer = await HashTableWriter.create(request);
  await copySpool(writer, { ...request, isBase: request.below.length === 0 });
  await appendNodes(
    writer,
    tables.map((table) => table.cursor()),
  );
  await writer.finish();
  return await chainRoot([...request.below, request.path], request.virtualSizeBytes);
}

type Spool = {
  readonly recordsPath: string;
  readonly virtualSizeBytes: number;
  readonly isBase: boolean;
};

async function copySpool(writer: HashTableWriter, spool: Spool): Promise<void> {
  await using handle = await openSpool(spool.recordsPath);
  const page = Buffer.allocUnsafeSlow(PAGE_BYTES);
  let carried = 0;
  for (;;) {
    const { bytesRead } = await handle.read(page, carried, PAGE_BYTES - carried, null);
    if (bytesRead === 0) break;
    const filled = carried + bytesRead;
    const whole = filled - (filled % RECORD_BYTES);
    for (let at = 0; at < whole; at += RECORD_BYTES) {
      if (!isWanted(page, at, spool)) continue;
      if (writer.isFull) await writer.flush();
      writer.append(page, at);
    }
    page.copyWithin(0, whole, filled);
    carried = filled - whole;
  }
  if (carried > 0) throw invalidSpool(spool, 'it ends within a record');
}

function isWanted(page: Buffer, at: number, spool: Spool): boolean {
  const blockIndex = blockIndexAt(page, at);
  if (blockIndex === VOID_INDEX) return false;
  if (blockIndex >= blockCount(spool.virtualSizeBytes)) {
    throw invalidSpool(spool, `block ${blockIndex} is beyond the disk`);
  }
  return !(spool.isBase && isZeroHash(page, at + INDEX_BYTES));
}

async function openSpool(path: string) {
  try {
    return await open(path, 'r');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UnderstudyError('invalid-file', { path, reason }, error);
  }
}

function invalidSpool(spool: Spool, reason: string): UnderstudyError {
  return new UnderstudyError('invalid-file', { path: spool.recordsPath, reason });
}
