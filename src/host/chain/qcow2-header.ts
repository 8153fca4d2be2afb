/**
 * The few fields of a qcow2 header that say what an image stands on. A pure parser over the first cluster,
 * because starting qemu-img costs more than all other checks of a chain together. Layout: QEMU
 * docs/interop/qcow2.txt.
 */
export type Qcow2Header = {
  readonly virtualSizeBytes: number;
  /** As written in the image; null when it stands alone. */
  readonly backingName: string | null;
  readonly backingFormat: string | null;
  /** QEMU marked it as damaged. */
  readonly isCorrupt: boolean;
  readonly clusters: ClusterLayout;
  /** Where the directory of its dirty bitmaps is; null when it has none. */
  readonly bitmaps: BitmapPlace | null;
};

export type BitmapPlace = {
  readonly directoryOffset: number;
  readonly directoryBytes: number;
  /** False: somebody wrote to the image who does not know bitmaps, so they may lack changes. */
  readonly isCurrent: boolean;
};

/** Where the tables are that say which clusters the image holds. */
export type ClusterLayout = {
  readonly clusterBytes: number;
  readonly l1Offset: number;
  readonly l1Count: number;
  /** False: features that change what the tables mean (a file for the data, subclusters, unknown ones). */
  readonly isPlain: boolean;
};

/** Everything of interest is in the first cluster, which is 64 KiB in every image that we make. */
export const HEADER_READ_BYTES = 64 * 1024;

export const MAGIC = 0x514649fb;
const CORRUPT_BIT = 2;
/** Dirty and corrupt say nothing about the tables' form, nor does the compression of single clusters. */
const PLAIN_BITS = 0b1011;
export const BACKING_FORMAT_EXTENSION = 0xe2792aca;
export const BITMAPS_EXTENSION = 0x23852875;
/** Of the auto-clear features: who does not know bitmaps clears it when writing, and then they say nothing. */
export const BITMAPS_BIT = 1;
/** The longest backing name the format allows. */
export const BACKING_NAME_BYTES_MAX = 1023;

/** Null when the bytes are not the beginning of a qcow2 image of version 2 or 3. */
export function parseQcow2Header(bytes: Buffer): Qcow2Header | null {
  if (bytes.length < 72 || bytes.readUInt32BE(0) !== MAGIC) return null;
  const version = bytes.readUInt32BE(4);
  if (version !== 2 && version !== 3) return null;
  if (version === 3 && bytes.length < 104) return null;
  const virtualSizeBytes = Number(bytes.readBigUInt64BE(24));
  if (!Number.isSafeInteger(virtualSizeBytes)) return null;
  const backingName = backingNameOf(bytes);
  if (backingName === undefined) return null;
  return {
    virtualSizeBytes,
    backingName,
    backingFormat: extension(bytes, version, BACKING_FORMAT_EXTENSION)?.toString('utf8') ?? null,
    isCorrupt: version === 3 && (bytes.readUInt32BE(76) & CORRUPT_BIT) !== 0,
    clusters: clusterLayout(bytes, version),
    bitmaps: bitmapPlace(bytes, version),
  };
}

function clusterLayout(bytes: Buffer, version: number): ClusterLayout {
  const clusterBits = bytes.readUInt32BE(20);
  const features = version === 3 ? bytes.readBigUInt64BE(72) : 0n;
  return {
    clusterBytes: 2 ** clusterBits,
    l1Offset: Number(bytes.readBigUInt64BE(40)),
    l1Count: bytes.readUInt32BE(36),
    isPlain: (features & ~BigInt(PLAIN_BITS)) === 0n && clusterBits >= 9 && clusterBits <= 21,
  };
}

/** Undefined where the header says there is a name and it cannot be there. */
function backingNameOf(bytes: Buffer): string | null | undefined {
  const offset = Number(bytes.readBigUInt64BE(8));
  const length = bytes.readUInt32BE(16);
  if (offset === 0) return null;
  if (length > BACKING_NAME_BYTES_MAX || offset + length > bytes.length) return undefined;
  return bytes.toString('utf8', offset, offset + length);
}

function bitmapPlace(bytes: Buffer, version: number): BitmapPlace | null {
  const content = extension(bytes, version, BITMAPS_EXTENSION);
  if (content === null || content.length < 24) return null;
  return {
    directoryOffset: Number(content.readBigUInt64BE(16)),
    directoryBytes: Number(content.readBigUInt64BE(8)),
    isCurrent: version === 3 && (bytes.readUInt32BE(92) & BITMAPS_BIT) !== 0,
  };
}

/** The content of a header extension; null when there is none. */
function extension(bytes: Buffer, version: number, wanted: number): Buffer | null {
  const start = version === 3 ? bytes.readUInt32BE(100) : 72;
  for (let at = start; at + 8 <= bytes.length; ) {
    const type = bytes.readUInt32BE(at);
    const length = bytes.readUInt32BE(at + 4);
    if (type === 0 || at + 8 + length > bytes.length) return null;
    if (type === wanted) return bytes.subarray(at + 8, at + 8 + length);
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return null;
}
