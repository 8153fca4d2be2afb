/**
 * The fixed newstyle handshake as a generator: it yields what to write and how many bytes it wants next,
 * and returns what was agreed. Having no socket, it can be fed anything by a test.
 *
 *   server  NBDMAGIC IHAVEOPT flags        client  flags
 *   client  STRUCTURED_REPLY, SET_META_CONTEXT (when wanted), GO       server  replies to each
 */
import { EndpointRefusal } from './errors.ts';
import { TRANSMISSION, uint64At } from './protocol.ts';

export type HandshakeRequest = {
  readonly exportName: string;
  /** Ask for structured replies. Without them holes are sent as zeros and there is no block status. */
  readonly structuredReplies: boolean;
  /** Meta contexts to ask for, such as `base:allocation`. Needs structured replies. */
  readonly metaContexts: readonly string[];
};

/** What the server offers. */
export type ExportDescription = {
  readonly sizeBytes: number;
  readonly transmissionFlags: number;
  readonly structuredReplies: boolean;
  /** Contexts the server agreed to: id on the wire by name. */
  readonly contexts: ReadonlyMap<string, number>;
  readonly maximumPayloadBytes: number;
};

export type HandshakeStep =
  | { readonly type: 'write'; readonly bytes: Buffer }
  | { readonly type: 'read'; readonly lengthBytes: number };

type Handshake<T> = Generator<HandshakeStep, T, Buffer>;

const NBD_MAGIC = Buffer.from('NBDMAGICIHAVEOPT', 'latin1');
const OPTION_REPLY_MAGIC = 0x3e889045565a9n;
const FIXED_NEWSTYLE = 1;
const NO_ZEROES = 2;
const OPTION = { go: 7, structuredReply: 8, setMetaContext: 10 } as const;
const REPLY = {
  ack: 1,
  info: 3,
  metaContext: 4,
  errorBit: 2 ** 31,
  shutdown: 2 ** 31 + 7,
} as const;
const INFO = { export: 0, blockSize: 3 } as const;
const REFUSALS: Readonly<Record<number, string>> = {
  1: 'the server does not support what is needed',
  2: 'the server forbids it',
  3: 'the server calls the request invalid',
  5: 'the server demands TLS',
  6: 'there is no such export',
  8: 'the server demands its own block size',
};

/** No option reply is legitimately longer: names are at most 4 KiB. Bounds what a liar makes us allocate. */
const OPTION_REPLY_BYTES_MAX = 16 * 1024;
/** As many information replies as any server has reason to send to one option. */
const OPTION_REPLIES_MAX = 64;
/** What every server must take when it does not say otherwise. */
const DEFAULT_PAYLOAD_BYTES = 32 * 1024 * 1024;

/** Throws `EndpointRefusal`; a plain error where trying again may help. */
export function* handshake(request: HandshakeRequest): Handshake<ExportDescription> {
  const greeting = yield* read(18);
  if (!greeting.subarray(0, 16).equals(NBD_MAGIC)) throw new EndpointRefusal('it is no NBD server');
  const serverFlags = greeting.readUInt16BE(16);
  if ((serverFlags & FIXED_NEWSTYLE) === 0) {
    throw new EndpointRefusal('it does not speak fixed newstyle NBD');
  }
  const clientFlags = Buffer.from([0, 0, 0, FIXED_NEWSTYLE | (serverFlags & NO_ZEROES)]);
  yield { type: 'write', bytes: clientFlags };
  const structuredReplies = request.structuredReplies && (yield* askStructuredReplies());
  const contexts =
    structuredReplies && request.metaContexts.length > 0
      ? yield* askContexts(request)
      : new Map<string, number>();
  return { ...(yield* go(request.exportName)), structuredReplies, contexts };
}

function* askStructuredReplies(): Handshake<boolean> {
  yield { type: 'write', bytes: option(OPTION.structuredReply, Buffer.alloc(0)) };
  return (yield* optionReply(OPTION.structuredReply)).type === REPLY.ack;
}

