/**
 * The inner loop: a few lanes, each with one buffer, take loads until none is left. For each chunk of a load a lane reads it,
 * judges and hashes its blocks, writes what must be written, and puts the records in their place of the spool; the chunks
 * of a load do so at the same time, each in its part of the buffer. Memory is as many buffers as there are lanes, whatever the disk.
 */
import { BLOCK_BYTES, MIB } from '../../domain/bytes.ts';
import { addBlocks, type BlockSet, noBlocks } from '../../domain/disk/block-set.ts';
import { encodeRecord, RECORD_BYTES, ZERO_HASH } from '../hash-table/record.ts';
import type { Batch } from './batches.ts';
import type { BlockOutput } from './block-output.ts';
import {
  createWorkspace,
  judgeBlocks,
  partOf,
  type VerdictRun,
  type Workspace,
} from './block-verdicts.ts';
import { type Chunk, ChunkQueue, type Load } from './chunk-queue.ts';
import type { NbdConnection } from './connection.ts';
import type { Counters } from './counters.ts';
import { writeRecords } from './record-spool.ts';

export type MoveJob = {
  readonly source: NbdConnection;
  readonly sizeBytes: number;
  readonly counters: Counters;
  readonly nextBatch: () => Promise<Batch | null>;
  readonly sink: Sink;
};

/** Where judged blocks go: to a target, or nowhere. */
export type Sink =
  | {
      readonly type: 'target';
      readonly output: BlockOutput;
      readonly targetReads: 'zeros' | 'parent';
      /** Where records go: an open file; writing to it is positional, so that workers can share it. */
      readonly spool: { readonly descriptor: number; readonly path: string } | null;
      readonly isThrottled: boolean;
    }
  /** `wrong`: the blocks found to differ; null until there is one. */
  | { readonly type: 'verify'; wrong: BlockSet | null };

/**
 * One reads while the other hashes and writes. Four took 4 to 7 % longer where the processor is the limit: what is read must still
 * be in the cache when it is hashed and sent.
 */
const LANES = 2;
/** Each request costs both ends a wake-up, so that smaller ones took more processor time. */
const LOAD_BYTES = MIB;

/** Moves everything that `nextBatch` gives. On failure source and output are closed and all lanes at rest. */
export async function moveBlocks(job: MoveJob): Promise<void> {
  const { source, sink } = job;
  const output = sink.type === 'target' ? sink.output : null;
  const payloads = [source.description.maximumPayloadBytes, output?.payloadBytesMax ?? LOAD_BYTES];
  const contentBytesMax = Math.min(LOAD_BYTES, ...payloads);
  const queue = new ChunkQueue({ nextBatch: job.nextBatch, contentBytesMax });
  const failures: unknown[] = [];
  // The first error is the cause; closing makes all else fail after it and come to rest.
  const failed = (error: unknown) => {
    failures.push(error);
    source.close();
    output?.close();
  };
  const lane = async () => {
    let workspace: Workspace | null = null;
    while (failures.length === 0) {
      const load = await queue.next();
      if (load === null) return;
      workspace ??= createWorkspace(contentBytesMax);
      await Promise.all(moveLoad(job, load, workspace).map((moved) => moved.catch(failed)));
    }
  };
  await Promise.all(Array.from({ length: LANES }, () => lane().catch(failed)));
  if (failures.length > 0) throw failures[0];
}

function moveLoad(job: MoveJob, load: Load, workspace: Workspace): Promise<void>[] {
  let first = 0;
  return load.map(async (chunk) => {
    if (chunk.kind === 'zeros') await moveZeros(job, chunk);
    else {
      const part = partOf(workspace, { first, count: chunk.blockCount });
      first += chunk.blockCount;
      await moveContent(job, chunk, part);
    }
    job.counters.add('done', chunk.blockCount * BLOCK_BYTES);
  });
}

