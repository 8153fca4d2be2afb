import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { UnderstudyError } from '../../domain/error.ts';
import type { ErrorCode } from '../../domain/error-catalog.ts';
import { operationId, operationKey } from '../../domain/ids.ts';
import type { BlockEndpoint, TransferRequest } from '../../ports/mover.ts';
import { systemClock } from '../../system/clock.ts';
import { createMover } from './mover.ts';
import {
  chunk,
  type FakeRequest,
  type FakeServerOptions,
  type Fault,
  simple,
  startFakeServer,
  u32,
  u64,
} from './testing/fake-nbd-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-faults-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const MIB = 1024 * 1024;
const SMALL = 3 * MIB;
/** Large enough for workers. */
const LARGE = 130 * MIB;
const READ = 0;
const WRITE = 1;
const FLUSH = 3;
const limits = { openingMs: 400, movingMs: 600, flushingMs: 600 };
const mover = createMover({ clock: systemClock(), limits });
/** On a machine that is busy with something else workers start slowly, and then silence would be what is reported. */
const patientMover = createMover({
  clock: systemClock(),
  limits: { openingMs: 60_000, movingMs: 60_000, flushingMs: 60_000 },
});

type Case = {
  readonly name: string;
  readonly code: ErrorCode;
  readonly source?: Partial<FakeServerOptions>;
  readonly target?: Partial<FakeServerOptions>;
};

const at =
  (type: number, ordinal: number, fault: Fault | ((request: FakeRequest) => Fault)) =>
  (request: FakeRequest): Fault | null => {
    if (request.type !== type || request.ordinal !== ordinal) return null;
    return typeof fault === 'function' ? fault(request) : fault;
  };
const answerWith = (bytes: (request: FakeRequest) => Buffer) => (request: FakeRequest) =>
  ({ type: 'answer', bytes: bytes(request) }) as const;

