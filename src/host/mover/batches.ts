/**
 * Portions of work, small enough that several workers share a transfer evenly and large enough that handing
 * them out costs nothing. Each carries all that its worker must know: which blocks, what the target is known
 * to read there, and where in the record spool its records belong. They are made in ascending order while
 * the disk is mapped, so a batch's place in the spool is known when it is made.
 */
import { BLOCK_BYTES, blockCount, MIB } from '../../domain/bytes.ts';
import { countBlocks } from '../../domain/disk/block-set.ts';
import type { ExtentSelection, ListedBlocks } from '../../ports/mover.ts';
import { HASH_BYTES } from '../hash-table/record.ts';
import { type BlockRun, BlockRuns, type RunKind } from './block-runs.ts';
import type { NbdConnection } from './connection.ts';
import { mapSegments } from './extents.ts';
import type { KnownHashes } from './known-hashes.ts';
import { listedSegments } from './listed-segments.ts';
import {
  ALLOCATION_CONTEXT,
  ALLOCATION_DEPTH_CONTEXT,
  ALLOCATION_DEPTH_TOP,
  ALLOCATION_ZERO,
} from './protocol.ts';

/** A run with its place in the spool, and the known hashes of its blocks when there are any. */
export type WorkRun = BlockRun & {
  readonly spoolPosition: number;
  readonly knownHashes: Uint8Array | null;
};

/** Plain, so that it can be posted to a worker. */
export type Batch = { readonly runs: readonly WorkRun[]; readonly byteCount: number };

/**
 * 4 MiB: some two hundred batches a second at full speed. A worker holds two of them, so that at the end nobody waits
 * for more than 8 MiB of another's work: with 16 MiB the last one was alone for a tenth of a second.
 */
const CONTENT_BLOCKS_MAX = (4 * MIB) / BLOCK_BYTES;
/** 32 MiB: what every server must accept in one WRITE_ZEROES. */
const ZERO_BLOCKS_MAX = (32 * MIB) / BLOCK_BYTES;
const RUNS_MAX = 256;

/** What the planner has found so far; read while it works. */
export type PlanTotals = {
  mappedBytes: number;
  selectedBytes: number;
  extentCount: number;
  isComplete: boolean;
};

export type PlanRequest = {
  readonly source: NbdConnection;
  readonly sizeBytes: number;
  readonly extents: ExtentSelection | ListedBlocks;
  readonly known: KnownHashes | null;
  /** What blocks known to be zero at the source become: nothing, or zeros at the target. */
  readonly zeroRuns: 'skip' | 'write';
  /** What to do where the source has a hole and the table has content. */
  readonly knownInHoles: RunKind;
  readonly totals: PlanTotals;
};

export function emptyTotals(): PlanTotals {
  return { mappedBytes: 0, selectedBytes: 0, extentCount: 0, isComplete: false };
}

/** The contexts a source should be opened with. */
export function contextsFor(extents: ExtentSelection | ListedBlocks): readonly string[] {
  return [extents.type === 'changed' ? extents.metaContext : ALLOCATION_CONTEXT];
}

export async function* planBatches(request: PlanRequest): AsyncGenerator<Batch> {
  const builder = new BatchBuilder(request.totals);
  for await (const runs of workRuns(request)) {
    for (const run of runs) {
      if (!builder.fits(run)) yield builder.take();
      builder.add(run);
    }
  }
  if (!builder.isEmpty()) yield builder.take();
  request.totals.isComplete = true;
}

type PlannedRun = BlockRun & { readonly knownHashes: Uint8Array | null };

/**
 * Pieces of at most one batch, many at a time: a fragmented disk has more of them than promises are cheap. Runs are
 * counted when they are found: one may be gigabytes, and it is planned only as it is moved.
 */
async function* workRuns(request: PlanRequest): AsyncGenerator<Iterable<PlannedRun>> {
  for await (const runs of mapRuns(request)) {
    const wanted = request.zeroRuns === 'skip' ? runs.filter(isContent) : runs;
    for (const run of wanted) request.totals.selectedBytes += run.blockCount * BLOCK_BYTES;
    if (request.known === null) yield unknownRuns(wanted);
    else yield* knownRuns(request, request.known, wanted);
  }
  if (request.known !== null) {
    yield* knownInHole(request, request.known, blockCount(request.sizeBytes));
  }
}

function isContent({ kind }: BlockRun): boolean {
  return kind === 'content';
}

function* unknownRuns(runs: readonly BlockRun[]): Generator<PlannedRun> {
  for (const run of runs) {
    for (const piece of pieces(run)) yield { ...piece, knownHashes: null };
  }
}

/** The table is read in step with the runs; what lies between two of them is a hole of the source. */
async function* knownRuns(
  request: PlanRequest,
  known: KnownHashes,
  runs: readonly BlockRun[],
): AsyncGenerator<PlannedRun[]> {
  for (const run of runs) {
    yield* knownInHole(request, known, run.firstBlock);
    for (const piece of pieces(run)) {
      const knownHashes = await known.hashesOf(piece.firstBlock, piece.blockCount);
      yield [{ ...piece, knownHashes }];
    }
  }
}

