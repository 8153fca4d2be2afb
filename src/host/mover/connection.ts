/**
 * One connection to an NBD export with many requests in flight. Bytes are read straight into the buffer of
 * the request they answer (`onread` with a function), which is what makes the mover fast. The first failure
 * of any kind (lie, end of stream, abort) destroys the socket and rejects everything that waits.
 */
import { connect as connectSocket, type NetConnectOpts, type Socket } from 'node:net';
import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { BlockEndpoint } from '../../ports/mover.ts';
import {
  abortError,
  connectionError,
  connectionLost,
  invalidEndpoint,
  replyError,
} from './errors.ts';
import { type ExportDescription, type HandshakeStep, handshake } from './handshake.ts';
import { COMMAND, type Command, encodeRequest } from './protocol.ts';
import {
  type PendingRequest,
  type RawExtents,
  type ReplyOutcome,
  ReplyParser,
} from './reply-parser.ts';

export type ConnectRequest = {
  readonly endpoint: BlockEndpoint;
  readonly structuredReplies: boolean;
  readonly metaContexts: readonly string[];
};

/**
 * Requests may overlap in time; each rejects with `block-transfer-failed`, `target-full`, `connection-lost`
 * or `cancelled`. Buffers belong to the connection until their request settles.
 */
export interface NbdConnection {
  readonly endpoint: BlockEndpoint;
  readonly description: ExportDescription;
  /** Fills `target` from `offsetBytes` on. */
  read(offsetBytes: number, target: Buffer): Promise<void>;
  write(offsetBytes: number, content: Buffer): Promise<void>;
  /** Makes a range read as zeros, unallocated where the server can. */
  writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void>;
  /** Resolves when everything that was acknowledged before is durable. */
  flush(): Promise<void>;
  /** The extents of every agreed context, by context id; they may cover less than was asked. */
  blockStatus(offsetBytes: number, lengthBytes: number): Promise<ReadonlyMap<number, RawExtents>>;
  /** Says goodbye; what still waits is rejected. Safe to repeat. */
  close(): void;
}

/** What takes incoming bytes right now: the handshake, then the replies. */
type Receiver = { window(): Buffer; advance(byteCount: number): void };

/** The kernel's limit of a socket path, without the final NUL. */
const SOCKET_PATH_BYTES_MAX = 107;
/** The protocol's limit of a name. */
const EXPORT_NAME_BYTES_MAX = 4096;
const COOKIES = 2 ** 32;

/** Connects and opens the export. The signal is obeyed for as long as the connection lives. */
export function connectNbd(
  request: ConnectRequest,
  { signal }: CallOptions,
): Promise<NbdConnection> {
  const { endpoint } = request;
  return new Promise((resolve, reject) => {
    if (signal.aborted) throw abortError(signal);
    checkLengths(endpoint);
    const connection = new Connection({ request, signal, opened: resolve, failed: reject });
    connection.open();
  });
}

class Connection implements NbdConnection {
  readonly endpoint: BlockEndpoint;
  readonly #signal: AbortSignal;
  readonly #request: ConnectRequest;
  readonly #opened: (connection: NbdConnection) => void;
  readonly #failed: (error: UnderstudyError) => void;
  readonly #pending = new Map<number, PendingRequest>();
  readonly #onAbort = () => this.#fail(abortError(this.#signal));
  #socket: Socket | null = null;
  #receiver: Receiver | null = null;
  #description: ExportDescription | null = null;
  #failure: UnderstudyError | null = null;
  #nextCookie = 0;

  constructor(input: {
    readonly request: ConnectRequest;
    readonly signal: AbortSignal;
    readonly opened: (connection: NbdConnection) => void;
    readonly failed: (error: UnderstudyError) => void;
  }) {
    this.endpoint = input.request.endpoint;
    this.#request = input.request;
    this.#signal = input.signal;
    this.#opened = input.opened;
    this.#failed = input.failed;
  }

  get description(): ExportDescription {
    if (this.#description === null) throw new UnderstudyError('unexpected', { reason: 'not open' });
    return this.#description;
  }

  open(): void {
    const { endpoint, structuredReplies, metaContexts } = this.#request;
    const steps = handshake({ exportName: endpoint.exportName, structuredReplies, metaContexts });
    // The first step only asks for bytes, so it needs no socket yet; the socket asks for a window at once.
    this.#stepHandshake(steps, () => steps.next());
    try {
      this.#socket = this.#openSocket();
    } catch (error) {
      this.#fail(connectionError(endpoint, error));
    }
    this.#signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  read(offsetBytes: number, target: Buffer): Promise<void> {
    return this.#ask(COMMAND.read, offsetBytes, target.length, { payload: target });
  }

  write(offsetBytes: number, content: Buffer): Promise<void> {
    return this.#ask(COMMAND.write, offsetBytes, content.length, { content });
  }

  writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
    return this.#ask(COMMAND.writeZeroes, offsetBytes, lengthBytes);
  }

  flush(): Promise<void> {
    return this.#ask(COMMAND.flush, 0, 0);
  }

  async blockStatus(
    offsetBytes: number,
    lengthBytes: number,
  ): Promise<ReadonlyMap<number, RawExtents>> {
    const outcome = await this.#exchange(COMMAND.blockStatus, offsetBytes, lengthBytes, {});
    return outcome.extents;
  }

