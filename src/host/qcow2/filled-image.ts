/**
 * A qcow2 image that is filled from nothing by several threads at once, without any program. Content is laid one cluster behind
 * the other as it comes; a thread takes the next free ones, and that is all that threads must agree on:
 *
 *   0 header │ 1 refcount table │ 2 refcount block │ L1 table │ a place for each L2 table │ content … │ more refcount blocks
 *
 * An L2 table (512 MiB of disk each) that nothing was written to stays a hole in the file, and its cluster is free. Until the last
 * parts are written nothing points to the others: the image reads as empty. Pure but for the memory that threads share;
 * whoever uses it writes the parts.
 */
import { TIB } from '../../domain/bytes.ts';
import {
  CLUSTER_BITS,
  CLUSTER_BYTES,
  CLUSTERS_PER_TABLE,
  clustersOf,
  ENTRY_BYTES,
  FIRST_FREE,
  REFCOUNT_BITS_LOG2,
  REFCOUNT_BLOCK,
  REFCOUNT_BYTES,
  REFCOUNT_TABLE,
  tableCount,
} from './layout.ts';

/** Of one cluster. */
const REFCOUNTS_PER_BLOCK = CLUSTER_BYTES / REFCOUNT_BYTES;
/** Of an entry of an L1 or L2 table: nothing else refers to the same cluster. */
const COPIED = 0x8000_0000;
const TWO_POW_32 = 2 ** 32;
/** Up to where version 3 says how long its header is. */
const HEADER_BYTES_MIN = 104;

/** Larger disks could need a refcount table of more than one cluster. */
export const FILLED_BYTES_MAX = 15 * TIB;

/** Bytes and where in the file they go. */
export type ImagePart = { readonly offset: number; readonly bytes: Buffer };

/**
 * The size of the disk of an image that can be filled, by how its file begins; null: it is none of ours that stands alone. Offsets
 * are those of the header in docs/interop/qcow2.txt.
 */
export function sizeToFill(header: Buffer): number | null {
  if (header.length < HEADER_BYTES_MIN) return null;
  const sizeBytes = Number(header.readBigUInt64BE(24));
  const isOurs =
    header.toString('latin1', 0, 4) === 'QFI\xfb' &&
    header.readUInt32BE(4) === 3 &&
    header.readBigUInt64BE(8) === 0n &&
    header.readUInt32BE(20) === CLUSTER_BITS &&
    isZeros(header.subarray(32, 36)) &&
    header.readUInt32BE(36) === tableCount(sizeBytes) &&
    Number(header.readBigUInt64BE(40)) === FIRST_FREE * CLUSTER_BYTES &&
    Number(header.readBigUInt64BE(48)) === REFCOUNT_TABLE * CLUSTER_BYTES &&
    header.readUInt32BE(56) === 1 &&
    isZeros(header.subarray(60, 64)) &&
    // Features of all kinds: dirty, corrupt, content in another file, bitmaps …
    isZeros(header.subarray(72, 96)) &&
    header.readUInt32BE(96) === REFCOUNT_BITS_LOG2;
  return isOurs ? sizeBytes : null;
}

export class FilledImage {
  readonly #tableCount: number;
  readonly #firstTable: number;
  readonly #firstContent: number;
  /** Content clusters that are taken, then for each L2 table whether it is used. */
  readonly #shared: Int32Array;

