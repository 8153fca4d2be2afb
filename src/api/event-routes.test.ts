import assert from 'node:assert/strict';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { STREAM_BEAT_MS } from '../contract/endpoints.ts';
import { operationEventSchema, operationSchema, waitsSchema } from '../contract/operation.ts';
import { operationId } from '../domain/ids.ts';
import type { Wait } from '../ports/controller.ts';
import { type ApiRoom, openApiRoom, TOKEN } from './testing/api-room.ts';
import { HOST, OPERATION, operationEvent } from './testing/sample-values.ts';

const EVENTS = '/api/v1/operations/op-a1/events';

type Message = { readonly event: string; readonly id: string | null; readonly value: unknown };

type Reader = {
  readonly response: IncomingMessage;
  /** The next message, or null at the end. */
  next(): Promise<Message | null>;
  /** Goes away without a word. */
  leave(): void;
};

async function openSocketRoom(t: TestContext): Promise<ApiRoom & { readonly path: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-api-'));
  const room = openApiRoom(t);
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'api.sock');
  await room.api.listen({ type: 'unix', path });
  return { ...room, path };
}

function read(socketPath: string, path: string, lastEventId?: string): Promise<Reader> {
  const { promise, resolve, reject } = Promise.withResolvers<Reader>();
  const headers = {
    host: 'localhost',
    authorization: `Bearer ${TOKEN}`,
    ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
  };
  const request = httpRequest({ socketPath, path, headers, agent: false });
  request.on('response', (response) => resolve(reader(response)));
  request.on('error', reject);
  request.end();
  return promise;
}

function reader(response: IncomingMessage): Reader {
  const messages = messagesOf(response);
  return {
    response,
    next: async () => {
      const { value, done } = await messages.next();
      return done === true ? null : value;
    },
    leave: () => response.destroy(),
  };
}

async function* messagesOf(response: IncomingMessage): AsyncGenerator<Message> {
  response.setEncoding('utf8');
  let pending = '';
  for await (const chunk of response) {
    const blocks = (pending + String(chunk)).split('\n\n');
    pending = blocks.pop() ?? '';
    for (const block of blocks.filter((text) => !text.startsWith(':'))) {
      const fields = new Map(
        block.split('\n').map((line) => [line.split(': ', 1)[0], line.replace(/^\w+: /, '')]),
      );
      yield {
        event: fields.get('event') ?? '',
        id: fields.get('id') ?? null,
        value: JSON.parse(fields.get('data') ?? 'null'),
      };
    }
  }
}

test('a reader gets the history, then what happens, then the end', async (t) => {
  const { fake, path } = await openSocketRoom(t);
  fake.emit(operationEvent(1, 'queued'));
  const stream = await read(path, EVENTS);
  assert.equal(stream.response.headers['content-type'], 'text/event-stream; charset=utf-8');
  const first = await stream.next();
  assert.equal(first?.id, '1');
  assert.equal(operationEventSchema.parse(first?.value).type, 'queued');
  const progress = { doneBytes: 1, totalBytes: 2, bytesPerSecond: 1, remainingMs: null };
  fake.progress({ operationId: OPERATION.id, step: 'copy vda', ...progress });
  assert.deepEqual((await stream.next())?.event, 'progress');
  fake.emit(operationEvent(2, 'step-started', 'copy vda'));
  assert.equal((await stream.next())?.id, '2');
  fake.put({ ...OPERATION, state: 'succeeded' });
  fake.emit(operationEvent(3, 'succeeded'));
  assert.equal((await stream.next())?.id, '3');
  const end = await stream.next();
  assert.equal(end?.event, 'end');
  assert.equal(operationSchema.parse(end?.value).state, 'succeeded');
  assert.equal(await stream.next(), null);
  assert.equal(fake.listenerCount(), 0);
});

test('a reader that was cut continues after the last event it saw', async (t) => {
  const { fake, path } = await openSocketRoom(t);
  fake.emit(operationEvent(1, 'queued'));
  fake.emit(operationEvent(2, 'started'));
  const first = await read(path, EVENTS);
  await first.next();
  assert.equal((await first.next())?.id, '2');
  first.leave();
  fake.emit(operationEvent(3, 'step-started', 'freeze'));
  fake.put({ ...OPERATION, state: 'suspended' });
  fake.emit(operationEvent(4, 'suspended'));
  const second = await read(path, EVENTS, '2');
  const seen = [];
  for (let next = await second.next(); next !== null; next = await second.next()) {
    seen.push(next.id ?? next.event);
  }
  assert.deepEqual(seen, ['3', '4', 'end']);
});

function waitFor(message: string): Wait {
  const heldBy = [{ ...OPERATION, id: operationId('op-b1') }];
  return { message, limit: 2, taken: 2, hostId: HOST.id, heldBy };
}