  close(): void {
    if (this.#failure !== null) return;
    const goodbye = { command: COMMAND.disconnect, cookie: 0, offsetBytes: 0, lengthBytes: 0 };
    if (this.#description !== null) this.#socket?.write(encodeRequest(goodbye));
    this.#socket?.destroySoon();
    this.#fail(connectionLost(this.endpoint, 'it was closed'));
  }

  async #ask(
    command: Command,
    offsetBytes: number,
    lengthBytes: number,
    bodies: { readonly payload?: Buffer; readonly content?: Buffer } = {},
  ): Promise<void> {
    await this.#exchange(command, offsetBytes, lengthBytes, bodies);
  }

  #exchange(
    command: Command,
    offsetBytes: number,
    lengthBytes: number,
    { payload, content }: { readonly payload?: Buffer; readonly content?: Buffer },
  ): Promise<ReplyOutcome & { type: 'done' }> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) throw this.#failure;
      const request = { command, cookie: this.#takeCookie(), offsetBytes, lengthBytes };
      const settle = (outcome: ReplyOutcome) => {
        if (outcome.type === 'done') resolve(outcome);
        else reject(this.#outcomeError(request, outcome));
      };
      const failed = (error: UnderstudyError) => reject(error);
      this.#pending.set(request.cookie, { request, payload: payload ?? null, settle, failed });
      this.#send(encodeRequest(request), content);
    });
  }

  /** Header and payload leave in one system call. */
  #send(header: Buffer, content: Buffer | undefined): void {
    const socket = this.#socket;
    if (socket === null) return;
    if (content === undefined) {
      socket.write(header);
      return;
    }
    socket.cork();
    socket.write(header);
    socket.write(content);
    socket.uncork();
  }

  #takeCookie(): number {
    do this.#nextCookie = (this.#nextCookie + 1) % COOKIES;
    while (this.#pending.has(this.#nextCookie));
    return this.#nextCookie;
  }

  #outcomeError(
    { command, offsetBytes, lengthBytes }: PendingRequest['request'],
    { wireError, message }: { readonly wireError: number; readonly message: string },
  ): UnderstudyError {
    const verb = Object.entries(COMMAND).find(([, code]) => code === command)?.[0] ?? 'request';
    const what = `${verb} of ${lengthBytes} bytes at ${offsetBytes}`;
    return replyError(this.endpoint, { wireError, what, message });
  }

  #openSocket(): Socket {
    const onread = {
      buffer: () => this.#window(),
      callback: (byteCount: number) => this.#receive(byteCount),
    };
    const { address } = this.endpoint;
    const place =
      address.type === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
    const options: NetConnectOpts = { ...place, onread };
    const socket = connectSocket(options);
    socket.setNoDelay(true);
    socket.on('error', (error) => this.#fail(connectionError(this.endpoint, error)));
    const lost = () => this.#fail(connectionLost(this.endpoint, 'the server closed it'));
    socket.on('end', lost);
    socket.on('close', lost);
    return socket;
  }

  #window(): Buffer {
    return this.#receiver?.window() ?? Buffer.alloc(1);
  }

  #receive(byteCount: number): boolean {
    if (this.#failure !== null) return false;
    try {
      this.#receiver?.advance(byteCount);
    } catch (error) {
      this.#fail(connectionError(this.endpoint, error));
      return false;
    }
    return true;
  }

  /** Runs the handshake up to the point where it needs bytes. */
  #stepHandshake(
    steps: Generator<HandshakeStep, ExportDescription, Buffer>,
    begin: () => IteratorResult<HandshakeStep, ExportDescription>,
  ): void {
    let step = begin();
    while (!step.done && step.value.type === 'write') {
      this.#socket?.write(step.value.bytes);
      step = steps.next(Buffer.alloc(0));
    }
    if (step.done) this.#established(step.value);
    else if (step.value.type === 'read') {
      const bytes = Buffer.alloc(step.value.lengthBytes);
      this.#receiver = fill(bytes, () => this.#stepHandshake(steps, () => steps.next(bytes)));
    }
  }

  #established(description: ExportDescription): void {
    this.#description = description;
    this.#receiver = new ReplyParser({
      structuredReplies: description.structuredReplies,
      contextIds: new Set(description.contexts.values()),
      pending: this.#pending,
    });
    this.#opened(this);
  }

  #fail(failure: UnderstudyError): void {
    if (this.#failure !== null) return;
    this.#failure = failure;
    this.#signal.removeEventListener('abort', this.#onAbort);
    // After a goodbye the socket still has to send it; it destroys itself then.
    if (!this.#socket?.writableEnded) this.#socket?.destroy();
    this.#failed(failure);
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const { failed } of waiting) failed(failure);
  }
}

/** Collects exactly as many bytes as the buffer holds, then says so. */
function fill(bytes: Buffer, full: () => void): Receiver {
  let filled = 0;
  return {
    window: () => bytes.subarray(filled),
    advance: (byteCount) => {
      filled += byteCount;
      if (filled === bytes.length) full();
    },
  };
}

function checkLengths(endpoint: BlockEndpoint): void {
  const { address, exportName } = endpoint;
  if (address.type === 'unix' && Buffer.byteLength(address.path) > SOCKET_PATH_BYTES_MAX) {
    throw invalidEndpoint(endpoint, `its path exceeds ${SOCKET_PATH_BYTES_MAX} bytes`);
  }
  if (Buffer.byteLength(exportName) > EXPORT_NAME_BYTES_MAX) {
    throw invalidEndpoint(endpoint, `its name exceeds ${EXPORT_NAME_BYTES_MAX} bytes`);
  }
}
