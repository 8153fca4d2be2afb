/**
 * The inner loop: a few lanes, each with one buffer, take chunks until none is left. A lane reads a chunk,
 * judges and hashes its blocks, writes what must be written, and puts the records in their place of the
 * spool. With eight lanes eight requests are in flight, and memory is eight buffers whatever the disk.
 */
import { BLOCK_BYTES, KIB } from '../../domain/bytes.ts';
import { encodeRecord, encodeVoidRecord, RECORD_BYTES, ZERO_HASH } from '../hash-table/record.ts';
import type { Batch } from './batches.ts';
import { type BlockVerdict, judgeBlocks, type VerdictRun, verdictRuns } from './block-verdicts.ts';
import { type Chunk, ChunkQueue } from './chunk-queue.ts';
import type { NbdConnection } from './connection.ts';
import type { Counters } from './counters.ts';
import { TRANSMISSION } from './protocol.ts';
import { writeRecords } from './record-spool.ts';

export type MoveJob = {
  readonly source: NbdConnection;
  readonly sizeBytes: number;
  readonly counters: Counters;
  readonly nextBatch: () => Promise<Batch | null>;
  readonly sink: Sink;
  /** How many requests are in flight, each with a buffer. */
  readonly laneCount: number;
};

/** Where judged blocks go: to a target, or nowhere. */
export type Sink =
  | {
      readonly type: 'target';
      readonly target: NbdConnection;
      readonly targetReads: 'zeros' | 'parent';
      /** An open file; writing to it is positional, so that workers can share it. */
      readonly spoolDescriptor: number;
      readonly spoolPath: string;
      readonly isThrottled: boolean;
    }
  | { readonly type: 'verify'; readonly wrongBlocks: number[] };

/** Measured: enough to keep both servers busy. */
export const LANES = 8;
/** Measured: 1 MiB is as fast but takes 8 MiB more; smaller and much larger ones are slower. */
const CHUNK_BYTES = 512 * KIB;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

/** Moves everything that `nextBatch` gives. On failure both connections are closed and all lanes at rest. */
export async function moveBlocks(job: MoveJob): Promise<void> {
  const connections = job.sink.type === 'target' ? [job.source, job.sink.target] : [job.source];
  const payloads = connections.map(({ description }) => description.maximumPayloadBytes);
  const contentBytesMax = Math.min(CHUNK_BYTES, ...payloads);
  const queue = new ChunkQueue({ nextBatch: job.nextBatch, contentBytesMax });
  const failures: unknown[] = [];
  const runLane = async () => {
    try {
      await lane(job, queue, failures, contentBytesMax);
    } catch (error) {
      // The first error is the cause; closing makes the other lanes fail after it and come to rest.
      failures.push(error);
      for (const connection of connections) connection.close();
    }
  };
  await Promise.all(Array.from({ length: job.laneCount }, runLane));
  if (failures.length > 0) throw failures[0];
}

async function lane(
  job: MoveJob,
  queue: ChunkQueue,
  failures: readonly unknown[],
  contentBytesMax: number,
): Promise<void> {
  let buffer: Buffer | null = null;
  while (failures.length === 0) {
    const chunk = await queue.next();
    if (chunk === null) return;
    if (chunk.kind === 'zeros') await moveZeros(job, chunk);
    else {
      buffer ??= Buffer.allocUnsafeSlow(contentBytesMax);
      await moveContent(job, chunk, buffer);
    }
    job.counters.add('done', chunk.blockCount * BLOCK_BYTES);
  }
}

