/** Small disks of known content, and what a transfer must make of them, computed without the mover. */
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { BLOCK_BYTES } from '../../../domain/bytes.ts';
import {
  blockIndexAt,
  encodeHeader,
  encodeRecord,
  hashAt,
  RECORD_BYTES,
  VOID_INDEX,
} from '../../hash-table/record.ts';
import type { FakeExtent } from './fake-nbd-server.ts';

const SECTOR = 4096;
const SECTORS = BLOCK_BYTES / SECTOR;

/** One block: what it holds at the source, what the target holds, and what is said about it. */
export type BlockModel = {
  readonly source: 'zero' | 'a' | 'b';
  readonly target: 'zero' | 'a' | 'b';
  readonly isMarkedZero: boolean;
  /** Sectors that changed; empty: none. */
  readonly dirtySectors: readonly number[];
};

export type DiskModel = { readonly sizeBytes: number; readonly blocks: readonly BlockModel[] };

const block = fc.record({
  source: fc.constantFrom('zero', 'zero', 'a', 'b'),
  target: fc.constantFrom('zero', 'a', 'b'),
  isMarkedZero: fc.boolean(),
  dirtySectors: fc.oneof(fc.constant([]), fc.uniqueArray(fc.nat(SECTORS - 1), { maxLength: 4 })),
});

export const anyDisk: fc.Arbitrary<DiskModel> = fc
  .tuple(fc.array(block, { minLength: 1, maxLength: 70 }), fc.integer({ min: 1, max: SECTORS }))
  .map(([blocks, lastSectors]) => ({
    blocks,
    sizeBytes: (blocks.length - 1) * BLOCK_BYTES + lastSectors * SECTOR,
  }));

const CONTENT = {
  zero: Buffer.alloc(BLOCK_BYTES),
  a: randomBytes(BLOCK_BYTES),
  b: randomBytes(BLOCK_BYTES),
};

export function imageOf({ blocks, sizeBytes }: DiskModel, side: 'source' | 'target'): Buffer {
  return Buffer.concat(blocks.map((each) => CONTENT[each[side]])).subarray(0, sizeBytes);
}

/** Truthful: only zero blocks are ever marked, and not all of them. */
export function allocationOf({ blocks }: DiskModel): FakeExtent[] {
  return blocks.map(({ source, isMarkedZero }) => ({
    lengthBytes: BLOCK_BYTES,
    flags: source === 'zero' && isMarkedZero ? 3 : 0,
  }));
}

export function dirtinessOf({ blocks }: DiskModel): FakeExtent[] {
  return blocks.flatMap(({ dirtySectors }) =>
    Array.from({ length: SECTORS }, (_, sector) => ({
      lengthBytes: SECTOR,
      flags: dirtySectors.includes(sector) ? 1 : 0,
    })),
  );
}

/** SHA-256 of a block of an image in hex, all zeros for a zero block: by other means than the mover's. */
export function hashOfBlock(image: Buffer, index: number): string {
  const padded = Buffer.alloc(BLOCK_BYTES);
  image.copy(padded, 0, index * BLOCK_BYTES);
  if (padded.equals(CONTENT.zero)) return '00'.repeat(32);
  return createHash('sha256').update(padded).digest('hex');
}

/** A table of all that is not zero in an image. */
export function writeHashTable(path: string, image: Buffer): void {
  const records: Buffer[] = [];
  for (let index = 0; index * BLOCK_BYTES < image.length; index += 1) {
    const hash = Buffer.from(hashOfBlock(image, index), 'hex');
    if (hash.every((byte) => byte === 0)) continue;
    const record = Buffer.alloc(RECORD_BYTES);
    encodeRecord(record, 0, index, hash);
    records.push(record);
  }
  const header = {
    virtualSizeBytes: image.length,
    blockRecordCount: records.length,
    nodeRecordCount: 0,
  };
  writeFileSync(path, Buffer.concat([encodeHeader(header), ...records]));
}

/** The records of a spool that are not void, as `index hash`, in their order. */
export function spoolRecords(spool: Buffer): string[] {
  const records: string[] = [];
  for (let at = 0; at < spool.length; at += RECORD_BYTES) {
    const index = blockIndexAt(spool, at);
    if (index !== VOID_INDEX) records.push(`${index} ${hashAt(spool, at).toString('hex')}`);
  }
  return records;
}
