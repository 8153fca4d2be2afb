/**
 * A set of 64 KiB blocks of one disk: which of them changed, differ, or are to be moved. One bit for each block, so that
 * its size follows the disk's and not how scattered the blocks are: 2 MiB for a tebibyte.
 */
import { BLOCK_BYTES, blockCount } from '../bytes.ts';

export type BlockSet = {
  /** Of the whole disk; the last block may be cut off by its end. */
  readonly blockCount: number;
  /** Block n is bit `n % 8` of byte `n / 8`; bits behind the last block are zero. */
  readonly bits: Uint8Array;
};

/** Adjacent blocks of a set. */
export type BlockRange = { readonly firstBlock: number; readonly blockCount: number };

export function noBlocks(sizeBytes: number): BlockSet {
  const count = blockCount(sizeBytes);
  return { blockCount: count, bits: new Uint8Array(Math.ceil(count / 8)) };
}

export function allBlocks(sizeBytes: number): BlockSet {
  const set = noBlocks(sizeBytes);
  addBlocks(set, { firstBlock: 0, blockCount: set.blockCount });
  return set;
}

/** What a disk of `sizeBytes` has from byte `offset` on; nothing when it ends before. */
export function blocksFrom(offset: number, sizeBytes: number): BlockSet {
  const set = noBlocks(sizeBytes);
  const firstBlock = Math.floor(offset / BLOCK_BYTES);
  if (offset < sizeBytes) addBlocks(set, { firstBlock, blockCount: set.blockCount - firstBlock });
  return set;
}

/** Puts blocks into the set, in place; those behind the disk's end are left out. */
export function addBlocks(set: BlockSet, range: BlockRange): void {
  const end = Math.min(range.firstBlock + range.blockCount, set.blockCount);
  let block = range.firstBlock;
  for (; block < end && block % 8 !== 0; block += 1) setBit(set, block);
  const wholeEnd = end - (end % 8);
  if (block < wholeEnd) {
    set.bits.fill(0xff, block / 8, wholeEnd / 8);
    block = wholeEnd;
  }
  for (; block < end; block += 1) setBit(set, block);
}

function setBit({ bits }: BlockSet, block: number): void {
  const at = block >> 3;
  bits[at] = (bits[at] ?? 0) | (1 << (block & 7));
}

export function hasBlock({ bits }: BlockSet, block: number): boolean {
  return ((bits[block >> 3] ?? 0) & (1 << (block & 7))) !== 0;
}

/** What is in either; as large as the larger of the two. */
export function union(a: BlockSet, b: BlockSet): BlockSet {
  const [large, small] = a.blockCount >= b.blockCount ? [a, b] : [b, a];
  const bits = Uint8Array.from(large.bits);
  for (const [at, byte] of small.bits.entries()) bits[at] = (bits[at] ?? 0) | byte;
  return { blockCount: large.blockCount, bits };
}

const NONE_OF_32 = 0;
const ALL_OF_32 = 0xffff_ffff;

/**
 * The blocks in ascending order, as long runs. Where 32 blocks are alike they are passed at once: a tebibyte with a few
 * changes is walked in a millisecond.
 */
export function* rangesOf(set: BlockSet): Generator<BlockRange> {
  const words = wordsOf(set);
  let firstBlock = -1;
  for (let block = 0; block < set.blockCount; block += 1) {
    const more = firstBlock === -1 ? NONE_OF_32 : ALL_OF_32;
    if (block % 32 === 0 && words[block >> 5] === more) {
      block += 31;
      continue;
    }
    const isIn = hasBlock(set, block);
    if (isIn && firstBlock === -1) firstBlock = block;
    if (isIn || firstBlock === -1) continue;
    yield { firstBlock, blockCount: block - firstBlock };
    firstBlock = -1;
  }
  if (firstBlock !== -1) yield { firstBlock, blockCount: set.blockCount - firstBlock };
}

/** As far as there are four bytes for one. Their order in it does not matter where all are alike. */
function wordsOf({ bits }: BlockSet): Uint32Array {
  const isAligned = bits.byteOffset % 4 === 0;
  const { buffer, byteOffset } = isAligned ? bits : bits.slice();
  return new Uint32Array(buffer, byteOffset, bits.length >> 2);
}

export function countBlocks(set: BlockSet): number {
  let count = 0;
  for (const range of rangesOf(set)) count += range.blockCount;
  return count;
}
