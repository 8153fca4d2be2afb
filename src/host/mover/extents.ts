/**
 * What a server says about the ranges of its export (BLOCK_STATUS), in windows of bounded size, so that
 * neither the disk's size nor its fragmentation decides how much is held. One answer may cover less than
 * was asked, and differently for each context: the next question begins where the least one ended.
 */
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { BlockEndpoint } from '../../ports/mover.ts';
import { connectNbd, type NbdConnection } from './connection.ts';
import { invalidEndpoint, transferFailed } from './errors.ts';
import type { RawExtents } from './reply-parser.ts';

/** 8,192 blocks: at most 1 MiB of runs even when every other block is of another kind. */
const WINDOW_BYTES = 512 * 1024 ** 2;
/** The largest request of whole blocks: its length has 32 bits. */
const WINDOW_BYTES_MAX = 4 * 1024 ** 3 - BLOCK_BYTES;
/**
 * Where an answer has at most so many extents, the next question is about eight times as much. A disk of 1 TiB that is
 * nearly empty is asked about 260 times then, not 2,048 times, a tenth of a millisecond each.
 */
const FEW_EXTENTS = 64;
/** Each answer may be 8 MiB where a nearly empty disk turns out to be full of holes. */
const ASKED_AHEAD = 4;
const EXTENT_BYTES = 8;
const READ_BYTES_MAX = 1024 ** 2;

export type Extent = {
  readonly context: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** As the context defines them: `base:allocation` 1 hole, 2 zero; `qemu:dirty-bitmap:…` 1 dirty. */
  readonly flags: number;
};

/** A range that has the same flags throughout, in every context. */
export type Segment = {
  readonly start: number;
  readonly end: number;
  /** Flags by position in the list of contexts asked for. */
  readonly flags: readonly number[];
};

/** The extents of each context in ascending order, window by window. Errors as of a transfer. */
export async function* mapExtents(
  endpoint: BlockEndpoint,
  contexts: readonly string[],
  { signal }: CallOptions,
): AsyncGenerator<Extent> {
  const request = { endpoint, structuredReplies: true, metaContexts: contexts };
  const connection = await connectNbd(request, { signal });
  const { sizeBytes } = connection.description;
  try {
    for await (const segments of mapSegments(connection, contexts, { start: 0, end: sizeBytes })) {
      for (const { start, end, flags } of segments) {
        for (const [index, context] of contexts.entries()) {
          const lengthBytes = end - start;
          yield { context, offsetBytes: start, lengthBytes, flags: flags[index] ?? 0 };
        }
      }
    }
  } finally {
    connection.close();
  }
}

/** The bytes of a range, in a buffer of its own: for small ranges. */
export async function readRange(
  endpoint: BlockEndpoint,
  { offsetBytes, lengthBytes }: { readonly offsetBytes: number; readonly lengthBytes: number },
  { signal }: CallOptions,
): Promise<Buffer> {
  const request = { endpoint, structuredReplies: true, metaContexts: [] };
  const connection = await connectNbd(request, { signal });
  try {
    const content = Buffer.alloc(lengthBytes);
    for (let at = 0; at < lengthBytes; at += READ_BYTES_MAX) {
      await connection.read(offsetBytes + at, content.subarray(at, at + READ_BYTES_MAX));
    }
    return content;
  } finally {
    connection.close();
  }
}

/**
 * A part of the export in segments, ascending and without gaps. `first`: what was asked about its beginning before. Every
 * context must have been agreed on; throws `invalid-endpoint` otherwise.
 */
export async function* mapSegments(
  connection: NbdConnection,
  contexts: readonly string[],
  range: { readonly start: number; readonly end: number },
  first?: Question,
): AsyncGenerator<Iterable<Segment>> {
  const agreed = connection.description.contexts;
  const ids = contexts.map((context) => {
    const id = agreed.get(context);
    if (id === undefined) throw invalidEndpoint(connection.endpoint, `it has no ${context}`);
    return id;
  });
  const ahead = first === undefined ? [] : [first];
  let { start } = range;
  let windowBytes = WINDOW_BYTES;
  while (start < range.end) {
    const question = nextQuestion(connection, ahead, { start, end: range.end, windowBytes });
    if (windowBytes === WINDOW_BYTES_MAX) askAhead(connection, ahead, question, range.end);
    const { limit } = question;
    const status = await question.answer;
    const lists = ids.map((id) => {
      const extents = status.get(id);
      if (extents === undefined) throw transferFailed(connection.endpoint, 'no block status came');
      return extents;
    });
    const covered = Math.min(limit, ...lists.map((list) => coveredBytes(connection, list)));
    yield segmentsOf(lists, start, start + covered);
    start += covered;
    const extentCount = Math.max(...lists.map((list) => list.length / EXTENT_BYTES));
    windowBytes = extentCount <= FEW_EXTENTS ? WINDOW_BYTES_MAX : WINDOW_BYTES;
  }
}

export type Question = {
  readonly start: number;
  readonly limit: number;
  readonly answer: Promise<ReadonlyMap<number, RawExtents>>;
};

export function ask(connection: NbdConnection, start: number, limit: number): Question {
  const answer = connection.blockStatus(start, limit);
  // Whoever waits for it hears of a failure; one that was asked ahead may have nobody who does.
  answer.catch(() => {});
  return { start, limit, answer };
}

/** What was asked ahead, or as much as an answer left out before it. */
function nextQuestion(
  connection: NbdConnection,
  ahead: Question[],
  { start, end, windowBytes }: { start: number; end: number; windowBytes: number },
): Question {
  const [first] = ahead;
  if (first?.start === start) {
    ahead.shift();
    return first;
  }
  return ask(connection, start, Math.min(windowBytes, (first?.start ?? end) - start));
}

/** Nearly all that a vast and nearly empty disk costs is the way to the server and back, 260 times: so not one by one. */
function askAhead(
  connection: NbdConnection,
  ahead: Question[],
  current: Question,
  end: number,
): void {
  const last = ahead.at(-1) ?? current;
  let start = last.start + last.limit;
  while (ahead.length < ASKED_AHEAD && start < end) {
    const limit = Math.min(WINDOW_BYTES_MAX, end - start);
    ahead.push(ask(connection, start, limit));
    start += limit;
  }
}

/** The sum of the lengths. Every extent must have one, else we might ask for ever. */
function coveredBytes(connection: NbdConnection, extents: RawExtents): number {
  let covered = 0;
  for (let at = 0; at < extents.length; at += EXTENT_BYTES) {
    const lengthBytes = extents.readUInt32BE(at);
    if (lengthBytes === 0) throw transferFailed(connection.endpoint, 'an extent is empty');
    covered += lengthBytes;
  }
  return covered;
}

/** Cuts the lists at each other's borders, up to `end`, which none of them falls short of. */
function* segmentsOf(lists: readonly RawExtents[], from: number, end: number): Generator<Segment> {
  const cursors = lists.map((list) => ({ list, at: 0, end: from + list.readUInt32BE(0) }));
  let start = from;
  while (start < end) {
    const segmentEnd = Math.min(end, ...cursors.map((cursor) => cursor.end));
    const flags = cursors.map(({ list, at }) => list.readUInt32BE(at + 4));
    yield { start, end: segmentEnd, flags };
    start = segmentEnd;
    for (const cursor of cursors) {
      if (cursor.end > start || start >= end) continue;
      cursor.at += EXTENT_BYTES;
      cursor.end += cursor.list.readUInt32BE(cursor.at);
    }
  }
}
