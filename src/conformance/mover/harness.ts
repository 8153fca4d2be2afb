/** What the suite of movers is run on: disks that are served, whole blocks of one value each. */
import assert from 'node:assert/strict';
import { BLOCK_BYTES, blockCount } from '../../domain/bytes.ts';
import { addBlocks, type BlockSet, hasBlock, noBlocks } from '../../domain/disk/block-set.ts';
import { UnderstudyError } from '../../domain/error.ts';
import type { ErrorCode } from '../../domain/error-catalog.ts';
import { operationId, operationKey } from '../../domain/ids.ts';
import type { BlockEndpoint, Mover, TransferRequest } from '../../ports/mover.ts';

/** Block index → the byte that fills it; 0 is a block of zeros that is written down. Others are holes. */
export type Fills = Readonly<Record<number, number>>;

export type DiskSpec = {
  readonly sizeBytes: number;
  readonly blocks?: Fills;
  /** Older content that shines through where the disk itself holds nothing. */
  readonly parent?: Fills;
  /** The blocks that were written after the mark was set; without it there is no mark. */
  readonly changed?: readonly number[];
  readonly isWritable?: boolean;
  /** Every write of content fails for want of room. */
  readonly isFull?: boolean;
};

export interface ServedDisk extends AsyncDisposable {
  readonly endpoint: BlockEndpoint;
  /** Of the mark, where there is one. */
  readonly metaContext: string;
  /** The byte that each block is filled with, in order; its part of a block that the disk's end cuts off. */
  read(): Promise<readonly number[]>;
}

export interface MoverHarness extends AsyncDisposable {
  readonly mover: Mover;
  serve(spec: DiskSpec): Promise<ServedDisk>;
  /** An address at which nobody answers, though somebody might. */
  nobody(): BlockEndpoint;
  /** A complete hash table of a disk that reads like that. */
  hashTable(sizeBytes: number, blocks: Fills): Promise<string>;
  /** Where a file can be made; there is none. */
  newPath(): string;
  /** The records there, in their order: block index and the byte that the hashed block is filled with. */
  records(path: string, sizeBytes: number): Promise<readonly (readonly [number, number])[]>;
  /** Waits for a call; a harness in virtual time lets it pass meanwhile. */
  settled<Result>(call: Promise<Result>): Promise<Result>;
}

export type MoverTest = { readonly harness: () => MoverHarness };

export const NEVER = { signal: new AbortController().signal };

/** Its last block is cut off. */
export const SIZE_BYTES = 39 * BLOCK_BYTES + 12 * 512;

export function requestOf(
  { harness }: MoverTest,
  ends: { readonly source: ServedDisk; readonly target: ServedDisk },
  changes: Partial<TransferRequest> = {},
): TransferRequest {
  return {
    key: operationKey(operationId('op-1'), 'move'),
    source: ends.source.endpoint,
    target: ends.target.endpoint,
    sizeBytes: SIZE_BYTES,
    extents: { type: 'allocated' },
    targetReads: 'zeros',
    knownHashesPath: null,
    recordsPath: harness().newPath(),
    bytesPerSecondMax: null,
    ...changes,
  };
}

/** What a disk reads, block by block. */
export function reading(
  ...layers: readonly Fills[] // The later hides the earlier.
): readonly number[] {
  return Array.from({ length: blockCount(SIZE_BYTES) }, (_, index) =>
    layers.reduce((below, fills) => fills[index] ?? below, 0),
  );
}

export function bytesOf(blocks: readonly number[]): number {
  const bytes = blocks.map((index) => Math.min(BLOCK_BYTES, SIZE_BYTES - index * BLOCK_BYTES));
  return bytes.reduce((sum, each) => sum + each, 0);
}

export function setOf(blocks: readonly number[], sizeBytes = SIZE_BYTES): BlockSet {
  const set = noBlocks(sizeBytes);
  for (const firstBlock of blocks) addBlocks(set, { firstBlock, blockCount: 1 });
  return set;
}

export function indexesOf(set: BlockSet): readonly number[] {
  return Array.from({ length: set.blockCount }, (_, index) => index).filter((index) =>
    hasBlock(set, index),
  );
}

export async function rejects(code: ErrorCode, call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof UnderstudyError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}