const CASES: readonly Case[] = [
  {
    name: 'the target is full',
    code: 'target-full',
    target: { fault: at(WRITE, 2, { type: 'error', wireError: 28 }) },
  },
  {
    name: 'a read fails',
    code: 'block-transfer-failed',
    source: { fault: at(READ, 1, { type: 'error', wireError: 5 }) },
  },
  {
    name: 'a flush fails',
    code: 'block-transfer-failed',
    target: { fault: at(FLUSH, 0, { type: 'error', wireError: 5 }) },
  },
  {
    name: 'a flush hangs',
    code: 'connection-lost',
    target: { fault: at(FLUSH, 0, { type: 'hang' }) },
  },
  {
    name: 'the source goes away',
    code: 'connection-lost',
    source: { fault: at(READ, 2, { type: 'disconnect' }) },
  },
  {
    name: 'the target goes away',
    code: 'connection-lost',
    target: { fault: at(WRITE, 0, { type: 'disconnect' }) },
  },
  {
    name: 'the source hangs',
    code: 'connection-lost',
    source: { fault: at(READ, 0, { type: 'hang' }) },
  },
  {
    name: 'the target hangs',
    code: 'connection-lost',
    target: { fault: at(WRITE, 1, { type: 'hang' }) },
  },
  {
    name: 'a cookie is wrong',
    code: 'block-transfer-failed',
    source: {
      fault: at(
        READ,
        1,
        answerWith(() => simple({ cookie: 4711n }, 0)),
      ),
    },
  },
  {
    name: 'a write is answered with garbage',
    code: 'block-transfer-failed',
    target: {
      fault: at(
        WRITE,
        1,
        answerWith(() => Buffer.alloc(64, 0x41)),
      ),
    },
  },
  {
    name: 'a write is answered with content',
    code: 'block-transfer-failed',
    target: {
      fault: at(
        WRITE,
        1,
        answerWith((request) => chunk(request, 1, Buffer.alloc(16), true)),
      ),
    },
  },
  {
    name: 'a source that is no NBD server',
    code: 'invalid-endpoint',
    source: { greeting: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n') },
  },
  {
    name: 'a target that says nothing',
    code: 'connection-lost',
    target: { greeting: Buffer.alloc(0) },
  },
];

async function transferCase(
  { code, source: forSource, target: forTarget }: Case,
  sizeBytes: number,
) {
  const disk = Buffer.alloc(sizeBytes, 1);
  await using source = await startFakeServer({ folder, name: 'source', disk, ...forSource });
  const copy = Buffer.alloc(sizeBytes);
  await using target = await startFakeServer({ folder, name: 'target', disk: copy, ...forTarget });
  const request = requestFor(source.endpoint, target.endpoint, sizeBytes);
  const { transfer } = code === 'connection-lost' ? mover : patientMover;
  try {
    await transfer(request, { signal: new AbortController().signal });
  } finally {
    await Promise.all([source.idle(), target.idle()]);
  }
}

function requestFor(
  source: BlockEndpoint,
  target: BlockEndpoint,
  sizeBytes: number,
): TransferRequest {
  return {
    key: operationKey(operationId('op'), 'move'),
    source,
    target,
    sizeBytes,
    extents: { type: 'allocated' },
    targetReads: 'zeros',
    knownHashesPath: null,
    recordsPath: join(folder, 'spool'),
    bytesPerSecondMax: null,
  };
}

const hasCode = (code: ErrorCode) => (error: unknown) => {
  assert.ok(error instanceof UnderstudyError, String(error));
  assert.equal(error.code, code, error.message);
  return true;
};

for (const fault of CASES) {
  test(`${fault.name}: ${fault.code}`, async () => {
    await assert.rejects(transferCase(fault, SMALL), hasCode(fault.code));
  });
}

test('a failure is told at once, although what moves beside it hangs', async () => {
  const disk = Buffer.alloc(SMALL, 1);
  const extents = Array.from({ length: SMALL / BLOCK_BYTES }, (_, index) => ({
    lengthBytes: BLOCK_BYTES,
    flags: index % 2 === 0 ? 0 : 3,
  }));
  const fault = ({ type, ordinal }: FakeRequest): Fault | null => {
    if (type !== READ) return null;
    return ordinal === 5 ? { type: 'error', wireError: 5 } : { type: 'hang' };
  };
  const contexts = { 'base:allocation': extents };
  await using source = await startFakeServer({ folder, name: 'scattered', disk, contexts, fault });
  await using target = await startFakeServer({ folder, name: 'room', disk: Buffer.alloc(SMALL) });
  const request = requestFor(source.endpoint, target.endpoint, SMALL);
  const { signal } = new AbortController();
  // Neither the limit of silence nor an abort ends it: only the failure can.
  await assert.rejects(
    patientMover.transfer(request, { signal }),
    hasCode('block-transfer-failed'),
  );
  await Promise.all([source.idle(), target.idle()]);
});

/** This thread's part of a large transfer, which comes first, comes to a halt, so that workers have the rest. */
const halted = ({ type, ordinal, connection }: FakeRequest): Fault | null =>
  type === READ && connection === 0 && ordinal >= 16 ? { type: 'hang' } : null;
const inWorker =
  (type: number, fault: Fault | ((request: FakeRequest) => Fault)) =>
  (request: FakeRequest): Fault | null => {
    if (request.connection === 0 || request.type !== type) return halted(request);
    return typeof fault === 'function' ? fault(request) : fault;
  };

const WORKER_CASES: readonly Case[] = [
  {
    name: 'the target is full',
    code: 'target-full',
    target: { fault: inWorker(WRITE, { type: 'error', wireError: 28 }) },
  },
  {
    name: 'the source goes away',
    code: 'connection-lost',
    source: { fault: inWorker(READ, { type: 'disconnect' }) },
  },
  {
    name: 'the target hangs',
    code: 'connection-lost',
    target: { fault: inWorker(WRITE, { type: 'hang' }) },
  },
  {
    name: 'a write is answered with garbage',
    code: 'block-transfer-failed',
    target: {
      fault: inWorker(
        WRITE,
        answerWith(() => Buffer.alloc(64, 0x41)),
      ),
    },
  },
];
for (const fault of WORKER_CASES) {
  test(`in a worker, ${fault.name}: ${fault.code}`, async () => {
    const source = fault.source ?? { fault: halted };
    await assert.rejects(transferCase({ ...fault, source }, LARGE), hasCode(fault.code));
  });
}

test('a long transfer gets its second worker, too', async () => {
  const fault = (request: FakeRequest): Fault | null => {
    if (request.connection === 1 && request.type === READ) return { type: 'hang' };
    return request.connection === 2 ? { type: 'error', wireError: 5 } : halted(request);
  };
  const disk = Buffer.alloc(LARGE, 1);
  await using source = await startFakeServer({ folder, name: 'source', disk, fault });
  await using target = await startFakeServer({ folder, name: 'target', disk: Buffer.alloc(LARGE) });
  const limits = { openingMs: 60_000, movingMs: 60_000, flushingMs: 60_000 };
  const soonLong = createMover({ clock: systemClock(), limits, movedHereBytesMax: 8 * MIB });
  const request = requestFor(source.endpoint, target.endpoint, LARGE);
  const transfer = soonLong.transfer(request, { signal: new AbortController().signal });
  await assert.rejects(transfer, hasCode('block-transfer-failed'));
  await Promise.all([source.idle(), target.idle()]);
});

test('a block status without end, progress or truth is refused', async () => {
  const status = (pairs: readonly number[]) =>
    answerWith((request) => chunk(request, 5, Buffer.concat([u32(10), ...pairs.map(u32)]), true));
  for (const pairs of [
    [0, 0],
    [4096, 0, 0, 1],
  ]) {
    const contexts = { 'base:allocation': [{ lengthBytes: SMALL, flags: 0 }] };
    const source = { contexts, fault: at(7, 0, status(pairs)) };
    const fault = { name: '', code: 'block-transfer-failed' as const, source };
    await assert.rejects(transferCase(fault, SMALL), hasCode('block-transfer-failed'));
  }
});

test('content that is sent twice in a structured reply is refused', async () => {
  const twice = answerWith((request) => {
    const half = Buffer.concat([u64(BigInt(request.offset)), Buffer.alloc(request.length / 2)]);
    return Buffer.concat([chunk(request, 1, half, false), chunk(request, 1, half, true)]);
  });
  const fault = {
    name: '',
    code: 'block-transfer-failed' as const,
    source: { fault: at(READ, 0, twice) },
  };
  await assert.rejects(transferCase(fault, SMALL), hasCode('block-transfer-failed'));
});

for (const sizeBytes of [SMALL, LARGE]) {
  test(`an abort ends a transfer at once while both ends hang, ${sizeBytes / MIB} MiB`, async () => {
    const aborting = new AbortController();
    const fault = (request: FakeRequest): Fault | null => {
      const isAwaited = request.connection === (sizeBytes === LARGE ? 1 : 0);
      if (request.type !== READ || !isAwaited) return halted(request);
      aborting.abort();
      return { type: 'hang' };
    };
    const disk = Buffer.alloc(sizeBytes, 1);
    await using source = await startFakeServer({ folder, name: 'hung', disk, fault });
    await using target = await startFakeServer({ folder, name: 'idle', disk });
    const request = requestFor(source.endpoint, target.endpoint, sizeBytes);
    const patient = createMover({ clock: systemClock() });
    const transfer = patient.transfer(request, { signal: aborting.signal });
    await assert.rejects(transfer, hasCode('cancelled'));
    await Promise.all([source.idle(), target.idle()]);
  });
}

test('an abort during the handshake ends it', async () => {
  const greeting = Buffer.from('NBDMAGIC');
  await using mute = await startFakeServer({
    folder,
    name: 'mute',
    disk: Buffer.alloc(512),
    greeting,
  });
  const aborting = new AbortController();
  const request = requestFor(mute.endpoint, mute.endpoint, 512);
  const transfer = createMover({ clock: systemClock() }).transfer(request, {
    signal: aborting.signal,
  });
  aborting.abort();
  await assert.rejects(transfer, hasCode('cancelled'));
  await mute.idle();
});

test('no such address', async () => {
  const transfer = (address: BlockEndpoint['address']) => {
    const endpoint = { address, exportName: 'x' };
    const signal = new AbortController().signal;
    return mover.transfer(requestFor(endpoint, endpoint, 512), { signal });
  };
  await assert.rejects(
    transfer({ type: 'unix', path: `/${'x'.repeat(200)}` }),
    hasCode('invalid-endpoint'),
  );
  await assert.rejects(
    transfer({ type: 'tcp', host: '127.0.0.1', port: 70_000 }),
    hasCode('invalid-endpoint'),
  );
});

test('an export that does not exist', async () => {
  await using server = await startFakeServer({ folder, name: 'real', disk: Buffer.alloc(512) });
  const signal = new AbortController().signal;
  const other = { ...server.endpoint, exportName: 'other' };
  const request = requestFor(server.endpoint, server.endpoint, 512);
  await assert.rejects(
    mover.transfer({ ...request, source: other }, { signal }),
    hasCode('invalid-endpoint'),
  );
});
