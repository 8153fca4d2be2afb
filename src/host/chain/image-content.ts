/**
 * Whether an image's own tables, as they are in its file, hold every block that they must. Nothing is read through
 * QEMU and no content is looked at: the question is only whether what was written has found its way into the file. A QEMU
 * keeps tables in memory until it is flushed; one that was killed, or could not write them, leaves a file that is
 * sound by every other sign and reads as zeros.
 *
 *   header → L1 table → L2 table (512 MiB of disk each) → cluster        QEMU docs/interop/qcow2.txt
 */
import { type FileHandle, open } from 'node:fs/promises';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { UnderstudyError } from '../../domain/error.ts';
import { type TableChain, visitContent } from '../hash-table/layered.ts';
import { readImageHeader } from './identity.ts';
import type { Holdings } from './image-ranges.ts';
import type { ClusterLayout, Qcow2Header } from './qcow2-header.ts';

const ENTRY_BYTES = 8;
/** QEMU's own limit (block/qcow2.h, QCOW_MAX_L1_SIZE). */
const L1_BYTES_MAX = 32 * 1024 * 1024;

export type WantedContent = {
  /** For people: what does not read back when it is not there. */
  readonly what: string;
  readonly path: string;
  /** Tables of what the image must hold, base first. Blocks of zeros are not asked for. */
  readonly tables: TableChain;
  /** Blocks that something between it and those layers decides: they are not asked for here. */
  readonly held?: Holdings | null;
};

/** Throws `verification-failed` naming the first block that is not in the file; `invalid-file` for a bad table. */
export async function requireContent({ what, path, tables, held }: WantedContent): Promise<void> {
  const header = await readImageHeader(path);
  if (header === null) throw failed(what, `${path} is not a qcow2 image`);
  if (header.isCorrupt) throw failed(what, `QEMU marked ${path} as corrupt`);
  if (!header.clusters.isPlain) throw failed(what, `${path} has features that we do not know`);
  const isMissing = (isPresent: boolean, _isTop: boolean, block: number) =>
    !isPresent && (held?.[block] ?? 0) === 0;
  const missing = await firstBlock(path, header, tables, isMissing);
  if (missing === null) return;
  throw failed(what, `block ${missing} is not in ${path}: it was never flushed, or was lost`);
}

/**
 * Whether the image of a layer hides content below it without having recorded that, as after somebody trimmed or cleared
 * a part of it: read alone it has not changed, because its zeros look like what it does not hold.
 */
export async function hidesContent({
  path,
  tables,
}: Omit<WantedContent, 'what'>): Promise<boolean> {
  const header = await readImageHeader(path);
  if (!header?.clusters.isPlain || header.clusters.clusterBytes !== BLOCK_BYTES) return true;
  const hides = (isPresent: boolean, isTop: boolean) => isPresent && !isTop;
  return (await firstBlock(path, header, tables, hides)) !== null;
}

/** The first block with content of which that is so. */
async function firstBlock(
  path: string,
  { clusters, virtualSizeBytes }: Qcow2Header,
  tables: TableChain,
  isSo: (isPresent: boolean, isTop: boolean, blockIndex: number) => boolean,
): Promise<number | null> {
  await using handle = await open(path, 'r');
  const present = await presence(handle, clusters);
  let found: number | null = null;
  await visitContent(tables, (blockIndex, isTop) => {
    const start = blockIndex * BLOCK_BYTES;
    if (start >= virtualSizeBytes) return false;
    const goesOn = (isPresent: boolean) => {
      if (isSo(isPresent, isTop, blockIndex)) found = blockIndex;
      return found === null;
    };
    const answer = present(start, Math.min(start + BLOCK_BYTES, virtualSizeBytes));
    return typeof answer === 'boolean' ? goesOn(answer) : answer.then(goesOn);
  });
  return found;
}

function failed(what: string, reason: string): UnderstudyError {
  return new UnderstudyError('verification-failed', { what, reason });
}

type Presence = (start: number, end: number) => boolean | Promise<boolean>;

/** Answers at once while it is asked about one L2 table, which it keeps. */
async function presence(handle: FileHandle, layout: ClusterLayout): Promise<Presence> {
  const { clusterBytes, l1Offset, l1Count } = layout;
  const l1Bytes = Math.min(l1Count * ENTRY_BYTES, L1_BYTES_MAX);
  const l1 = await readAt(handle, l1Offset, Buffer.alloc(l1Bytes));
  const l2 = Buffer.alloc(clusterBytes);
  const perTable = clusterBytes / ENTRY_BYTES;
  let current = -1;
  const load = async (table: number): Promise<void> => {
    const offset = table * ENTRY_BYTES < l1Bytes ? hostOffset(l1, table * ENTRY_BYTES) : 0;
    if (offset === 0) l2.fill(0);
    else await readAt(handle, offset, l2);
    current = table;
  };
  const isSet = (cluster: number) => isPresentAt(l2, (cluster % perTable) * ENTRY_BYTES);
  const slowly = async (first: number, end: number): Promise<boolean> => {
    for (let cluster = first; cluster < end; cluster += 1) {
      const table = Math.floor(cluster / perTable);
      if (table !== current) await load(table);
      if (!isSet(cluster)) return false;
    }
    return true;
  };
  return (start, end) => {
    const first = Math.floor(start / clusterBytes);
    const behind = Math.ceil(end / clusterBytes);
    const isOne = behind === first + 1 && Math.floor(first / perTable) === current;
    return isOne ? isSet(first) : slowly(first, behind);
  };
}

/** Bits 9 to 55. */
function hostOffset(table: Buffer, at: number): number {
  return (
    (table.readUInt32BE(at) & 0x00ff_ffff) * 2 ** 32 + (table.readUInt32BE(at + 4) >>> 9) * 512
  );
}

/** It has a place in the file, is compressed (bit 62), or reads as zeros on purpose (bit 0). */
function isPresentAt(table: Buffer, at: number): boolean {
  const high = table.readUInt32BE(at) & 0x40ff_ffff;
  const low = table.readUInt32BE(at + 4) & 0xffff_fe01;
  return high !== 0 || low !== 0;
}

/** What is behind the end of the file is zeros, as QEMU reads it. */
async function readAt(handle: FileHandle, offset: number, target: Buffer): Promise<Buffer> {
  let filled = 0;
  while (filled < target.length) {
    const { bytesRead } = await handle.read(
      target,
      filled,
      target.length - filled,
      offset + filled,
    );
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  target.fill(0, filled);
  return target;
}
