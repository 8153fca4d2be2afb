/**
 * The HTTP API: composes access check, routes of the contract, event streams and problem documents into
 * one server. Nothing here knows what a verb does; `Controller` does.
 *
 *   request ─▶ access ─▶ parse by contract ─▶ handler ─▶ answer
 *                 └──────────┴──── problem ◀────┘
 */
import Fastify, { type FastifyInstance } from 'fastify';
import { ALL_EVENTS_PATH, OPERATION_EVENTS_PATH } from '../contract/endpoints.ts';
import { openApiDocument } from '../contract/openapi.ts';
import type { Clock } from '../ports/clock.ts';
import type { Controller } from '../ports/controller.ts';
import { accessCheck } from './access.ts';
import { lastSequence, streamAll, streamOperation } from './event-routes.ts';
import { type EventStream, openEventStream } from './event-stream.ts';
import { failureReporter, refuseUrl } from './failures.ts';
import { goneSignal } from './gone-signal.ts';
import { listen } from './listen.ts';
import type { ListenAddress } from './listen-address.ts';
import { registerRoutes } from './routes.ts';

export type ApiLogger = {
  readonly error: (message: string, fields: Readonly<Record<string, unknown>>) => void;
};

export type ApiOptions = {
  readonly controller: Controller;
  readonly clock: Clock;
  /** The only key to the server; compared in constant time. */
  readonly token: string;
  readonly logger: ApiLogger;
  readonly version: string;
};

/** Far above any request of the contract, far below what would hurt. */
const BODY_BYTES_MAX = 256 * 1024;
const REQUEST_MS_MAX = 30_000;
/** A reference of 256 characters, percent-encoded as four UTF-8 bytes each. */
const PARAMETER_CHARACTERS_MAX = 256 * 12;

export type Api = {
  /** For tests: `inject` requests without a socket. */
  readonly server: FastifyInstance;
  /** Resolves with the address in use: the kernel's port where 0 was asked for. Throws `invalid-request` when it cannot be had. */
  listen(address: ListenAddress): Promise<ListenAddress>;
  /** Ends every event stream, lets running requests finish, then closes. */
  close(): Promise<void>;
};

export function createApi(options: ApiOptions): Api {
  const { controller, clock, version } = options;
  const server = Fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_MS_MAX,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: PARAMETER_CHARACTERS_MAX },
    frameworkErrors: refuseUrl,
  });
  server.removeContentTypeParser('text/plain');
  const check = accessCheck(options);
  server.addHook('onRequest', async (request) => check(request.headers));
  failureReporter(server, options.logger);
  registerRoutes(server, { controller, version });
  registerStreams(server, { controller, clock });
  server.get('/openapi.json', async () => openApiDocument(version));
  return {
    server,
    listen: (address) => listen(server, address),
    close: () => server.close(),
  };
}

function registerStreams(
  server: FastifyInstance,
  { controller, clock }: Pick<ApiOptions, 'controller' | 'clock'>,
): void {
  const open = new Set<EventStream>();
  server.addHook('preClose', async () => {
    for (const stream of open) stream.end();
  });
  const run = async (stream: EventStream, work: () => Promise<void>): Promise<void> => {
    open.add(stream);
    // A failure in mid-stream can only be said by closing without `end`; the reader connects again and is told.
    await work().catch(() => undefined);
    stream.end();
    open.delete(stream);
  };
  server.get<{ Params: { operation: string } }>(OPERATION_EVENTS_PATH, async (request, reply) => {
    const afterSequence = lastSequence(request.headers['last-event-id']);
    const options = { signal: goneSignal(reply.raw) };
    const operation = await controller.operation(request.params.operation, options);
    reply.hijack();
    const stream = openEventStream(reply.raw, clock);
    const streaming = { controller, clock, operation, afterSequence, stream };
    void run(stream, () => streamOperation(streaming));
  });
  server.get(ALL_EVENTS_PATH, async (_request, reply) => {
    reply.hijack();
    const stream = openEventStream(reply.raw, clock);
    void run(stream, () => streamAll(controller, stream));
  });
}
