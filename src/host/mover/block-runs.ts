/**
 * Turns extents of any length and alignment into runs of whole 64 KiB blocks. A block is selected if any of
 * its bytes is, and zero only if all of them are; two extents in one block make one block.
 */
import { BLOCK_BYTES } from '../../domain/bytes.ts';

export type RunKind = 'content' | 'zeros';

/** Adjacent selected blocks to be treated alike. `zeros`: known to read as zeros without reading them. */
export type BlockRun = {
  readonly kind: RunKind;
  readonly firstBlock: number;
  readonly blockCount: number;
};

type OpenBlock = { readonly block: number; isSelected: boolean; isZero: boolean };
type GrowingRun = { readonly kind: RunKind; readonly firstBlock: number; blockCount: number };

/** What is known of a range of bytes. */
export type BlockSegment = {
  readonly start: number;
  readonly end: number;
  readonly isSelected: boolean;
  readonly isZero: boolean;
};

/** Takes segments in ascending order; what lies between two of them is not selected. Gives runs in ascending order. */
export class BlockRuns {
  #runs: GrowingRun[] = [];
  /** The block that the next segment may still belong to. */
  #open: OpenBlock | null = null;

  add(segment: BlockSegment): void {
    const { isSelected, isZero } = segment;
    const firstWhole = Math.ceil(segment.start / BLOCK_BYTES);
    const endWhole = Math.floor(segment.end / BLOCK_BYTES);
    if (segment.start < firstWhole * BLOCK_BYTES) this.#touch(firstWhole - 1, isSelected, isZero);
    if (endWhole > firstWhole) {
      this.#closeOpenBlock();
      if (isSelected) this.#append(firstWhole, endWhole - firstWhole, isZero);
    }
    const hasTail = endWhole >= firstWhole && segment.end > endWhole * BLOCK_BYTES;
    if (hasTail) this.#touch(endWhole, isSelected, isZero);
  }

  /** The runs decided so far. The last block of all counts as decided only after `finish`. */
  take(): BlockRun[] {
    const runs = this.#runs;
    this.#runs = [];
    return runs;
  }

  /** Says that no segment follows. */
  finish(): void {
    this.#closeOpenBlock();
  }

  #touch(block: number, isSelected: boolean, isZero: boolean): void {
    if (this.#open?.block !== block) {
      this.#closeOpenBlock();
      this.#open = { block, isSelected, isZero };
      return;
    }
    this.#open.isSelected ||= isSelected;
    this.#open.isZero &&= isZero;
  }

  #closeOpenBlock(): void {
    const open = this.#open;
    this.#open = null;
    if (open?.isSelected) this.#append(open.block, 1, open.isZero);
  }

  #append(firstBlock: number, blockCount: number, isZero: boolean): void {
    const kind = isZero ? 'zeros' : 'content';
    const last = this.#runs.at(-1);
    if (last?.kind === kind && last.firstBlock + last.blockCount === firstBlock) {
      last.blockCount += blockCount;
    } else this.#runs.push({ kind, firstBlock, blockCount });
  }
}
