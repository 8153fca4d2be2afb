/**
 * What a chain of layers reads, told from their hash tables: for each record the newest layer that has one
 * decides. Everything streams: memory is one page per layer.
 */
import type { RecordCursor, WalkableTable } from './cursor.ts';
import { compareKeyAt, indexAt, levelAt, openWalkable } from './cursor.ts';
import { INDEX_BYTES, isZeroHash } from './record.ts';
import { HashTableWriter } from './writer.ts';

/** Tables from the base to the newest layer. */
export type TableChain = readonly string[];

/** Opens every table of the chain; disposing the stack closes them. Throws `invalid-file`. */
export async function openChain(
  chain: TableChain,
): Promise<{ readonly tables: readonly WalkableTable[]; readonly open: AsyncDisposableStack }> {
  const open = new AsyncDisposableStack();
  try {
    const tables: WalkableTable[] = [];
    for (const path of chain) tables.push(open.use(await openWalkable(path)));
    return { tables, open };
  } catch (error) {
    await open.disposeAsync();
    throw error;
  }
}

/** Writes the whole-disk table of a chain: block records only, none for zeros. The folder is not synced. */
export async function flattenChain(request: {
  readonly chain: TableChain;
  readonly virtualSizeBytes: number;
  readonly path: string;
}): Promise<void> {
  const { tables, open } = await openChain(request.chain);
  await using _open = open;
  await using writer = await HashTableWriter.create(request);
  await copyMerged({ cursors: tables.map((table) => table.cursor()), writer, wants: isContent });
  await writer.finish();
}

/**
 * Writes the table of two adjacent layers made one: the newer's records over the older's, nodes included.
 * `path` may be that of the older one. Merging the newer over an already merged table gives the same table.
 */
export async function mergeTables(request: {
  readonly older: string;
  readonly newer: string;
  /** Nothing is below the older layer: zeros hide nothing and need no record. */
  readonly isBase: boolean;
  readonly path: string;
}): Promise<void> {
  const { tables, open } = await openChain([request.older, request.newer]);
  await using _open = open;
  const virtualSizeBytes = Math.max(...tables.map((table) => table.header.virtualSizeBytes));
  await using writer = await HashTableWriter.create({ path: request.path, virtualSizeBytes });
  const wants = request.isBase ? isNotZero : isAny;
  await copyMerged({ cursors: tables.map((table) => table.cursor()), writer, wants });
  await writer.finish();
}

/**
 * Calls `visit` with each block that a chain reads content from (no zeros), in ascending order, until it answers false.
 * `isTop`: the newest layer of the chain is the one that holds it. Throws `invalid-file`.
 */
export async function visitContent(
  chain: TableChain,
  visit: (blockIndex: number, isTop: boolean) => boolean | Promise<boolean>,
): Promise<void> {
  const { tables, open } = await openChain(chain);
  await using _open = open;
  const cursors = tables.map((table) => table.cursor());
  await walkMerged(cursors, ({ bytes, at }, isTop) => {
    const wanted = isContent(bytes, at);
    return wanted === 'copy' ? visit(indexAt(bytes, at), isTop) : wanted === 'skip';
  });
}

/** `skip` leaves a record out, `stop` ends the walk: no later record is wanted either. */
type Wanted = 'copy' | 'skip' | 'stop';
type Wants = (bytes: Buffer, at: number) => Wanted;

const isAny: Wants = () => 'copy';
const isNotZero: Wants = (bytes, at) => (isZeroHash(bytes, at + INDEX_BYTES) ? 'skip' : 'copy');
const isContent: Wants = (bytes, at) => (levelAt(bytes, at) > 0 ? 'stop' : isNotZero(bytes, at));

async function copyMerged(walk: {
  readonly cursors: readonly RecordCursor[];
  readonly writer: HashTableWriter;
  readonly wants: Wants;
}): Promise<void> {
  const { cursors, writer, wants } = walk;
  await walkMerged(cursors, ({ bytes, at }) => {
    const wanted = wants(bytes, at);
    if (wanted !== 'copy') return wanted === 'skip';
    if (!writer.isFull) {
      writer.append(bytes, at);
      return true;
    }
    return writer.flush().then(() => {
      writer.append(bytes, at);
      return true;
    });
  });
}

/** Visits the newest record of each key in ascending order, until one answers false. */
async function walkMerged(
  cursors: readonly RecordCursor[],
  visit: (newest: RecordCursor, isTop: boolean) => boolean | Promise<boolean>,
): Promise<void> {
  const top = cursors.at(-1);
  for (;;) {
    for (const cursor of cursors) if (cursor.needsPage) await cursor.load();
    const newest = firstRecord(cursors);
    if (newest === null) return;
    const goesOn = visit(newest, newest === top);
    // Awaited only where it must be: a table has millions of records.
    if (!(typeof goesOn === 'boolean' ? goesOn : await goesOn)) return;
    advancePast(cursors, newest);
  }
}

/** The cursor with the lowest key; of equal ones the newest layer's, which is the last. */
function firstRecord(cursors: readonly RecordCursor[]): RecordCursor | null {
  let first: RecordCursor | null = null;
  for (const cursor of cursors) {
    if (cursor.isAtEnd) continue;
    if (first === null || compareKeyAt(cursor.bytes, cursor.at, first.bytes, first.at) <= 0) {
      first = cursor;
    }
  }
  return first;
}

/** Older layers' records of the same key are hidden by the newest one's. */
function advancePast(cursors: readonly RecordCursor[], newest: RecordCursor): void {
  for (const cursor of cursors) {
    if (cursor === newest || cursor.isAtEnd) continue;
    if (compareKeyAt(cursor.bytes, cursor.at, newest.bytes, newest.at) === 0) cursor.advance();
  }
  newest.advance();
}
