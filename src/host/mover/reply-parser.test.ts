import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ProtocolViolation } from './errors.ts';
import { COMMAND, type Command } from './protocol.ts';
import { type PendingRequest, type ReplyOutcome, ReplyParser } from './reply-parser.ts';
import { chunk, simple, u32, u64 } from './testing/fake-nbd-server.ts';

type Settled = { outcome: ReplyOutcome | null };

function parserFor(
  requests: readonly { cookie: number; command: Command; offset: number; length: number }[],
  structuredReplies = true,
) {
  const pending = new Map<number, PendingRequest>();
  const settled = new Map<number, Settled & { payload: Buffer }>();
  for (const { cookie, command, offset, length } of requests) {
    const payload = Buffer.alloc(command === COMMAND.read ? length : 0, 0xee);
    const slot = { outcome: null as ReplyOutcome | null, payload };
    settled.set(cookie, slot);
    pending.set(cookie, {
      request: { command, cookie, offsetBytes: offset, lengthBytes: length },
      payload: command === COMMAND.read ? payload : null,
      settle: (outcome) => {
        slot.outcome = outcome;
      },
      failed: () => {},
    });
  }
  return {
    parser: new ReplyParser({ structuredReplies, contextIds: new Set([7]), pending }),
    settled,
  };
}

/** Feeds a stream in pieces of the given sizes; each window must be neither empty nor huge. */
function feed(parser: ReplyParser, stream: Buffer, cuts: readonly number[]): void {
  let at = 0;
  for (let turn = 0; at < stream.length; turn += 1) {
    const window = parser.window();
    assert.ok(window.length > 0 && window.length <= 4 * 1024 * 1024);
    const take = Math.min(window.length, stream.length - at, cuts[turn % cuts.length] ?? 1);
    stream.copy(window, 0, at, at + take);
    at += take;
    parser.advance(take);
  }
}

const READ = { cookie: 1, command: COMMAND.read, offset: 4096, length: 1024 };
const STATUS = { cookie: 2, command: COMMAND.blockStatus, offset: 0, length: 65536 };
const WRITE = { cookie: 3, command: COMMAND.write, offset: 0, length: 512 };
const ALL = [READ, STATUS, WRITE];
const cookie = (value: number) => ({ cookie: BigInt(value) });
const part = (offset: number, bytes: Buffer) => Buffer.concat([u64(BigInt(offset)), bytes]);

const VALID = Buffer.concat([
  chunk(cookie(1), 1, part(4096 + 512, Buffer.alloc(256, 2)), false),
  chunk(cookie(2), 5, Buffer.concat([u32(7), u32(65536), u32(3)]), true),
  chunk(cookie(1), 1, part(4096, Buffer.alloc(512, 1)), false),
  simple(cookie(3), 28),
  chunk(cookie(1), 2, part(4096 + 768, u32(256)), true),
]);
const cutSizes = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 20 });

test('a valid stream means the same however it is cut', () => {
  fc.assert(
    fc.property(cutSizes, (cuts) => {
      const { parser, settled } = parserFor(ALL);
      feed(parser, VALID, cuts);
      const content = Buffer.concat([
        Buffer.alloc(512, 1),
        Buffer.alloc(256, 2),
        Buffer.alloc(256),
      ]);
      assert.deepEqual(settled.get(1)?.payload, content);
      assert.equal(settled.get(1)?.outcome?.type, 'done');
      assert.deepEqual(settled.get(3)?.outcome, { type: 'failed', wireError: 28, message: '' });
      const status = settled.get(2)?.outcome;
      assert.ok(status?.type === 'done' && status.extents.get(7)?.length === 8);
    }),
  );
});

test('any stream is either understood or a violation, nothing else', () => {
  const mutated = fc
    .array(fc.tuple(fc.nat(VALID.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
    .map((changes) => {
      const bytes = Buffer.from(VALID);
      for (const [at, value] of changes) bytes[at] = value;
      return bytes;
    });
  const random = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
  const headed = fc
    .tuple(
      fc.constantFrom(0x67446698, 0x668e33ef),
      fc.nat(0xffff),
      fc.nat(0xffff),
      fc.nat(4),
      random,
    )
    .map(([magic, flags, type, id, rest]) =>
      Buffer.concat([u32(magic), u32(flags * 65536 + type), u64(BigInt(id)), rest]),
    );
  const streams = fc.oneof(mutated, random, headed);
  fc.assert(
    fc.property(streams, cutSizes, fc.boolean(), (stream, cuts, structured) => {
      const { parser, settled } = parserFor(ALL, structured);
      try {
        feed(parser, stream, cuts);
      } catch (error) {
        assert.ok(error instanceof ProtocolViolation, String(error));
      }
      for (const { payload } of settled.values()) assert.ok(payload.length <= 1024);
    }),
    { numRuns: 3000 },
  );
});

const LIES: readonly { readonly name: string; readonly stream: Buffer }[] = [
  { name: 'an unknown cookie', stream: simple(cookie(99), 0) },
  { name: 'a cookie with high bits', stream: simple({ cookie: 2n ** 32n + 3n }, 0) },
  { name: 'content of a write', stream: chunk(cookie(3), 1, part(0, Buffer.alloc(8)), true) },
  {
    name: 'content twice',
    stream: Buffer.concat(
      [0, 1].map(() => chunk(cookie(1), 1, part(4096, Buffer.alloc(512)), false)),
    ),
  },
  {
    name: 'content before the range',
    stream: chunk(cookie(1), 1, part(4000, Buffer.alloc(512)), true),
  },
  {
    name: 'content behind the range',
    stream: chunk(cookie(1), 1, part(4608, Buffer.alloc(600)), true),
  },
  { name: 'an empty part', stream: chunk(cookie(1), 1, part(4096, Buffer.alloc(0)), false) },
  { name: 'a hole that is too long', stream: chunk(cookie(1), 2, part(4096, u32(1025)), true) },
  { name: 'missing content', stream: chunk(cookie(1), 1, part(4096, Buffer.alloc(1023)), true) },
  { name: 'an end without a word', stream: chunk(cookie(1), 0, Buffer.alloc(0), true) },
  {
    name: 'a status of another context',
    stream: chunk(cookie(2), 5, Buffer.concat([u32(8), u32(1), u32(1)]), true),
  },
  { name: 'half an extent', stream: chunk(cookie(2), 5, Buffer.concat([u32(7), u32(1)]), true) },
  { name: 'a status that is missing', stream: chunk(cookie(2), 0, Buffer.alloc(0), true) },
  {
    name: 'a gigantic status',
    stream: Buffer.concat([u32(0x668e33ef), u32(5), u64(2n), u32(0xfffffffc), u32(7)]),
  },
  {
    name: 'a gigantic error message',
    stream: Buffer.concat([
      u32(0x668e33ef),
      u32(0x8001),
      u64(1n),
      u32(0xfffffff0),
      u32(5),
      Buffer.alloc(2),
    ]),
  },
  {
    name: 'an error message longer than its chunk',
    stream: chunk(cookie(1), 0x8001, Buffer.concat([u32(5), Buffer.from([0, 9])]), true),
  },
  { name: 'an error without number', stream: chunk(cookie(1), 0x8001, Buffer.alloc(6), true) },
  { name: 'an unstructured read', stream: simple(cookie(1), 0) },
];
for (const { name, stream } of LIES) {
  test(`refuses ${name}`, () => {
    const { parser } = parserFor(ALL);
    assert.throws(() => feed(parser, stream, [7]), ProtocolViolation);
  });
}
