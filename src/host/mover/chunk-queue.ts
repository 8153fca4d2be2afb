import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { HASH_BYTES } from '../hash-table/record.ts';
import type { Batch, WorkRun } from './batches.ts';

/** One request's worth of a run. */
export type Chunk = WorkRun;

/** What one taker works on at a time: chunks whose content fits into its buffer. */
export type Load = readonly Chunk[];

/** Zeros need no room in a buffer, but each is a request. */
const CHUNKS_MAX = 16;

/**
 * Cuts batches into loads for several takers, and asks for the next batch while the current one is being
 * worked on. A load has at most `contentBytesMax` of content: a large run is cut, small ones share a load. Zeros are not cut.
 */
export class ChunkQueue {
  readonly #nextBatch: () => Promise<Batch | null>;
  readonly #blocksMax: number;
  #loads: Iterator<Load> = [].values();
  #upcoming: Promise<Batch | null>;
  #loading: Promise<boolean> | null = null;

  constructor(input: {
    readonly nextBatch: () => Promise<Batch | null>;
    readonly contentBytesMax: number;
  }) {
    this.#nextBatch = input.nextBatch;
    this.#blocksMax = Math.max(1, Math.floor(input.contentBytesMax / BLOCK_BYTES));
    this.#upcoming = this.#askForBatch();
  }

  /** Null after the last load of the last batch. */
  async next(): Promise<Load | null> {
    for (;;) {
      const load = this.#loads.next();
      if (!load.done) return load.value;
      this.#loading ??= this.#load();
      if (!(await this.#loading)) return null;
    }
  }

  async #load(): Promise<boolean> {
    const batch = await this.#upcoming;
    if (batch === null) return false;
    this.#loads = loadsOf(batch, this.#blocksMax);
    this.#upcoming = this.#askForBatch();
    this.#loading = null;
    return true;
  }

  #askForBatch(): Promise<Batch | null> {
    const batch = this.#nextBatch();
    // A failure is met by whoever loads this batch; if all have stopped by then, it has no one to tell.
    batch.catch(() => {});
    return batch;
  }
}

function* loadsOf(batch: Batch, blocksMax: number): Generator<Load, undefined> {
  let load: Chunk[] = [];
  let contentBlocks = 0;
  for (const chunk of chunksOf(batch, blocksMax)) {
    const blockCount = chunk.kind === 'content' ? chunk.blockCount : 0;
    if (load.length === CHUNKS_MAX || contentBlocks + blockCount > blocksMax) {
      yield load;
      load = [];
      contentBlocks = 0;
    }
    load.push(chunk);
    contentBlocks += blockCount;
  }
  if (load.length > 0) yield load;
  return undefined;
}

function* chunksOf(batch: Batch, blocksMax: number): Generator<Chunk, undefined> {
  for (const run of batch.runs) {
    const step = run.kind === 'content' ? blocksMax : run.blockCount;
    for (let at = 0; at < run.blockCount; at += step) {
      const blockCount = Math.min(step, run.blockCount - at);
      const hashes = run.knownHashes?.subarray(at * HASH_BYTES, (at + blockCount) * HASH_BYTES);
      yield {
        kind: run.kind,
        firstBlock: run.firstBlock + at,
        blockCount,
        spoolPosition: run.spoolPosition + at,
        knownHashes: hashes ?? null,
      };
    }
  }
  return undefined;
}