async function moveContent(job: MoveJob, chunk: Chunk, part: Workspace): Promise<void> {
  const { counters, sink } = job;
  const { buffer, records } = part;
  const offsetBytes = chunk.firstBlock * BLOCK_BYTES;
  const lengthBytes = Math.min(buffer.length, job.sizeBytes - offsetBytes);
  await job.source.read(offsetBytes, buffer.subarray(0, lengthBytes));
  // The last block of a disk is hashed as if it went on with zeros.
  buffer.fill(0, lengthBytes);
  counters.add('read', lengthBytes);
  if (sink.type === 'verify') {
    const verdicts = judgeBlocks(part, chunk, { targetReads: 'parent', wantsRecords: false });
    for (const { kind, first, count } of verdicts) {
      if (kind !== 'unchanged') noteWrong(job, sink, chunk.firstBlock + first, count);
    }
    return;
  }
  const wantsRecords = sink.spool !== null;
  const runs = judgeBlocks(part, chunk, { targetReads: sink.targetReads, wantsRecords });
  const sends = runs.map((run) => carryOut(job, sink, run, { buffer, offsetBytes, lengthBytes }));
  putRecords(sink, chunk, records);
  await allSettled(sends);
}

/** Writes, zeroes or leaves alone adjacent blocks of one verdict. */
async function carryOut(
  { counters }: MoveJob,
  sink: Sink & { type: 'target' },
  run: VerdictRun,
  chunk: { readonly buffer: Buffer; readonly offsetBytes: number; readonly lengthBytes: number },
): Promise<void> {
  const start = run.first * BLOCK_BYTES;
  const end = Math.min(start + run.count * BLOCK_BYTES, chunk.lengthBytes);
  if (run.kind === 'skip') return;
  if (run.kind === 'unchanged') counters.add('unchanged', end - start);
  else if (run.kind === 'zero') {
    await sink.output.zero(chunk.offsetBytes + start, end - start);
    counters.add('zeroed', end - start);
  } else {
    if (sink.isThrottled) await counters.takeAllowance(end - start);
    await sink.output.write(chunk.offsetBytes + start, chunk.buffer.subarray(start, end));
    counters.add('sent', end - start);
  }
}

async function moveZeros(job: MoveJob, chunk: Chunk): Promise<void> {
  const { sink } = job;
  // Only where the table has content are zeros looked at: they differ, and need not be read.
  if (sink.type === 'verify') return noteWrong(job, sink, chunk.firstBlock, chunk.blockCount);
  const offsetBytes = chunk.firstBlock * BLOCK_BYTES;
  const lengthBytes = Math.min(chunk.blockCount * BLOCK_BYTES, job.sizeBytes - offsetBytes);
  await sink.output.zero(offsetBytes, lengthBytes);
  job.counters.add('zeroed', lengthBytes);
  if (sink.spool === null) return;
  const records = Buffer.allocUnsafe(chunk.blockCount * RECORD_BYTES);
  for (let index = 0; index < chunk.blockCount; index += 1) {
    encodeRecord(records, index * RECORD_BYTES, chunk.firstBlock + index, ZERO_HASH);
  }
  putRecords(sink, chunk, records);
}

function putRecords(
  { spool }: Sink & { type: 'target' },
  { spoolPosition }: Chunk,
  records: Buffer,
): void {
  if (spool !== null) writeRecords(spool, spoolPosition, records);
}

function noteWrong(
  { counters, sizeBytes }: MoveJob,
  sink: Sink & { type: 'verify' },
  firstBlock: number,
  blockCount: number,
): void {
  counters.add('wrong', blockCount);
  sink.wrong ??= noBlocks(sizeBytes);
  addBlocks(sink.wrong, { firstBlock, blockCount });
}

/** Waits for all, because the buffer is theirs until then; then throws the first error. */
async function allSettled(promises: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(promises)) {
    if (outcome.status === 'rejected') throw outcome.reason;
  }
}
