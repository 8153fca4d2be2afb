/**
 * The bytes of a hash table (docs/formats/hash-table.md): header and block records, encoded and decoded in
 * place. Pure functions over buffers; files are read in `reader.ts`. Everything is big-endian.
 */
import { BLOCK_BYTES, blockCount } from '../../domain/bytes.ts';
import { UnderstudyError } from '../../domain/error.ts';

export const HEADER_BYTES = 64;
export const RECORD_BYTES = 40;
export const INDEX_BYTES = 8;
export const HASH_BYTES = 32;

/** The hash that stands for a block, or a node, of nothing but zeros. Never written to. */
export const ZERO_HASH: Readonly<Buffer> = Buffer.alloc(HASH_BYTES);

/** What `blockIndexAt` returns for a void record of a spool. */
export const VOID_INDEX = -1;

const MAGIC = Buffer.from('USHASH01', 'latin1');
const TWO_POW_32 = 2 ** 32;
const VOID_WORD = 0xffff_ffff;

export type HashTableHeader = {
  readonly virtualSizeBytes: number;
  readonly blockRecordCount: number;
  readonly nodeRecordCount: number;
};

export function encodeHeader(header: HashTableHeader): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(bytes, 0);
  bytes.writeUInt32BE(BLOCK_BYTES, 8);
  bytes.writeBigUInt64BE(BigInt(header.virtualSizeBytes), 16);
  bytes.writeBigUInt64BE(BigInt(header.blockRecordCount), 24);
  bytes.writeBigUInt64BE(BigInt(header.nodeRecordCount), 32);
  return bytes;
}

/**
 * Reads and judges a header. `path` is for the message, `fileBytes` the size of the whole file, which must
 * be exactly what the header says. Throws `invalid-file`.
 */
export function decodeHeader(
  bytes: Buffer,
  { path, fileBytes }: { readonly path: string; readonly fileBytes: number },
): HashTableHeader {
  const invalid = (reason: string) => new UnderstudyError('invalid-file', { path, reason });
  if (bytes.length < HEADER_BYTES) throw invalid('it is shorter than a header');
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw invalid('it is not a hash table');
  if (bytes.readUInt32BE(8) !== BLOCK_BYTES) throw invalid('its block size is not 65536');
  if (bytes.readUInt32BE(12) !== 0 || bytes.subarray(40, HEADER_BYTES).some((byte) => byte !== 0)) {
    throw invalid('reserved bytes of its header are set');
  }
  const header = {
    virtualSizeBytes: uint64At(bytes, 16),
    blockRecordCount: uint64At(bytes, 24),
    nodeRecordCount: uint64At(bytes, 32),
  };
  if (!Number.isSafeInteger(header.virtualSizeBytes)) throw invalid('its disk size is absurd');
  if (header.blockRecordCount > blockCount(header.virtualSizeBytes)) {
    throw invalid('it has more records than the disk has blocks');
  }
  const expectedBytes =
    HEADER_BYTES + RECORD_BYTES * (header.blockRecordCount + header.nodeRecordCount);
  if (expectedBytes !== fileBytes) {
    throw invalid(`it has ${fileBytes} bytes where its header promises ${expectedBytes}`);
  }
  return header;
}

/** Writes one block record at byte `at`. The hash is copied from `hash` at `hashAt`. */
export function encodeRecord(
  target: Buffer,
  at: number,
  blockIndex: number,
  hash: Readonly<Uint8Array>,
  hashAt = 0,
): void {
  target.writeUInt32BE(Math.floor(blockIndex / TWO_POW_32), at);
  target.writeUInt32BE(blockIndex % TWO_POW_32, at + 4);
  for (let i = 0; i < HASH_BYTES; i += 1) target[at + INDEX_BYTES + i] = hash[hashAt + i] ?? 0;
}

/** Writes a record that says nothing: only a spool may hold one. */
export function encodeVoidRecord(target: Buffer, at: number): void {
  target.fill(0, at, at + RECORD_BYTES);
  target.fill(0xff, at, at + INDEX_BYTES);
}

/** The block index of the record at byte `at`: `VOID_INDEX` for a void one; may exceed any disk. */
export function blockIndexAt(bytes: Buffer, at: number): number {
  const high = bytes.readUInt32BE(at);
  const low = bytes.readUInt32BE(at + 4);
  return high === VOID_WORD && low === VOID_WORD ? VOID_INDEX : high * TWO_POW_32 + low;
}

/** The hash of the record at byte `at`: a view into `bytes`, not a copy. */
export function hashAt(bytes: Buffer, at: number): Buffer {
  return bytes.subarray(at + INDEX_BYTES, at + RECORD_BYTES);
}

/** Whether the 32 bytes at `at` are the hash of a zero block. */
export function isZeroHash(bytes: Readonly<Uint8Array>, at = 0): boolean {
  for (let i = 0; i < HASH_BYTES; i += 1) if (bytes[at + i] !== 0) return false;
  return true;
}

function uint64At(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * TWO_POW_32 + bytes.readUInt32BE(at + 4);
}
