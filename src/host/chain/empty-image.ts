/**
 * An empty qcow2 image as the few clusters that it is, so that making one starts no program: a failover waits for its
 * branch's disks, and qemu-img takes 30 ms for each image and as long again for a bitmap. What `qemu-img create` and
 * `qemu-img bitmap --add` write, without the table of feature names. Layout: QEMU docs/interop/qcow2.txt.
 *
 *   cluster 0 header │ 1 refcount table │ 2 refcount block │ bitmap table, bitmap directory │ L1 table
 */
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import {
  CLUSTER_BITS,
  CLUSTER_BYTES,
  ENTRY_BYTES,
  FIRST_FREE,
  REFCOUNT_BITS_LOG2,
  REFCOUNT_BLOCK,
  REFCOUNT_BYTES,
  REFCOUNT_TABLE,
  tableCount,
} from '../qcow2/layout.ts';
import { encodeDirectoryEntry } from './qcow2-bitmaps.ts';
import {
  BACKING_FORMAT_EXTENSION,
  BACKING_NAME_BYTES_MAX,
  BITMAPS_BIT,
  BITMAPS_EXTENSION,
  MAGIC,
} from './qcow2-header.ts';

const HEADER_BYTES = 112;

export type EmptyImage = {
  readonly sizeBytes: number;
  /** The name of the qcow2 image below it; null: none. */
  readonly backing: string | null;
  /** A bitmap that records from the beginning, one bit for each block of 64 KiB; null: none. */
  readonly bitmap: string | null;
};

/** The parts that are not zeros, and where the file ends. */
export type ImageParts = {
  readonly fileBytes: number;
  readonly parts: readonly { readonly offset: number; readonly bytes: Buffer }[];
};

export function emptyImage({ sizeBytes, backing, bitmap }: EmptyImage): ImageParts {
  const nextCluster = clusterCounter(FIRST_FREE);
  const table = bitmap === null ? null : nextCluster(bitmapTableBytes(sizeBytes));
  const directory = bitmap === null ? null : nextCluster(CLUSTER_BYTES);
  const l1Count = tableCount(sizeBytes);
  const l1Offset = nextCluster(l1Count * ENTRY_BYTES);
  const fileBytes = nextCluster(0);
  const entry =
    bitmap === null || table === null
      ? null
      : encodeDirectoryEntry({
          name: bitmap,
          tableOffset: table,
          tableCount: bitmapTableCount(sizeBytes),
        });
  const extensions = [
    ...(backing === null ? [] : [extension(BACKING_FORMAT_EXTENSION, Buffer.from('qcow2'))]),
    ...(entry === null || directory === null ? [] : [bitmapsExtension(entry.length, directory)]),
    extension(0, Buffer.alloc(0)),
  ];
  const header = { sizeBytes, l1Count, l1Offset, hasBitmap: bitmap !== null };
  return {
    fileBytes,
    parts: [
      { offset: 0, bytes: encodeHeader(header, Buffer.concat(extensions), backing) },
      { offset: REFCOUNT_TABLE * CLUSTER_BYTES, bytes: uint64(REFCOUNT_BLOCK * CLUSTER_BYTES) },
      { offset: REFCOUNT_BLOCK * CLUSTER_BYTES, bytes: refcounts(fileBytes / CLUSTER_BYTES) },
      ...(entry === null || directory === null ? [] : [{ offset: directory, bytes: entry }]),
    ],
  };
}

function clusterCounter(first: number): (byteCount: number) => number {
  let next = first;
  return (byteCount) => {
    const offset = next * CLUSTER_BYTES;
    next += Math.ceil(byteCount / CLUSTER_BYTES);
    return offset;
  };
}

/** How many clusters the bitmap's bits take: none of them exists while all bits are zero. */
function bitmapTableCount(sizeBytes: number): number {
  const bitmapBytes = Math.ceil(sizeBytes / BLOCK_BYTES / 8);
  return Math.max(1, Math.ceil(bitmapBytes / CLUSTER_BYTES));
}

function bitmapTableBytes(sizeBytes: number): number {
  return bitmapTableCount(sizeBytes) * ENTRY_BYTES;
}

function encodeHeader(
  image: {
    readonly sizeBytes: number;
    readonly l1Count: number;
    readonly l1Offset: number;
    readonly hasBitmap: boolean;
  },
  extensions: Buffer,
  backing: string | null,
): Buffer {
  const name = Buffer.from(backing ?? '');
  if (name.length > BACKING_NAME_BYTES_MAX) throw new RangeError('the backing name is too long');
  const fixed = Buffer.alloc(HEADER_BYTES);
  fixed.writeUInt32BE(MAGIC, 0);
  fixed.writeUInt32BE(3, 4);
  uint64(backing === null ? 0 : HEADER_BYTES + extensions.length).copy(fixed, 8);
  fixed.writeUInt32BE(name.length, 16);
  fixed.writeUInt32BE(CLUSTER_BITS, 20);
  uint64(image.sizeBytes).copy(fixed, 24);
  fixed.writeUInt32BE(image.l1Count, 36);
  uint64(image.l1Offset).copy(fixed, 40);
  uint64(REFCOUNT_TABLE * CLUSTER_BYTES).copy(fixed, 48);
  fixed.writeUInt32BE(1, 56);
  uint64(image.hasBitmap ? BITMAPS_BIT : 0).copy(fixed, 88);
  fixed.writeUInt32BE(REFCOUNT_BITS_LOG2, 96);
  fixed.writeUInt32BE(HEADER_BYTES, 100);
  return Buffer.concat([fixed, extensions, name]);
}

function extension(type: number, content: Buffer): Buffer {
  const bytes = Buffer.alloc(8 + Math.ceil(content.length / 8) * 8);
  bytes.writeUInt32BE(type, 0);
  bytes.writeUInt32BE(content.length, 4);
  content.copy(bytes, 8);
  return bytes;
}

function bitmapsExtension(directoryBytes: number, directoryOffset: number): Buffer {
  const content = Buffer.alloc(24);
  content.writeUInt32BE(1, 0);
  uint64(directoryBytes).copy(content, 8);
  uint64(directoryOffset).copy(content, 16);
  return extension(BITMAPS_EXTENSION, content);
}

/** One for every cluster of the file. A block covers 32,768 clusters, more than the tables of the largest disk take. */
function refcounts(clusterCount: number): Buffer {
  const counts = Buffer.alloc(clusterCount * REFCOUNT_BYTES);
  for (let cluster = 0; cluster < clusterCount; cluster += 1)
    counts.writeUInt16BE(1, cluster * REFCOUNT_BYTES);
  return counts;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}
