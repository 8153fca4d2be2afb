/**
 * An NBD server made of a buffer, in this process, that lies, fails and hangs when told to. It speaks just
 * enough of the protocol for our client, and is written from the specification, not from the client.
 */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { BlockEndpoint } from '../../../ports/mover.ts';

export type FakeExtent = { readonly lengthBytes: number; readonly flags: number };

/** What happens to one request instead of a proper answer. */
export type Fault =
  | { readonly type: 'error'; readonly wireError: number }
  | { readonly type: 'disconnect' }
  | { readonly type: 'hang' }
  /** These bytes are sent as the answer. */
  | { readonly type: 'answer'; readonly bytes: Buffer };

export type FakeRequest = {
  readonly type: number;
  readonly cookie: bigint;
  readonly offset: number;
  readonly length: number;
  /** How many requests of this type came before, over all connections. */
  readonly ordinal: number;
  /** How many connections there were before the one it came by. */
  readonly connection: number;
};

export type FakeServer = AsyncDisposable & {
  readonly endpoint: BlockEndpoint;
  readonly disk: Buffer;
  /** Types of all requests so far, in order. */
  readonly seen: number[];
  /** Resolves when no connection is open. */
  idle(): Promise<void>;
};

export type FakeServerOptions = {
  readonly folder: string;
  readonly name: string;
  readonly disk: Buffer;
  /** Extents by context, each list covering the disk. */
  readonly contexts?: Readonly<Record<string, readonly FakeExtent[]>>;
  readonly transmissionFlags?: number;
  readonly fault?: (request: FakeRequest) => Fault | null;
  /** Sent in place of the whole handshake. */
  readonly greeting?: Buffer;
  readonly announcedBytes?: number;
  /** Most extents in one answer to a block status: forces the client to ask again. */
  readonly extentsMax?: number;
};

/** Flags, flush, WRITE_ZEROES and many connections. */
export const ALL_FLAGS = 1 | 4 | 64 | 256;

export async function startFakeServer(options: FakeServerOptions): Promise<FakeServer> {
  /** Open connections, each with a promise of its end. */
  const sockets = new Map<Socket, Promise<void>>();
  const seen: number[] = [];
  let connectionCount = 0;
  const server: Server = createServer((socket) => {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    sockets.set(socket, closed);
    socket.on('close', () => {
      sockets.delete(socket);
      resolve();
    });
    socket.on('error', () => {});
    const connection = connectionCount;
    connectionCount += 1;
    serve(socket, options, { seen, connection }).catch(() => socket.destroy());
  });
  const path = join(options.folder, `${options.name}.sock`);
  server.listen(path);
  await once(server, 'listening');
  return {
    endpoint: { address: { type: 'unix', path }, exportName: options.name },
    disk: options.disk,
    seen,
    async idle() {
      await Promise.all(sockets.values());
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.keys()) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

type Take = (byteCount: number) => Promise<Buffer>;

async function serve(
  socket: Socket,
  options: FakeServerOptions,
  { seen, connection }: { readonly seen: number[]; readonly connection: number },
): Promise<void> {
  const take = reader(socket);
  if (options.greeting !== undefined) {
    socket.write(options.greeting);
    return;
  }
  const agreed = await negotiate(socket, take, options);
  for (;;) {
    const head = await take(28);
    const type = head.readUInt16BE(6);
    const length = head.readUInt32BE(24);
    const request = {
      type,
      cookie: head.readBigUInt64BE(8),
      offset: Number(head.readBigUInt64BE(16)),
      length,
      ordinal: seen.filter((other) => other === type).length,
      connection,
    };
    seen.push(type);
    const content = type === 1 ? await take(length) : Buffer.alloc(0);
    if (type === 2) {
      socket.end();
      return;
    }
    answer(socket, options, agreed, request, content);
  }
}

type Agreed = { readonly structured: boolean; readonly contexts: readonly string[] };

async function negotiate(socket: Socket, take: Take, options: FakeServerOptions): Promise<Agreed> {
  socket.write(Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), Buffer.from([0, 3])]));
  await take(4);
  let structured = false;
  let contexts: string[] = [];
  const reply = (option: number, type: number, body = Buffer.alloc(0)) => {
    socket.write(
      Buffer.concat([u64(0x3e889045565a9n), u32(option), u32(type), u32(body.length), body]),
    );
  };
  for (;;) {
    const head = await take(16);
    const option = head.readUInt32BE(8);
    const body = await take(head.readUInt32BE(12));
    if (option === 8) {
      structured = true;
      reply(8, 1);
    } else if (option === 10) {
      contexts = askedContexts(body).filter((name) => name in (options.contexts ?? {}));
      for (const [id, name] of contexts.entries()) {
        reply(10, 4, Buffer.concat([u32(id + 10), Buffer.from(name)]));
      }
      reply(10, 1);
    } else if (body.toString('utf8', 4, 4 + body.readUInt32BE(0)) !== options.name) {
      reply(7, 2 ** 31 + 6);
    } else {
      const size = u64(BigInt(options.announcedBytes ?? options.disk.length));
      reply(7, 3, Buffer.concat([u16(0), size, u16(options.transmissionFlags ?? ALL_FLAGS)]));
      reply(7, 1);
      return { structured, contexts };
    }
  }
}

