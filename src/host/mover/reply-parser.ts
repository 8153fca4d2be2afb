/**
 * Takes replies apart as their bytes arrive, without copying payload: `window()` is where the next bytes
 * must be put, and while the payload of a READ arrives that is the reader's own buffer. A reply is never
 * trusted: each cookie, length, offset and chunk type is held against the request it claims to answer, and
 * the first lie throws `ProtocolViolation`, after which the connection is worthless.
 *
 *   head (16) ─┬─ simple ────────────── payload of a READ ──┐
 *              └─ chunk ── tail (4…16) ── variable part ────┴─▶ head
 */
import type { UnderstudyError } from '../../domain/error.ts';
import { ByteCoverage } from './byte-coverage.ts';
import { ProtocolViolation } from './errors.ts';
import {
  CHUNK,
  CHUNK_ERROR_BIT,
  CHUNK_FLAG_DONE,
  CHUNK_HEADER_BYTES,
  CHUNK_MAGIC,
  COMMAND,
  type Request,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  uint64At,
} from './protocol.ts';

/** Extents of one context as they came: pairs of 32-bit length and flags. */
export type RawExtents = Buffer;

export type ReplyOutcome =
  | { readonly type: 'done'; readonly extents: ReadonlyMap<number, RawExtents> }
  | { readonly type: 'failed'; readonly wireError: number; readonly message: string };

/** A request that waits for its reply, with what has come of it. */
export type PendingRequest = {
  readonly request: Request;
  /** For READ: exactly as long as the request. */
  readonly payload: Buffer | null;
  readonly settle: (outcome: ReplyOutcome) => void;
  /** For the connection: called instead of `settle` when no reply can come any more. */
  readonly failed: (error: UnderstudyError) => void;
};

type Progress = {
  readonly pending: PendingRequest;
  readonly coverage: ByteCoverage;
  readonly extents: Map<number, RawExtents>;
  failure: { readonly wireError: number; readonly message: string } | null;
  chunkCount: number;
};

/** Four times what QEMU ever sends (131,072 extents). */
const EXTENTS_BYTES_MAX = 4 * 1024 * 1024;
/** The protocol's limit of a string. */
const MESSAGE_BYTES_MAX = 4096;
/** A READ is at most a few MiB, and no server sends it in smaller parts than sectors. */
const CHUNKS_MAX = 4096;
/** Bytes of a chunk of each type that are read in one go after the first 16: length, then fixed fields. */
const TAIL_BYTES: ReadonlyMap<number, number> = new Map([
  [CHUNK.none, 4],
  [CHUNK.offsetData, 12],
  [CHUNK.offsetHole, 16],
  [CHUNK.blockStatus, 8],
]);
const ERROR_TAIL_BYTES = 10;
const NO_EXTENTS: ReadonlyMap<number, RawExtents> = new Map();
const NOTHING = Buffer.alloc(0);

export class ReplyParser {
  readonly #structured: boolean;
  readonly #contextIds: ReadonlySet<number>;
  readonly #pending: Map<number, PendingRequest>;
  /** Replies of which some chunks have come but not the last. A subset of the pending ones. */
  readonly #begun = new Map<number, Progress>();
  readonly #head = Buffer.alloc(CHUNK_HEADER_BYTES + 12);
  #target: Buffer;
  #filled = 0;
  #end = SIMPLE_REPLY_BYTES;
  #then: () => void;

  /** `pending` is shared with the connection: the parser removes a request when it settles it. */
  constructor(input: {
    readonly structuredReplies: boolean;
    readonly contextIds: ReadonlySet<number>;
    readonly pending: Map<number, PendingRequest>;
  }) {
    this.#structured = input.structuredReplies;
    this.#contextIds = input.contextIds;
    this.#pending = input.pending;
    this.#target = this.#head;
    this.#then = this.#onHead;
  }

  /** Where the next bytes go; never empty. Valid until the next `advance`. */
  window(): Buffer {
    return this.#target.subarray(this.#filled, this.#end);
  }