  /** Goes on in `memory`, which another thread made; by default begins with nothing. */
  constructor(sizeBytes: number, memory?: SharedArrayBuffer) {
    if (sizeBytes > FILLED_BYTES_MAX) throw new RangeError('the disk is too large');
    this.#tableCount = tableCount(sizeBytes);
    this.#firstTable = FIRST_FREE + clustersOf(this.#tableCount * ENTRY_BYTES);
    this.#firstContent = this.#firstTable + this.#tableCount;
    const sharedBytes = (1 + this.#tableCount) * Int32Array.BYTES_PER_ELEMENT;
    this.#shared = new Int32Array(memory ?? new SharedArrayBuffer(sharedBytes));
  }

  get memory(): SharedArrayBuffer {
    return this.#shared.buffer as SharedArrayBuffer;
  }

  /** Where the table is that points to everything else. */
  get l1Offset(): number {
    return FIRST_FREE * CLUSTER_BYTES;
  }

  /** Where the file of an empty image ends. */
  get emptyBytes(): number {
    return this.#firstTable * CLUSTER_BYTES;
  }

  /**
   * Finds room for content that begins at a cluster of the disk: its own place in the file, and the entries that say so. Where
   * it ends within a cluster, that one goes on with zeros. Every cluster of the disk can be laid once.
   */
  lay(offsetBytes: number, content: Buffer): readonly ImagePart[] {
    const count = clustersOf(content.length);
    const first = this.#firstContent + Atomics.add(this.#shared, 0, count);
    const parts: ImagePart[] = [{ offset: first * CLUSTER_BYTES, bytes: content }];
    const start = offsetBytes / CLUSTER_BYTES;
    for (let done = 0; done < count; ) {
      const table = Math.floor((start + done) / CLUSTERS_PER_TABLE);
      const index = (start + done) % CLUSTERS_PER_TABLE;
      const length = Math.min(count - done, CLUSTERS_PER_TABLE - index);
      Atomics.store(this.#shared, 1 + table, 1);
      const offset = (this.#firstTable + table) * CLUSTER_BYTES + index * ENTRY_BYTES;
      parts.push({ offset, bytes: pointers(length, (each) => first + done + each) });
      done += length;
    }
    return parts;
  }

  /**
   * What makes all that was laid the image's, for when it is written, and all else nobody's, whatever the file held before. One
   * at a time: their memory is used again.
   */
  *lastParts(): Generator<ImagePart> {
    const contentEnd = this.#firstContent + Atomics.load(this.#shared, 0);
    const blockCount = refcountBlocks(contentEnd);
    const end = contentEnd + blockCount - 1;
    const blockAt = (index: number) => (index === 0 ? REFCOUNT_BLOCK : contentEnd + index - 1);
    const tables = pointers(this.#tableCount, (table) =>
      this.#isUsed(table) ? this.#firstTable + table : null,
    );
    yield { offset: this.l1Offset, bytes: tables };
    const counts = Buffer.alloc(CLUSTER_BYTES);
    pointers(blockCount, blockAt, 0).copy(counts);
    // To its end, because an image that held more had more blocks.
    yield { offset: REFCOUNT_TABLE * CLUSTER_BYTES, bytes: counts };
    for (let block = 0; block < blockCount; block += 1) {
      const first = block * REFCOUNTS_PER_BLOCK;
      for (let each = 0; each < REFCOUNTS_PER_BLOCK; each += 1) {
        const cluster = first + each;
        const table = cluster - this.#firstTable;
        const isHole = table >= 0 && table < this.#tableCount && !this.#isUsed(table);
        counts.writeUInt16BE(cluster < end && !isHole ? 1 : 0, each * REFCOUNT_BYTES);
      }
      yield { offset: blockAt(block) * CLUSTER_BYTES, bytes: counts };
    }
  }

  #isUsed(table: number): boolean {
    return Atomics.load(this.#shared, 1 + table) === 1;
  }
}

function isZeros(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

/** How many blocks count all clusters before `contentEnd` and themselves, of which the first has its place. */
function refcountBlocks(contentEnd: number): number {
  let count = 1;
  while (contentEnd + count - 1 > count * REFCOUNTS_PER_BLOCK) count += 1;
  return count;
}

/** Entries that point to a cluster each, or to none. */
function pointers(
  count: number,
  clusterOf: (index: number) => number | null,
  flags: number = COPIED,
): Buffer {
  const bytes = Buffer.alloc(count * ENTRY_BYTES);
  for (let index = 0; index < count; index += 1) {
    const cluster = clusterOf(index);
    if (cluster === null) continue;
    const offset = cluster * CLUSTER_BYTES;
    bytes.writeUInt32BE(flags + Math.floor(offset / TWO_POW_32), index * ENTRY_BYTES);
    bytes.writeUInt32BE(offset % TWO_POW_32, index * ENTRY_BYTES + 4);
  }
  return bytes;
}