test('a reader of one that is queued is told what it waits for, and whenever that changes', async (t) => {
  const { fake, clock, path } = await openSocketRoom(t);
  fake.put({ ...OPERATION, state: 'queued' });
  fake.answers.waits = new Map([[OPERATION.id, [waitFor('one')]]]);
  const stream = await read(path, EVENTS);
  const told = async () => {
    const next = await stream.next();
    assert.equal(next?.event, 'waits');
    return waitsSchema.parse(next?.value).waitsFor.map(({ message }) => message);
  };
  assert.deepEqual(await told(), ['one']);
  await clock.advance(STREAM_BEAT_MS);
  fake.answers.waits = new Map([[OPERATION.id, [waitFor('another')]]]);
  await clock.advance(STREAM_BEAT_MS);
  assert.deepEqual(await told(), ['another']);
  fake.answers.waits = new Map();
  await clock.advance(STREAM_BEAT_MS);
  assert.deepEqual(await told(), []);
  fake.put({ ...OPERATION, state: 'running' });
  fake.emit(operationEvent(1, 'started'));
  assert.equal((await stream.next())?.id, '1');
  const asked = () => fake.calls.filter(([verb]) => verb === 'waits').length;
  const before = asked();
  await clock.advance(STREAM_BEAT_MS);
  assert.equal(asked(), before);
  stream.leave();
});

test('one that is cancelled in the queue ends its stream at once', async (t) => {
  const { fake, path } = await openSocketRoom(t);
  fake.put({ ...OPERATION, state: 'queued' });
  fake.answers.waits = new Map([[OPERATION.id, [waitFor('one')]]]);
  const stream = await read(path, EVENTS);
  assert.equal((await stream.next())?.event, 'waits');
  fake.put({ ...OPERATION, state: 'cancelled' });
  fake.emit(operationEvent(1, 'cancelled'));
  assert.equal((await stream.next())?.id, '1');
  assert.equal((await stream.next())?.event, 'end');
  assert.equal(await stream.next(), null);
});

test('a stream on which nothing happens shows that the server is there', async (t) => {
  const { fake, clock, path } = await openSocketRoom(t);
  for (const url of [EVENTS, '/api/v1/events']) {
    const subscribed = fake.subscribed();
    const { response } = await read(path, url);
    await subscribed;
    const heard = async () => String((await once(response, 'data'))[0]);
    let text = await heard();
    while (text.split('\n\n').length < 4) {
      const next = heard();
      await clock.advance(STREAM_BEAT_MS);
      text += await next;
    }
    assert.match(text, /^(:.*\n\n){3}$/);
    response.destroy();
  }
});

test('an event between subscribing and reading the history comes once', async (t) => {
  const { fake, path } = await openSocketRoom(t);
  fake.emit(operationEvent(1, 'queued'));
  const subscribed = fake.subscribed();
  const opening = read(path, EVENTS);
  await subscribed;
  fake.put({ ...OPERATION, state: 'failed' });
  fake.emit(operationEvent(2, 'failed'));
  const stream = await opening;
  const seen = [];
  for (let next = await stream.next(); next !== null; next = await stream.next()) {
    seen.push(next.id ?? next.event);
  }
  assert.deepEqual(seen, ['1', '2', 'end']);
});

test('closing the server ends every stream without `end`', async (t) => {
  const { api, fake, path } = await openSocketRoom(t);
  const subscribed = fake.subscribed();
  const one = await read(path, EVENTS);
  const all = await read(path, '/api/v1/events');
  await subscribed;
  fake.emit(operationEvent(1, 'started'));
  assert.equal((await one.next())?.id, '1');
  assert.equal((await all.next())?.event, 'event');
  await api.close();
  assert.equal(await one.next(), null);
  assert.equal(await all.next(), null);
  assert.equal(fake.listenerCount(), 0);
});

test('a bad Last-Event-ID and an unknown operation are problems, not streams', async (t) => {
  const { request } = openApiRoom(t);
  const bad = await request('GET', EVENTS, { headers: { 'last-event-id': 'x' } });
  assert.equal(bad.status, 400);
  const missing = await request('GET', '/api/v1/operations/op-x/events');
  assert.equal(missing.status, 404);
});

test('the socket is for its owner from the first instant, and goes with its server', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-api-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const umask = process.umask(0);
  t.after(() => process.umask(umask));
  const { api } = openApiRoom(t);
  // The longest that a socket's path can be: 107 bytes.
  const path = join(folder, 's'.repeat(107 - folder.length - 1));
  const modes: number[] = [];
  const look = () => {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found !== undefined) modes.push(found.mode & 0o777);
  };
  api.server.server.once('listening', look);
  // What a killed server has left behind of such a beginning.
  await mkdir(`${path}.new`);
  await writeFile(join(`${path}.new`, 'understudy-api.sock.new'), '');
  await api.listen({ type: 'unix', path });
  look();
  assert.deepEqual(new Set(modes), new Set([0o600]));
  const stream = await read(path, '/api/v1/events');
  assert.equal(stream.response.statusCode, 200);
  stream.leave();
  assert.deepEqual(await readdir(folder), [basename(path)]);
  await api.close();
  assert.deepEqual(await readdir(folder), []);
});

test('the socket is for its owner, replaces an abandoned one, and never a living one', async (t) => {
  const { api, path } = await openSocketRoom(t);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  const other = openApiRoom(t);
  const refused = { code: 'invalid-request', message: /EADDRINUSE/ };
  await assert.rejects(other.api.listen({ type: 'unix', path }), refused);
  await other.api.close();
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await api.close();

  // What a killed server leaves behind: the file of a socket that nobody listens on.
  const dead = createServer();
  const deadPath = `${path}2`;
  await new Promise<void>((resolve) => dead.listen(deadPath, resolve));
  await rename(deadPath, path);
  await new Promise((resolve) => dead.close(resolve));
  const third = openApiRoom(t);
  await third.api.listen({ type: 'unix', path });
  const stream = await read(path, '/api/v1/events');
  assert.equal(stream.response.statusCode, 200);
  stream.leave();
});