/** A server that knows none of the contexts, or no contexts at all, leaves the map empty. */
function* askContexts(request: HandshakeRequest): Handshake<Map<string, number>> {
  const names = request.metaContexts.map(lengthPrefixed);
  const body = Buffer.concat([lengthPrefixed(request.exportName), uint32(names.length), ...names]);
  yield { type: 'write', bytes: option(OPTION.setMetaContext, body) };
  const contexts = new Map<string, number>();
  for (let count = 0; count < OPTION_REPLIES_MAX; count += 1) {
    const reply = yield* optionReply(OPTION.setMetaContext);
    if (reply.type === REPLY.ack || reply.type >= REPLY.errorBit) return contexts;
    if (reply.type !== REPLY.metaContext || reply.body.length < 4) break;
    const name = reply.body.toString('utf8', 4);
    const id = reply.body.readUInt32BE(0);
    if (!request.metaContexts.includes(name) || contexts.has(name)) break;
    if ([...contexts.values()].includes(id)) break;
    contexts.set(name, id);
  }
  throw new EndpointRefusal('it answers nonsense about its meta contexts');
}

type GoAnswer = Pick<ExportDescription, 'sizeBytes' | 'transmissionFlags' | 'maximumPayloadBytes'>;

function* go(exportName: string): Handshake<GoAnswer> {
  // One information request: block sizes. A server that is asked for them may be strict about them.
  const body = Buffer.concat([lengthPrefixed(exportName), Buffer.from([0, 1, 0, INFO.blockSize])]);
  yield { type: 'write', bytes: option(OPTION.go, body) };
  let answer: GoAnswer | null = null;
  let maximumPayloadBytes = DEFAULT_PAYLOAD_BYTES;
  for (let count = 0; count < OPTION_REPLIES_MAX; count += 1) {
    const reply = yield* optionReply(OPTION.go);
    if (reply.type === REPLY.ack) {
      if (answer === null) throw new EndpointRefusal('it does not say how large the export is');
      return { ...answer, maximumPayloadBytes };
    }
    if (reply.type === REPLY.shutdown) throw new Error('the server is shutting down');
    if (reply.type !== REPLY.info) throw new EndpointRefusal(refusal(reply.type));
    const kind = reply.body.length < 2 ? -1 : reply.body.readUInt16BE(0);
    if (kind === INFO.export) answer = exportInformation(reply.body);
    if (kind === INFO.blockSize) maximumPayloadBytes = payloadLimit(reply.body);
  }
  throw new EndpointRefusal('it does not come to the point');
}

function exportInformation(body: Buffer): GoAnswer {
  if (body.length !== 12) throw new EndpointRefusal('its export information is malformed');
  const sizeBytes = uint64At(body, 2);
  if (!Number.isSafeInteger(sizeBytes)) throw new EndpointRefusal('its size is absurd');
  const transmissionFlags = body.readUInt16BE(10);
  if ((transmissionFlags & TRANSMISSION.hasFlags) === 0) {
    throw new EndpointRefusal('its transmission flags are malformed');
  }
  return { sizeBytes, transmissionFlags, maximumPayloadBytes: DEFAULT_PAYLOAD_BYTES };
}

/** Block size information: minimum, preferred, maximum payload. We only ever send multiples of 512. */
function payloadLimit(body: Buffer): number {
  if (body.length !== 14) throw new EndpointRefusal('its block sizes are malformed');
  if (body.readUInt32BE(2) > 65_536) throw new EndpointRefusal('its blocks exceed 64 KiB');
  const maximumBytes = body.readUInt32BE(10);
  if (maximumBytes < 65_536) throw new EndpointRefusal('it takes less than 64 KiB at a time');
  return Math.min(maximumBytes, DEFAULT_PAYLOAD_BYTES);
}

function* optionReply(asked: number): Handshake<{ type: number; body: Buffer }> {
  const head = yield* read(20);
  const lengthBytes = head.readUInt32BE(16);
  if (head.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC || head.readUInt32BE(8) !== asked) {
    throw new EndpointRefusal('it answers something that was not asked');
  }
  if (lengthBytes > OPTION_REPLY_BYTES_MAX) throw new EndpointRefusal('its answer is too long');
  const body = lengthBytes === 0 ? Buffer.alloc(0) : yield* read(lengthBytes);
  return { type: head.readUInt32BE(12), body };
}

function* read(lengthBytes: number): Handshake<Buffer> {
  return yield { type: 'read', lengthBytes };
}

function refusal(replyType: number): string {
  return REFUSALS[replyType - REPLY.errorBit] ?? `it answers ${replyType} to the opening`;
}

function option(code: number, body: Buffer): Buffer {
  const head = Buffer.alloc(16);
  NBD_MAGIC.copy(head, 0, 8);
  head.writeUInt32BE(code, 8);
  head.writeUInt32BE(body.length, 12);
  return Buffer.concat([head, body]);
}

function lengthPrefixed(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([uint32(bytes.length), bytes]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value, 0);
  return bytes;
}
