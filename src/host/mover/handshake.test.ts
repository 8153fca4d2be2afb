import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ExportDescription, handshake } from './handshake.ts';
import { u16, u32, u64 } from './testing/fake-nbd-server.ts';

const REQUEST = { exportName: 'disk', structuredReplies: true, metaContexts: ['a:b', 'c:d'] };

const reply = (option: number, type: number, body: Buffer = Buffer.alloc(0)) =>
  Buffer.concat([u64(0x3e889045565a9n), u32(option), u32(type), u32(body.length), body]);
const context = (id: number, name: string) =>
  reply(10, 4, Buffer.concat([u32(id), Buffer.from(name)]));
const exported = (size: bigint) => reply(7, 3, Buffer.concat([u16(0), u64(size), u16(1)]));
const GREETING = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), Buffer.from([0, 3])]);
const VALID = Buffer.concat([
  GREETING,
  reply(8, 1),
  context(5, 'a:b'),
  context(9, 'c:d'),
  reply(10, 1),
  exported(4096n),
  reply(7, 3, Buffer.concat([u16(3), u32(512), u32(4096), u32(1024 * 1024)])),
  reply(7, 1),
]);

/** Null when the transcript ends before the handshake does. */
function play(transcript: Buffer): ExportDescription | null {
  const steps = handshake(REQUEST);
  let at = 0;
  let step = steps.next();
  while (!step.done) {
    if (step.value.type === 'write') {
      step = steps.next(Buffer.alloc(0));
      continue;
    }
    const { lengthBytes } = step.value;
    assert.ok(lengthBytes > 0 && lengthBytes <= 16 * 1024, `asked for ${lengthBytes}`);
    if (at + lengthBytes > transcript.length) return null;
    step = steps.next(transcript.subarray(at, at + lengthBytes));
    at += lengthBytes;
  }
  return step.value;
}

test('agrees with a proper server', () => {
  assert.deepEqual(play(VALID), {
    sizeBytes: 4096,
    transmissionFlags: 1,
    maximumPayloadBytes: 1024 * 1024,
    structuredReplies: true,
    contexts: new Map([
      ['a:b', 5],
      ['c:d', 9],
    ]),
  });
});

test('any transcript ends, refuses, or wants more', () => {
  const mutations = fc.array(fc.tuple(fc.nat(VALID.length - 1), fc.nat(255)), { maxLength: 5 });
  fc.assert(
    fc.property(
      mutations,
      fc.uint8Array({ maxLength: 100 }),
      fc.nat(VALID.length),
      (changes, tail, cut) => {
        const bytes = Buffer.from(VALID);
        for (const [at, value] of changes) bytes[at] = value;
        try {
          play(Buffer.concat([bytes.subarray(0, cut), tail]));
          play(bytes);
        } catch (error) {
          assert.equal(
            (error as Error).constructor.name.match(/^(EndpointRefusal|Error)$/)?.length,
            2,
            String(error),
          );
        }
      },
    ),
    { numRuns: 2000 },
  );
});

const LIES: readonly [string, readonly Buffer[]][] = [
  ['not NBD', [Buffer.from('SSH-2.0-OpenSSH_9.2')]],
  ['oldstyle', [Buffer.from('NBDMAGICIHAVEOPT'), u16(0)]],
  ['an absurd size', [GREETING, reply(8, 1), reply(10, 1), exported(2n ** 63n), reply(7, 1)]],
  ['no size', [GREETING, reply(8, 1), reply(10, 1), reply(7, 1)]],
  ['two contexts of one id', [GREETING, reply(8, 1), context(1, 'a:b'), context(1, 'c:d')]],
  ['a context nobody asked for', [GREETING, reply(8, 1), context(1, 'x:y')]],
  ['a demand for TLS', [GREETING, reply(8, 1), reply(10, 1), reply(7, 2 ** 31 + 5)]],
  ['an answer to another option', [GREETING, reply(7, 1)]],
  ['an endless answer', [GREETING, reply(8, 1), ...Array<Buffer>(99).fill(reply(7, 3, u16(9)))]],
];
for (const [name, parts] of LIES) {
  test(`refuses ${name}`, () => assert.throws(() => play(Buffer.concat(parts))));
}
