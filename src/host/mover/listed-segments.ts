/**
 * What a source says about blocks that were chosen beforehand. Asked in spans of listed blocks that lie near each other,
 * so that the cost follows the list and not the disk: a few blocks of a tebibyte are a few questions.
 */
import { BLOCK_BYTES, MIB } from '../../domain/bytes.ts';
import { type BlockRange, type BlockSet, rangesOf } from '../../domain/disk/block-set.ts';
import type { BlockSegment } from './block-runs.ts';
import type { NbdConnection } from './connection.ts';
import { ask, mapSegments, type Question, type Segment } from './extents.ts';
import { ALLOCATION_CONTEXT, ALLOCATION_ZERO } from './protocol.ts';

/** What is answered about blocks nobody asked for costs less than another question, up to about this many. */
const GAP_BLOCKS_MAX = (16 * MIB) / BLOCK_BYTES;
/** As many as one question may be about: extents.ts says why. */
const SPAN_BLOCKS_MAX = (512 * MIB) / BLOCK_BYTES;

/**
 * Changes that are spread over a vast disk are many questions, and the way there and back is most of what each costs. An answer is
 * 1 MiB at most.
 */
const ASKED_AHEAD = 8;

/** Listed blocks near each other, ascending. */
type Span = readonly BlockRange[];

type AskedSpan = { readonly ranges: readonly ByteRange[]; readonly question: Question | null };

/** Just the listed blocks before `sizeBytes`, all selected. Without allocation all of them count as content. */
export async function* listedSegments(
  source: NbdConnection,
  blocks: BlockSet,
  sizeBytes: number,
): AsyncGenerator<Iterable<BlockSegment>> {
  for (const { ranges, question } of askedAhead(source, blocks, sizeBytes)) {
    if (question === null) {
      yield ranges.map((range) => ({ ...range, isSelected: true, isZero: false }));
      continue;
    }
    const { start, limit } = question;
    const asked = { start, end: start + limit };
    for await (const segments of mapSegments(source, [ALLOCATION_CONTEXT], asked, question)) {
      yield withinRanges(segments, ranges);
    }
  }
}

/** The spans, each with its question, if the source can answer it; a few more are under way. */
function* askedAhead(
  source: NbdConnection,
  blocks: BlockSet,
  sizeBytes: number,
): Generator<AskedSpan> {
  const hasAllocation = source.description.contexts.has(ALLOCATION_CONTEXT);
  const ahead: AskedSpan[] = [];
  for (const span of spansOf(rangesOf(blocks))) {
    const ranges = byteRanges(span, sizeBytes);
    const first = ranges[0];
    const last = ranges.at(-1);
    if (first === undefined || last === undefined) break;
    const { start } = first;
    ahead.push({ ranges, question: hasAllocation ? ask(source, start, last.end - start) : null });
    const next = ahead.length > ASKED_AHEAD ? ahead.shift() : undefined;
    if (next !== undefined) yield next;
  }
  yield* ahead;
}

function* spansOf(ranges: Iterable<BlockRange>): Generator<Span> {
  let span: BlockRange[] = [];
  let firstBlock = 0;
  let endBlock = 0;
  for (const range of ranges) {
    for (const piece of pieces(range)) {
      const end = piece.firstBlock + piece.blockCount;
      const isNear = piece.firstBlock - endBlock <= GAP_BLOCKS_MAX;
      if (span.length > 0 && (!isNear || end - firstBlock > SPAN_BLOCKS_MAX)) {
        yield span;
        span = [];
      }
      if (span.length === 0) firstBlock = piece.firstBlock;
      span.push(piece);
      endBlock = end;
    }
  }
  if (span.length > 0) yield span;
}

function* pieces(range: BlockRange): Generator<BlockRange> {
  for (let at = 0; at < range.blockCount; at += SPAN_BLOCKS_MAX) {
    const blockCount = Math.min(SPAN_BLOCKS_MAX, range.blockCount - at);
    yield { firstBlock: range.firstBlock + at, blockCount };
  }
}

type ByteRange = { readonly start: number; readonly end: number };

function byteRanges(span: Span, sizeBytes: number): readonly ByteRange[] {
  return span
    .map(({ firstBlock, blockCount }) => ({
      start: firstBlock * BLOCK_BYTES,
      end: Math.min((firstBlock + blockCount) * BLOCK_BYTES, sizeBytes),
    }))
    .filter(({ start, end }) => start < end);
}

/** The parts of the segments that are in the ranges; both ascend. */
function* withinRanges(
  segments: Iterable<Segment>,
  ranges: readonly ByteRange[],
): Generator<BlockSegment> {
  let at = 0;
  for (const { start, end, flags } of segments) {
    const isZero = ((flags[0] ?? 0) & ALLOCATION_ZERO) !== 0;
    for (;;) {
      const range = ranges[at];
      if (range === undefined || range.start >= end) break;
      const from = Math.max(start, range.start);
      const until = Math.min(end, range.end);
      if (from < until) yield { start: from, end: until, isSelected: true, isZero };
      if (range.end > end) break;
      at += 1;
    }
  }
}