async function* knownInHole(
  { knownInHoles: kind, totals }: PlanRequest,
  known: KnownHashes,
  endBlock: number,
): AsyncGenerator<PlannedRun[]> {
  for (;;) {
    const content = await known.nextContent(endBlock, CONTENT_BLOCKS_MAX);
    if (content === null) return;
    const { firstBlock, hashes } = content;
    const found = hashes.length / HASH_BYTES;
    totals.selectedBytes += found * BLOCK_BYTES;
    yield [{ kind, firstBlock, blockCount: found, knownHashes: hashes }];
  }
}

function* pieces(run: BlockRun): Generator<BlockRun> {
  const piece = run.kind === 'zeros' ? ZERO_BLOCKS_MAX : CONTENT_BLOCKS_MAX;
  const endBlock = run.firstBlock + run.blockCount;
  for (let firstBlock = run.firstBlock; firstBlock < endBlock; firstBlock += piece) {
    yield { kind: run.kind, firstBlock, blockCount: Math.min(piece, endBlock - firstBlock) };
  }
}

type MapRequest = Pick<PlanRequest, 'source' | 'sizeBytes' | 'extents' | 'totals'>;

/** Runs of selected blocks, window by window. A source that cannot tell what is allocated is read whole. */
export async function* mapRuns(request: MapRequest): AsyncGenerator<BlockRun[]> {
  const { source, sizeBytes, extents, totals } = request;
  if (extents.type === 'listed') return yield* listedRuns(request, extents);
  const blocks = new BlockRuns();
  if (extents.type === 'allocated' && !source.description.contexts.has(ALLOCATION_CONTEXT)) {
    blocks.add({ start: 0, end: sizeBytes, isSelected: true, isZero: false });
  } else {
    const whole = { start: 0, end: sizeBytes };
    for await (const segments of mapSegments(source, contextsFor(extents), whole)) {
      for (const { start, end, flags } of segments) {
        blocks.add({ start, end, isSelected: isSelected(extents, flags[0] ?? 0), isZero: false });
        totals.mappedBytes = end;
      }
      yield blocks.take();
    }
  }
  blocks.finish();
  totals.mappedBytes = sizeBytes;
  yield blocks.take();
}

/** A bitmap says with its lowest bit what is dirty; a depth, that the top image holds it. */
function isSelected(extents: ExtentSelection, flags: number): boolean {
  if (extents.type === 'allocated') return (flags & ALLOCATION_ZERO) === 0;
  const { metaContext } = extents;
  if (metaContext === ALLOCATION_DEPTH_CONTEXT) return flags === ALLOCATION_DEPTH_TOP;
  return (flags & 1) !== 0;
}

async function* listedRuns(
  { source, sizeBytes, totals }: MapRequest,
  { blocks: listed }: ListedBlocks,
): AsyncGenerator<BlockRun[]> {
  const listedBytes = Math.max(1, countBlocks(listed) * BLOCK_BYTES);
  const blocks = new BlockRuns();
  let askedBytes = 0;
  for await (const segments of listedSegments(source, listed, sizeBytes)) {
    for (const segment of segments) {
      blocks.add(segment);
      askedBytes += segment.end - segment.start;
    }
    // As far through the disk as through the list, so that the rest is expected to be like what was seen.
    totals.mappedBytes = Math.floor((askedBytes / listedBytes) * sizeBytes);
    yield blocks.take();
  }
  blocks.finish();
  totals.mappedBytes = sizeBytes;
  yield blocks.take();
}

class BatchBuilder {
  readonly #totals: PlanTotals;
  #runs: WorkRun[] = [];
  #contentBlocks = 0;
  #byteCount = 0;
  #spoolPosition = 0;
  #endBlock = -1;

  constructor(totals: PlanTotals) {
    this.#totals = totals;
  }

  isEmpty(): boolean {
    return this.#runs.length === 0;
  }

  fits(run: BlockRun): boolean {
    const contentBlocks = run.kind === 'content' ? run.blockCount : 0;
    const isFull =
      this.#runs.length === RUNS_MAX || this.#contentBlocks + contentBlocks > CONTENT_BLOCKS_MAX;
    return this.isEmpty() || !isFull;
  }

  add(run: PlannedRun): void {
    this.#runs.push({ ...run, spoolPosition: this.#spoolPosition });
    this.#spoolPosition += run.blockCount;
    if (run.kind === 'content') this.#contentBlocks += run.blockCount;
    this.#byteCount += run.blockCount * BLOCK_BYTES;
    if (run.firstBlock !== this.#endBlock) this.#totals.extentCount += 1;
    this.#endBlock = run.firstBlock + run.blockCount;
  }

  take(): Batch {
    const batch = { runs: this.#runs, byteCount: this.#byteCount };
    this.#runs = [];
    this.#contentBlocks = 0;
    this.#byteCount = 0;
    return batch;
  }
}
