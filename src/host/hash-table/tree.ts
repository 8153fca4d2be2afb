/**
 * The tree over the block hashes of a disk and its root (docs/formats/hash-table.md). A sealed layer stores
 * only nodes above blocks it changed; all others are found in the layers below it. So the cost of a root
 * follows what changed, never the size of the disk.
 *
 *   root ── level 3 (1 TiB) ── level 2 (4 GiB) ── level 1 (16 MiB) ── blocks (64 KiB)
 */
import { createHash } from 'node:crypto';
import { blockCount } from '../../domain/bytes.ts';
import { compareKeyAt, indexAt, type RecordCursor, recordKey } from './cursor.ts';
import { openChain, type TableChain } from './layered.ts';
import { HASH_BYTES, INDEX_BYTES, isZeroHash, ZERO_HASH } from './record.ts';
import type { HashTableWriter } from './writer.ts';

const FAN_OUT = 256;
const TOP_LEVEL = 3;
const BLOCKS_PER_TOP_NODE = FAN_OUT ** TOP_LEVEL;

/**
 * Appends the nodes above every block record already in `writer`. `older` walks the tables of the layers
 * below, base first, each at its start.
 */
export async function appendNodes(
  writer: HashTableWriter,
  older: readonly RecordCursor[],
): Promise<void> {
  let from = 0;
  for (let level = 1; level <= TOP_LEVEL; level += 1) {
    const end = writer.count;
    await appendLevel({ writer, older, level, children: await writer.cursor(from, end) });
    from = end;
  }
}

async function appendLevel(pass: {
  readonly writer: HashTableWriter;
  readonly older: readonly RecordCursor[];
  readonly level: number;
  /** This layer's own records of the level below. */
  readonly children: RecordCursor;
}): Promise<void> {
  const { writer, older, level, children } = pass;
  const hashes = Buffer.alloc(FAN_OUT * HASH_BYTES);
  while (!children.isAtEnd) {
    if (children.needsPage) await children.load();
    const index = Math.floor(indexAt(children.bytes, children.at) / FAN_OUT);
    hashes.fill(0);
    for (const cursor of older) await gatherChildren(cursor, level, index, hashes);
    await gatherChildren(children, level, index, hashes);
    await writer.appendNode(level, index, nodeHash(hashes));
  }
}

/** Puts the hashes that `cursor` knows of the children of one node into their places. */
async function gatherChildren(
  cursor: RecordCursor,
  level: number,
  index: number,
  hashes: Buffer,
): Promise<void> {
  const firstChild = index * FAN_OUT;
  await cursor.seek(recordKey(level - 1, firstChild));
  const end = recordKey(level - 1, firstChild + FAN_OUT);
  while (!cursor.isAtEnd) {
    if (cursor.needsPage) await cursor.load();
    const { bytes, at } = cursor;
    if (compareKeyAt(bytes, at, end) >= 0) return;
    const place = (indexAt(bytes, at) - firstChild) * HASH_BYTES;
    bytes.copy(hashes, place, at + INDEX_BYTES, at + INDEX_BYTES + HASH_BYTES);
    cursor.advance();
  }
}

/** Of the hashes of all children in order; zero when they all are. */
function nodeHash(hashes: Buffer): Readonly<Buffer> {
  for (let at = 0; at < hashes.length; at += HASH_BYTES) {
    if (!isZeroHash(hashes, at)) return createHash('sha256').update(hashes).digest();
  }
  return ZERO_HASH;
}

/** The root of what a chain reads, in hex. Throws `invalid-file`. */
export async function chainRoot(chain: TableChain, virtualSizeBytes: number): Promise<string> {
  const { tables, open } = await openChain(chain);
  await using _open = open;
  const cursors = tables.map((table) => table.cursor());
  const root = diskRootHash(virtualSizeBytes);
  for (let index = 0; index * BLOCKS_PER_TOP_NODE < blockCount(virtualSizeBytes); index += 1) {
    root.update(await topNode(cursors, index));
  }
  return root.digest('hex');
}

async function topNode(cursors: readonly RecordCursor[], index: number): Promise<Uint8Array> {
  const key = recordKey(TOP_LEVEL, index);
  let hash: Uint8Array = ZERO_HASH;
  for (const cursor of cursors) {
    await cursor.seek(key);
    if (cursor.isAtEnd || compareKeyAt(cursor.bytes, cursor.at, key) !== 0) continue;
    hash = Buffer.from(cursor.bytes.subarray(cursor.at + INDEX_BYTES)).subarray(0, HASH_BYTES);
  }
  return hash;
}

function diskRootHash(virtualSizeBytes: number) {
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(virtualSizeBytes));
  return createHash('sha256').update('understudy-disk-1').update(size);
}

/** The root of a restore point, in hex, from the hex roots of its disks. */
export function pointRoot(disks: readonly { readonly key: string; readonly rootHash: string }[]) {
  const root = createHash('sha256');
  const ordered = disks.toSorted((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  for (const disk of ordered) {
    root.update(disk.key).update(Buffer.of(0)).update(Buffer.from(disk.rootHash, 'hex'));
  }
  return root.digest('hex');
}
