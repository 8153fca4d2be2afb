/**
 * Which parts of a disk an image holds itself, read from its own tables: as cheap as its metadata, whatever it holds.
 * Only images that we made are read so: 64 KiB clusters without sub-clusters (QEMU docs/interop/qcow2.txt).
 */
import { open } from 'node:fs/promises';
import { BLOCK_BYTES, blockCount } from '../../domain/bytes.ts';
import type { BranchWrites } from '../../ports/replica-store.ts';
import { invalidFile } from '../file-parsing.ts';
import { readImageHeader } from './identity.ts';
import type { Qcow2Header } from './qcow2-header.ts';

const ENTRY_BYTES = 8;
/** QEMU's own limit (block/qcow2.h, QCOW_MAX_L1_SIZE). */
const L1_BYTES_MAX = 32 * 1024 * 1024;
/** More than a person or a client looks at; the totals stay exact beyond. */
const RANGES_MAX = 10_000;
const HIGH_OFFSET = 0x00ff_ffff;
const LOW_OFFSET = 0xffff_fe00;
const COMPRESSED_HIGH = 0x4000_0000;
const READS_AS_ZEROS = 1;

type Cluster = { readonly offset: number; readonly isZero: boolean };

export async function allocatedRanges(path: string): Promise<Omit<BranchWrites, 'key'>> {
  const header = await plainHeader(path);
  const { clusterBytes } = header.clusters;
  const ranges: { offset: number; length: number; isZero: boolean }[] = [];
  let writtenBytes = 0;
  let zeroedBytes = 0;
  let rangeCount = 0;
  let last = { end: -1, isZero: false };
  for await (const { offset, isZero } of clustersOf(path, header)) {
    const end = Math.min(offset + clusterBytes, header.virtualSizeBytes);
    if (isZero) zeroedBytes += end - offset;
    else writtenBytes += end - offset;
    const range = ranges.at(-1);
    const continues = last.end === offset && last.isZero === isZero;
    last = { end, isZero };
    if (!continues) rangeCount += 1;
    if (continues && range !== undefined && rangeCount <= RANGES_MAX) {
      range.length += end - offset;
    } else if (!continues && rangeCount <= RANGES_MAX) {
      ranges.push({ offset, length: end - offset, isZero });
    }
  }
  return { sizeBytes: header.virtualSizeBytes, writtenBytes, zeroedBytes, rangeCount, ranges };
}

/** What a stack of images holds, per block of 64 KiB: 0 nothing, else one of these. */
export type Holdings = Uint8Array;
const HAS_CONTENT = 1;
const HAS_ZEROS = 2;

/** Of images over one another, oldest first; null for none. */
export async function holdingsOf(paths: readonly string[]): Promise<Holdings | null> {
  let held: Uint8Array | null = null;
  for (const path of paths) {
    const header = await plainHeader(path);
    const blocks = new Uint8Array(blockCount(header.virtualSizeBytes));
    if (held !== null) blocks.set(held.subarray(0, blocks.length));
    for await (const { offset, isZero } of clustersOf(path, header)) {
      blocks[Math.floor(offset / BLOCK_BYTES)] = isZero ? HAS_ZEROS : HAS_CONTENT;
    }
    held = blocks;
  }
  return held;
}

/** The first block with content that the image at `path` says nothing about; null when it has them all. */
export async function firstMissing(path: string, held: Holdings): Promise<number | null> {
  const wanted = Uint8Array.from(held);
  for await (const { offset } of clustersOf(path, await plainHeader(path))) {
    const block = Math.floor(offset / BLOCK_BYTES);
    if (block < wanted.length) wanted[block] = 0;
  }
  const missing = wanted.indexOf(HAS_CONTENT);
  return missing === -1 ? null : missing;
}

/** Clusters that the image itself says something about, ascending. */
async function* clustersOf(path: string, header: Qcow2Header): AsyncGenerator<Cluster, void> {
  const { clusterBytes, l1Offset, l1Count } = header.clusters;
  const perTable = clusterBytes / ENTRY_BYTES;
  await using handle = await open(path, 'r');
  const l1 = Buffer.alloc(Math.min(l1Count * ENTRY_BYTES, L1_BYTES_MAX));
  await handle.read(l1, 0, l1.length, l1Offset);
  const l2 = Buffer.alloc(clusterBytes);
  for (let table = 0; table * ENTRY_BYTES < l1.length; table += 1) {
    const at = offsetIn(l1, table * ENTRY_BYTES);
    if (at === 0) continue;
    l2.fill(0);
    await handle.read(l2, 0, l2.length, at);
    for (let entry = 0; entry < perTable; entry += 1) {
      const offset = (table * perTable + entry) * clusterBytes;
      if (offset >= header.virtualSizeBytes) return;
      const low = l2.readUInt32BE(entry * ENTRY_BYTES + 4);
      const isZero = (low & READS_AS_ZEROS) !== 0;
      const isCompressed = (l2.readUInt32BE(entry * ENTRY_BYTES) & COMPRESSED_HIGH) !== 0;
      if (isZero || isCompressed || offsetIn(l2, entry * ENTRY_BYTES) !== 0) {
        yield { offset, isZero };
      }
    }
  }
}

/** Bits 9 to 55. */
function offsetIn(table: Buffer, at: number): number {
  const high = table.readUInt32BE(at) & HIGH_OFFSET;
  return high * 2 ** 32 + ((table.readUInt32BE(at + 4) & LOW_OFFSET) >>> 0);
}

/** Throws `invalid-file`. */
async function plainHeader(path: string): Promise<Qcow2Header> {
  const header = await readImageHeader(path);
  if (header === null) throw invalidFile(path, 'it is not a qcow2 image');
  const { isPlain, clusterBytes } = header.clusters;
  if (!isPlain || clusterBytes !== BLOCK_BYTES)
    throw invalidFile(path, 'it has features that we do not know');
  return header;
}
