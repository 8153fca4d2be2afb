import { hash as digest } from 'node:crypto';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { HASH_BYTES, isZeroHash, ZERO_HASH } from '../hash-table/record.ts';
import type { Sink } from './block-mover.ts';
import type { Chunk } from './chunk-queue.ts';

/**
 * What becomes of a block: it is sent, made zero, equal to what the target has, or left out because the
 * target reads zeros anyway. The hash is what its record says; null: no record.
 */
export type BlockVerdict = {
  readonly kind: 'send' | 'zero' | 'unchanged' | 'skip';
  readonly hash: Readonly<Uint8Array> | null;
};

/** Adjacent blocks of a chunk with one verdict. */
export type VerdictRun = {
  readonly kind: BlockVerdict['kind'];
  readonly first: number;
  count: number;
};

const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);

export function judgeBlocks({
  chunk,
  buffer,
  sink,
}: {
  readonly chunk: Chunk;
  readonly buffer: Buffer;
  readonly sink: Sink;
}): BlockVerdict[] {
  const verdicts: BlockVerdict[] = [];
  for (let index = 0; index < chunk.blockCount; index += 1) {
    const block = buffer.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
    const known = chunk.knownHashes?.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
    const targetReads = sink.type === 'target' ? sink.targetReads : 'parent';
    verdicts.push(judge(block, known ?? null, targetReads));
  }
  return verdicts;
}

/** `known` is the hash of what the target reads; null: unknown. */
export function judge(
  block: Buffer,
  known: Uint8Array | null,
  targetReads: 'zeros' | 'parent',
): BlockVerdict {
  // Comparing stops at the first difference, so this costs nothing for blocks with content.
  if (block.equals(ZERO_BLOCK)) {
    if (known !== null) {
      return isZeroHash(known)
        ? { kind: 'unchanged', hash: null }
        : { kind: 'zero', hash: ZERO_HASH };
    }
    return targetReads === 'zeros'
      ? { kind: 'skip', hash: null }
      : { kind: 'zero', hash: ZERO_HASH };
  }
  const hash = digest('sha256', block, 'buffer');
  return known !== null && hash.equals(known)
    ? { kind: 'unchanged', hash: null }
    : { kind: 'send', hash };
}

export function verdictRuns(verdicts: readonly BlockVerdict[]): VerdictRun[] {
  const runs: VerdictRun[] = [];
  for (const [index, { kind }] of verdicts.entries()) {
    const last = runs.at(-1);
    if (last?.kind === kind) last.count += 1;
    else runs.push({ kind, first: index, count: 1 });
  }
  return runs;
}
