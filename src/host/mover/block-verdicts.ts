/**
 * What becomes of each block of a chunk, and the record that says so. This runs for every 64 KiB that move:
 * views and records are made once per lane, and a hash goes from digest to record as a string of bytes,
 * because a buffer for each would keep the garbage collector busy.
 */
import { hash as digest } from 'node:crypto';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import {
  encodeRecord,
  encodeVoidRecord,
  HASH_BYTES,
  INDEX_BYTES,
  RECORD_BYTES,
  ZERO_HASH,
} from '../hash-table/record.ts';
import type { Chunk } from './chunk-queue.ts';

/** It is sent, made zero, equal to what the target has, or left out because the target reads zeros anyway. */
export type BlockVerdict = 'send' | 'zero' | 'unchanged' | 'skip';

/** Adjacent blocks of a chunk with one verdict. */
export type VerdictRun = {
  readonly kind: BlockVerdict;
  readonly first: number;
  count: number;
};

/** Room for the content of chunks, and for the records of its blocks. */
export type Workspace = {
  readonly buffer: Buffer;
  /** The buffer block by block. */
  readonly blocks: readonly Buffer[];
  readonly records: Buffer;
};

const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);

export function createWorkspace(contentBytesMax: number): Workspace {
  const length = Math.floor(contentBytesMax / BLOCK_BYTES);
  const buffer = Buffer.allocUnsafeSlow(length * BLOCK_BYTES);
  const blocks = Array.from({ length }, (_, index) =>
    buffer.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES),
  );
  return { buffer, blocks, records: Buffer.allocUnsafeSlow(length * RECORD_BYTES) };
}

/** The part of a workspace from its block `first` on that one of several chunks fills. */
export function partOf(
  { buffer, blocks, records }: Workspace,
  { first, count }: { readonly first: number; readonly count: number },
): Workspace {
  const end = first + count;
  return {
    buffer: buffer.subarray(first * BLOCK_BYTES, end * BLOCK_BYTES),
    blocks: blocks.slice(first, end),
    records: records.subarray(first * RECORD_BYTES, end * RECORD_BYTES),
  };
}

/**
 * Judges the blocks of a chunk, which fill the buffer, and puts their records into the workspace. Where nobody wants records
 * and there are no hashes to compare with, none are made.
 */
export function judgeBlocks(
  { blocks, records }: Workspace,
  { firstBlock, knownHashes }: Pick<Chunk, 'firstBlock' | 'knownHashes'>,
  {
    targetReads,
    wantsRecords,
  }: { readonly targetReads: 'zeros' | 'parent'; readonly wantsRecords: boolean },
): VerdictRun[] {
  const runs: VerdictRun[] = [];
  const isHashing = wantsRecords || knownHashes !== null;
  for (const [index, block] of blocks.entries()) {
    const at = index * RECORD_BYTES;
    // Comparing stops at the first difference, so this costs nothing for blocks with content.
    const isZero = block.equals(ZERO_BLOCK);
    if (isZero) encodeRecord(records, at, firstBlock + index, ZERO_HASH);
    else if (isHashing)
      encodeDigest(records, at, firstBlock + index, digest('sha256', block, 'binary'));
    const isEqual = knownHashes !== null && hasHash(records, at, knownHashes, index * HASH_BYTES);
    const isSkipped = isZero && knownHashes === null && targetReads === 'zeros';
    if (isEqual || isSkipped) encodeVoidRecord(records, at);
    const kind = isEqual ? 'unchanged' : isSkipped ? 'skip' : isZero ? 'zero' : 'send';
    appendVerdict(runs, kind, index);
  }
  return runs;
}

/** As `encodeRecord`, but `hash` is a string of 32 characters, one for each byte. */
function encodeDigest(records: Buffer, at: number, blockIndex: number, hash: string): void {
  records.writeUIntBE(0, at, INDEX_BYTES - 6);
  records.writeUIntBE(blockIndex, at + INDEX_BYTES - 6, 6);
  records.write(hash, at + INDEX_BYTES, HASH_BYTES, 'binary');
}

function hasHash(records: Buffer, at: number, hashes: Uint8Array, hashAt: number): boolean {
  const start = at + INDEX_BYTES;
  const end = at + RECORD_BYTES;
  return records.compare(hashes, hashAt, hashAt + HASH_BYTES, start, end) === 0;
}

function appendVerdict(runs: VerdictRun[], kind: BlockVerdict, index: number): void {
  const last = runs.at(-1);
  if (last?.kind === kind) last.count += 1;
  else runs.push({ kind, first: index, count: 1 });
}