  /** Says that the first `byteCount` bytes of the window are filled. Throws `ProtocolViolation`. */
  advance(byteCount: number): void {
    this.#filled += byteCount;
    if (this.#filled === this.#end) this.#then();
  }

  #want(target: Buffer, start: number, end: number, then: () => void): void {
    this.#target = target;
    this.#filled = start;
    this.#end = end;
    this.#then = then;
    if (start === end) then.call(this);
  }

  #nextReply(): void {
    this.#want(this.#head, 0, SIMPLE_REPLY_BYTES, this.#onHead);
  }

  #onHead(): void {
    const magic = this.#head.readUInt32BE(0);
    const cookie = uint64At(this.#head, 8);
    const pending = this.#pending.get(cookie);
    if (pending === undefined) throw new ProtocolViolation('it answers a request nobody made');
    if (magic === SIMPLE_REPLY_MAGIC) this.#onSimpleReply(pending);
    else if (magic === CHUNK_MAGIC && this.#structured) this.#onChunkHead(pending);
    else throw new ProtocolViolation('a reply begins with the wrong magic');
  }

  #onSimpleReply(pending: PendingRequest): void {
    const { command, cookie } = pending.request;
    const wireError = this.#head.readUInt32BE(4);
    if (this.#begun.has(cookie)) throw new ProtocolViolation('it answers in two ways at once');
    if (wireError !== 0) {
      this.#settle(pending, { type: 'failed', wireError, message: '' });
      this.#nextReply();
      return;
    }
    const hasContent = command === COMMAND.read || command === COMMAND.blockStatus;
    if (hasContent && (this.#structured || command === COMMAND.blockStatus)) {
      throw new ProtocolViolation('it sends content without structure');
    }
    const done = () => {
      this.#settle(pending, { type: 'done', extents: NO_EXTENTS });
      this.#nextReply();
    };
    const payload = command === COMMAND.read ? (pending.payload ?? NOTHING) : NOTHING;
    this.#want(payload, 0, payload.length, done);
  }

  #onChunkHead(pending: PendingRequest): void {
    const type = this.#head.readUInt16BE(6);
    const isError = (type & CHUNK_ERROR_BIT) !== 0;
    const tailBytes = isError ? ERROR_TAIL_BYTES : TAIL_BYTES.get(type);
    if (tailBytes === undefined) throw new ProtocolViolation(`a chunk has unknown type ${type}`);
    const end = SIMPLE_REPLY_BYTES + tailBytes;
    this.#want(this.#head, SIMPLE_REPLY_BYTES, end, () => this.#onChunk(pending, type));
  }

  #onChunk(pending: PendingRequest, type: number): void {
    const lengthBytes = this.#head.readUInt32BE(16);
    const progress = this.#progressOf(pending);
    const { command } = pending.request;
    if ((type & CHUNK_ERROR_BIT) !== 0) this.#onErrorChunk(progress, lengthBytes);
    else if (type === CHUNK.none) this.#onIdleChunk(progress, lengthBytes);
    else if (type === CHUNK.blockStatus && command === COMMAND.blockStatus) {
      this.#onStatusChunk(progress, lengthBytes);
    } else if (command !== COMMAND.read) throw new ProtocolViolation('an answer not asked for');
    else if (type === CHUNK.offsetHole) this.#onHoleChunk(progress, lengthBytes);
    else if (type === CHUNK.offsetData) this.#onDataChunk(progress, lengthBytes);
    else throw new ProtocolViolation('an answer not asked for');
  }

  #onIdleChunk(progress: Progress, lengthBytes: number): void {
    if (lengthBytes !== 0 || !this.#isLast()) throw new ProtocolViolation('an idle chunk');
    this.#chunkDone(progress);
  }

  #onDataChunk(progress: Progress, lengthBytes: number): void {
    const payload = progress.pending.payload ?? NOTHING;
    const start = this.#cover(progress, lengthBytes - 8);
    this.#want(payload, start, start + lengthBytes - 8, () => this.#chunkDone(progress));
  }

  #onHoleChunk(progress: Progress, lengthBytes: number): void {
    if (lengthBytes !== 12) throw new ProtocolViolation('a hole of the wrong form');
    const holeBytes = this.#head.readUInt32BE(28);
    const start = this.#cover(progress, holeBytes);
    progress.pending.payload?.fill(0, start, start + holeBytes);
    this.#chunkDone(progress);
  }

  /** Claims the part of the request that a chunk covers; returns where it begins in the payload. */
  #cover(progress: Progress, lengthBytes: number): number {
    const { offsetBytes, lengthBytes: requestedBytes } = progress.pending.request;
    const start = uint64At(this.#head, 20) - offsetBytes;
    const fits = start >= 0 && lengthBytes > 0 && start + lengthBytes <= requestedBytes;
    if (!fits || !progress.coverage.add(start, start + lengthBytes)) {
      throw new ProtocolViolation('content outside of what was asked for, or twice');
    }
    return start;
  }

  #onStatusChunk(progress: Progress, lengthBytes: number): void {
    const contextId = this.#head.readUInt32BE(20);
    const extentsBytes = lengthBytes - 4;
    if (!this.#contextIds.has(contextId) || progress.extents.has(contextId)) {
      throw new ProtocolViolation('a block status of a context that was not asked for, or twice');
    }
    if (extentsBytes <= 0 || extentsBytes % 8 !== 0 || extentsBytes > EXTENTS_BYTES_MAX) {
      throw new ProtocolViolation('a block status of absurd length');
    }
    const extents = Buffer.allocUnsafeSlow(extentsBytes);
    progress.extents.set(contextId, extents);
    this.#want(extents, 0, extentsBytes, () => this.#chunkDone(progress));
  }

  #onErrorChunk(progress: Progress, lengthBytes: number): void {
    const wireError = this.#head.readUInt32BE(20);
    const messageBytes = this.#head.readUInt16BE(24);
    const restBytes = lengthBytes - 6;
    if (wireError === 0) throw new ProtocolViolation('an error without a number');
    if (messageBytes > restBytes || restBytes > MESSAGE_BYTES_MAX + 8) {
      throw new ProtocolViolation('an error message of absurd length');
    }
    const rest = Buffer.alloc(restBytes);
    this.#want(rest, 0, restBytes, () => {
      progress.failure ??= { wireError, message: rest.toString('utf8', 0, messageBytes) };
      this.#chunkDone(progress);
    });
  }

  #progressOf(pending: PendingRequest): Progress {
    const { cookie } = pending.request;
    let progress = this.#begun.get(cookie);
    if (progress === undefined) {
      const coverage = new ByteCoverage();
      progress = { pending, coverage, extents: new Map(), failure: null, chunkCount: 0 };
      this.#begun.set(cookie, progress);
    }
    progress.chunkCount += 1;
    if (progress.chunkCount > CHUNKS_MAX) throw new ProtocolViolation('an endless reply');
    return progress;
  }

  /** The flags are still in the head: nothing else is read into it before the next reply. */
  #isLast(): boolean {
    return (this.#head.readUInt16BE(4) & CHUNK_FLAG_DONE) !== 0;
  }

  #chunkDone(progress: Progress): void {
    if (this.#isLast()) this.#replyDone(progress);
    this.#nextReply();
  }

  #replyDone(progress: Progress): void {
    const { pending, failure, coverage, extents } = progress;
    const { command, lengthBytes } = pending.request;
    if (failure !== null) {
      this.#settle(pending, { type: 'failed', ...failure });
      return;
    }
    if (command === COMMAND.read && !coverage.isComplete(lengthBytes)) {
      throw new ProtocolViolation('content is missing from a reply');
    }
    if (command === COMMAND.blockStatus && extents.size !== this.#contextIds.size) {
      throw new ProtocolViolation('a context is missing from a block status');
    }
    this.#settle(pending, { type: 'done', extents });
  }

  #settle(pending: PendingRequest, outcome: ReplyOutcome): void {
    this.#begun.delete(pending.request.cookie);
    this.#pending.delete(pending.request.cookie);
    pending.settle(outcome);
  }
}
