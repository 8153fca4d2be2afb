/** Speaks the HTTP API. Types come from the contract; what cannot be reached or is refused is a `Failure`. */
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import {
  ENDPOINTS,
  type EndpointName,
  fillPath,
  IDEMPOTENCY_HEADER,
  OPERATION_EVENTS_PATH,
  STREAM_BEAT_MS,
} from '../contract/endpoints.ts';
import type { OperationStreamEvent } from '../contract/operation.ts';
import type { ProblemAnswer } from '../contract/problem.ts';
import type { Answer, RequestBody, RequestQuery } from '../contract/routes.ts';
import {
  type Asked,
  connectionFailure,
  hangingFailure,
  slowFailure,
} from './connection-failure.ts';
import { EXIT } from './exit-codes.ts';
import { Failure, problemFailure } from './failure.ts';
import type { Location } from './location.ts';
import { readServerSentEvents } from './server-sent-events.ts';

export type CallInput<Name extends EndpointName> = {
  readonly parameters?: Readonly<Record<string, string>>;
  readonly query?: RequestQuery<Name>;
  readonly body?: RequestBody<Name>;
};

export type Client = {
  call<Name extends EndpointName>(name: Name, input?: CallInput<Name>): Promise<Answer<Name>>;
  /** One connection's worth: ends after `end`, or when the server closes; connect again with the last sequence. */
  operationEvents(operation: string, afterSequence: number): AsyncIterable<OperationStreamEvent>;
};

export type ClientOptions = {
  /** Asked for every request: a server that was started again may have another port. */
  readonly locate: () => Promise<Location>;
  readonly freshKey: () => string;
  readonly signal: AbortSignal;
  /** How long the server may say nothing before it is given up. */
  readonly silenceMs?: { readonly answer: number; readonly stream: number };
};

const SILENCE_MS_MAX = {
  /** Adding a host may prove its acceleration by booting a test guest. */
  answer: 120_000,
  /** A server that is only busy, or whose disk is slow, misses a beat or two. */
  stream: 6 * STREAM_BEAT_MS,
};
/** The largest answers are histories and definitions. */
const ANSWER_CHARACTERS_MAX = 64 * 1024 * 1024;

export function createClient(options: ClientOptions): Client {
  const { locate, freshKey, signal, silenceMs = SILENCE_MS_MAX } = options;
  return {
    call: async <Name extends EndpointName>(name: Name, input: CallInput<Name> = {}) => {
      const { method, path } = ENDPOINTS[name];
      const location = await locate();
      const body = input.body === undefined ? undefined : JSON.stringify(input.body);
      const response = await send(location, signal, {
        method,
        path: fillPath(path, input.parameters ?? {}) + queryString(input.query ?? {}),
        silence: { ms: silenceMs.answer, failure: slowFailure },
        headers: {
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(method === 'GET' ? {} : { [IDEMPOTENCY_HEADER]: freshKey() }),
        },
        body,
      });
      const asked = { location, signal, mayBeTaken: method !== 'GET' };
      return parseAnswer<Name>(await readText(response, asked), response.statusCode ?? 0);
    },
    operationEvents: async function* (operation, afterSequence) {
      const location = await locate();
      const asked = { location, signal, mayBeTaken: false };
      const response = await send(location, signal, {
        method: 'GET',
        path: fillPath(OPERATION_EVENTS_PATH, { operation }),
        silence: { ms: silenceMs.stream, failure: hangingFailure },
        headers: { 'last-event-id': String(afterSequence) },
        body: undefined,
      });
      if (response.statusCode !== 200) {
        parseAnswer(await readText(response, asked), response.statusCode ?? 0);
      }
      try {
        for await (const { event, text } of readServerSentEvents(response)) {
          yield { event, value: JSON.parse(text) } as OperationStreamEvent;
        }
      } catch (cause) {
        throw connectionFailure(asked, cause);
      } finally {
        response.destroy();
      }
    },
  };
}

type SendOptions = Pick<RequestOptions, 'method' | 'path'> & {
  readonly silence: {
    readonly ms: number;
    readonly failure: (location: Location, ms: number) => Failure;
  };
  readonly headers: Record<string, string>;
  readonly body: string | undefined;
};

/** What goes wrong later, in the middle of the answer, is thrown to whoever reads that. */
function send(
  location: Location,
  signal: AbortSignal,
  { body, headers, silence, ...options }: SendOptions,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const request = httpRequest({
    ...options,
    ...location.socket,
    signal,
    timeout: silence.ms,
    agent: false,
    // Over a unix socket there is no other name to give.
    headers: { host: 'localhost', authorization: `Bearer ${location.token}`, ...headers },
  });
  let answering: IncomingMessage | null = null;
  request.on('response', (response) => {
    answering = response;
    resolve(response);
  });
  request.on('timeout', () =>
    (answering ?? request).destroy(silence.failure(location, silence.ms)),
  );
  request.on('error', (cause) => {
    const mayBeTaken = options.method !== 'GET' && request.writableFinished;
    reject(connectionFailure({ location, signal, mayBeTaken }, cause));
  });
  request.end(body);
  return promise;
}

async function readText(response: IncomingMessage, asked: Asked): Promise<string> {
  response.setEncoding('utf8');
  let text = '';
  try {
    for await (const chunk of response) {
      text += String(chunk);
      if (text.length > ANSWER_CHARACTERS_MAX) throw new Error('its answer is too large');
    }
  } catch (cause) {
    throw connectionFailure(asked, cause);
  }
  return text;
}

/** The server speaks the contract of the same version; what is not JSON comes from something else. */
function parseAnswer<Name extends EndpointName>(text: string, status: number): Answer<Name> {
  const answer = parseJson(text);
  if (status >= 200 && status < 300) return answer as Answer<Name>;
  if (isProblem(answer)) throw problemFailure(answer);
  if (status === 503) throw new Failure('The server is shutting down.', EXIT.unreachable);
  throw new Failure(`The server answered with HTTP status ${status}.`, EXIT.bug);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Failure('What answers there is not an Understudy server.', EXIT.bug, { cause });
  }
}

function isProblem(answer: unknown): answer is ProblemAnswer {
  return typeof answer === 'object' && answer !== null && 'kind' in answer && 'detail' in answer;
}

function queryString(query: Readonly<Record<string, string | undefined>>): string {
  const pairs = Object.entries(query).filter(
    (pair): pair is [string, string] => pair[1] !== undefined,
  );
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs)}`;
}