function askedContexts(body: Buffer): string[] {
  let at = 4 + body.readUInt32BE(0);
  const names = [];
  for (let left = body.readUInt32BE(at); left > 0; left -= 1) {
    const start = at + 8;
    const length = body.readUInt32BE(at + 4);
    names.push(body.toString('utf8', start, start + length));
    at = start + length - 4;
  }
  return names;
}

function answer(
  socket: Socket,
  options: FakeServerOptions,
  { structured, contexts }: Agreed,
  request: FakeRequest,
  content: Buffer,
): void {
  const fault = options.fault?.(request) ?? null;
  if (fault?.type === 'hang') return;
  if (fault?.type === 'disconnect') socket.destroy();
  else if (fault?.type === 'answer') socket.write(fault.bytes);
  else if (fault?.type === 'error') socket.write(simple(request, fault.wireError));
  else if (request.type === 7) {
    const lists = contexts.map((name) => statusExtents(options, name, request));
    const status = (id: number, list: Buffer) =>
      chunk(request, 5, Buffer.concat([u32(id + 10), list]), id === contexts.length - 1);
    for (const [id, list] of lists.entries()) socket.write(status(id, list));
  } else if (request.type === 0) {
    const bytes = options.disk.subarray(request.offset, request.offset + request.length);
    if (structured) for (const part of structuredRead(request, bytes)) socket.write(part);
    else socket.write(Buffer.concat([simple(request, 0), bytes]));
  } else {
    if (request.type === 1) content.copy(options.disk, request.offset);
    if (request.type === 6) options.disk.fill(0, request.offset, request.offset + request.length);
    socket.write(simple(request, 0));
  }
}

/** In two parts and out of order, with a hole where the second is empty. */
function structuredRead(request: FakeRequest, bytes: Buffer): Buffer[] {
  const half = Math.floor(bytes.length / 2);
  const start = u64(BigInt(request.offset));
  const middle = u64(BigInt(request.offset + half));
  const tail = bytes.subarray(half);
  const first =
    half === 0 ? [] : [chunk(request, 1, Buffer.concat([start, bytes.subarray(0, half)]), true)];
  const isHole = tail.every((byte) => byte === 0);
  return [
    isHole
      ? chunk(request, 2, Buffer.concat([middle, u32(tail.length)]), half === 0)
      : chunk(request, 1, Buffer.concat([middle, tail]), half === 0),
    ...first,
  ];
}

function statusExtents(options: FakeServerOptions, name: string, request: FakeRequest): Buffer {
  const found: Buffer[] = [];
  let start = 0;
  const end = request.offset + request.length;
  for (const { lengthBytes, flags } of options.contexts?.[name] ?? []) {
    const from = Math.max(start, request.offset);
    const until = Math.min(start + lengthBytes, end);
    if (from < until) found.push(Buffer.concat([u32(until - from), u32(flags)]));
    start += lengthBytes;
  }
  return Buffer.concat(found.slice(0, options.extentsMax ?? found.length));
}

export function simple({ cookie }: { readonly cookie: bigint }, wireError: number): Buffer {
  return Buffer.concat([u32(0x67446698), u32(wireError), u64(cookie)]);
}

export function chunk(
  { cookie }: { readonly cookie: bigint },
  type: number,
  payload: Buffer,
  isLast: boolean,
): Buffer {
  const head = [u32(0x668e33ef), u16(isLast ? 1 : 0), u16(type), u64(cookie), u32(payload.length)];
  return Buffer.concat([...head, payload]);
}

export function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

/** Collects what arrives until somebody has taken it. */
function reader(socket: Socket): Take {
  let held = Buffer.alloc(0);
  let wake = () => {};
  socket.on('data', (bytes: Buffer) => {
    held = Buffer.concat([held, bytes]);
    wake();
  });
  socket.on('close', () => wake());
  return async (byteCount) => {
    while (held.length < byteCount) {
      if (socket.destroyed) throw new Error('gone');
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const taken = held.subarray(0, byteCount);
    held = held.subarray(byteCount);
    return taken;
  };
}