async function moveContent(job: MoveJob, chunk: Chunk, buffer: Buffer): Promise<void> {
  const { counters, sink } = job;
  const offsetBytes = chunk.firstBlock * BLOCK_BYTES;
  const lengthBytes = Math.min(chunk.blockCount * BLOCK_BYTES, job.sizeBytes - offsetBytes);
  await job.source.read(offsetBytes, buffer.subarray(0, lengthBytes));
  // The last block of a disk is hashed as if it went on with zeros.
  buffer.fill(0, lengthBytes, chunk.blockCount * BLOCK_BYTES);
  counters.add('read', lengthBytes);
  const verdicts = judgeBlocks({ chunk, buffer, sink });
  if (sink.type === 'verify') {
    noteWrongBlocks(verdicts, chunk, counters, sink.wrongBlocks);
    return;
  }
  const sends: Promise<void>[] = [];
  for (const run of verdictRuns(verdicts)) {
    sends.push(carryOut(job, sink, run, { buffer, offsetBytes, lengthBytes }));
  }
  writeVerdicts(sink, chunk, verdicts);
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
    await zeroRange(sink.target, chunk.offsetBytes + start, end - start);
    counters.add('zeroed', end - start);
  } else {
    if (sink.isThrottled) await counters.takeAllowance(end - start);
    await sink.target.write(chunk.offsetBytes + start, chunk.buffer.subarray(start, end));
    counters.add('sent', end - start);
  }
}

async function moveZeros(job: MoveJob, chunk: Chunk): Promise<void> {
  const { sink } = job;
  if (sink.type === 'verify') return;
  const offsetBytes = chunk.firstBlock * BLOCK_BYTES;
  const lengthBytes = Math.min(chunk.blockCount * BLOCK_BYTES, job.sizeBytes - offsetBytes);
  await zeroRange(sink.target, offsetBytes, lengthBytes);
  job.counters.add('zeroed', lengthBytes);
  const verdict: BlockVerdict = { kind: 'zero', hash: ZERO_HASH };
  writeVerdicts(sink, chunk, Array(chunk.blockCount).fill(verdict));
}

async function zeroRange(
  target: NbdConnection,
  offsetBytes: number,
  lengthBytes: number,
): Promise<void> {
  if ((target.description.transmissionFlags & TRANSMISSION.writeZeroes) !== 0) {
    return await target.writeZeroes(offsetBytes, lengthBytes);
  }
  for (let at = 0; at < lengthBytes; at += BLOCK_BYTES) {
    const content = ZEROS.subarray(0, Math.min(BLOCK_BYTES, lengthBytes - at));
    await target.write(offsetBytes + at, content);
  }
}

function writeVerdicts(
  { spoolDescriptor, spoolPath }: Sink & { type: 'target' },
  chunk: Chunk,
  verdicts: readonly BlockVerdict[],
): void {
  const records = Buffer.allocUnsafe(verdicts.length * RECORD_BYTES);
  for (const [index, { hash }] of verdicts.entries()) {
    const at = index * RECORD_BYTES;
    if (hash === null) encodeVoidRecord(records, at);
    else encodeRecord(records, at, chunk.firstBlock + index, hash);
  }
  writeRecords({ descriptor: spoolDescriptor, path: spoolPath }, chunk.spoolPosition, records);
}

/** Keeps the 100 smallest indexes: lanes and workers meet wrong blocks out of order. */
export const WRONG_BLOCKS_MAX = 100;

function noteWrongBlocks(
  verdicts: readonly BlockVerdict[],
  chunk: Chunk,
  counters: Counters,
  wrongBlocks: number[],
): void {
  for (const [index, { kind }] of verdicts.entries()) {
    if (kind === 'unchanged') continue;
    counters.add('wrong', 1);
    wrongBlocks.push(chunk.firstBlock + index);
  }
  if (wrongBlocks.length <= WRONG_BLOCKS_MAX) return;
  wrongBlocks.sort((a, b) => a - b);
  wrongBlocks.length = WRONG_BLOCKS_MAX;
}

/** Waits for all, because the buffer is theirs until then; then throws the first error. */
async function allSettled(promises: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(promises)) {
    if (outcome.status === 'rejected') throw outcome.reason;
  }
}
