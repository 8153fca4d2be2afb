import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ProblemAnswer } from '../contract/problem.ts';
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import type { ApiLogger } from './create-api.ts';
import { PROBLEM_TYPE, type ProblemExtras, problemOf } from './problem.ts';

/** Turns whatever a request throws into a problem document. Only what we did not expect is logged. */
export function failureReporter(server: FastifyInstance, logger: ApiLogger): void {
  server.setErrorHandler((error: FastifyError | UnderstudyError, request, reply) => {
    const { cause, extras } = translate(error);
    if (cause.kind === 'bug') {
      logger.error('a request failed unexpectedly', {
        request: request.id,
        method: request.method,
        route: request.routeOptions.url ?? null,
        error,
      });
    }
    return sendProblem(reply, problemOf(cause, request.id, extras));
  });
  server.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] ?? '';
    const error = new UnderstudyError('route-missing', {
      method: request.method,
      path: path.slice(0, 200),
    });
    return sendProblem(reply, problemOf(error, request.id));
  });
}

/** What cannot be routed at all: it is refused before anybody asks for a token, and told nothing. */
export function refuseUrl(
  _error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  const reason = 'The path is not percent-encoded UTF-8, or one of its parts is too long';
  const error = new UnderstudyError('invalid-request', { reason });
  void sendProblem(reply, problemOf(error, request.id));
}

export function sendProblem(reply: FastifyReply, problem: ProblemAnswer): FastifyReply {
  if (problem.status === 401) void reply.header('www-authenticate', 'Bearer');
  return reply.code(problem.status).type(PROBLEM_TYPE).send(problem);
}

const WORDS_OF_STATUS: Readonly<Record<number, string>> = {
  413: 'The body is larger than any request needs to be; docs/api.md has the limit',
  415: 'The body must be JSON, with content-type: application/json',
};

/** Fastify's own refusals (body too large, not JSON, …) carry a status below 500 and a harmless sentence. */
function translate(error: FastifyError | UnderstudyError): {
  readonly cause: UnderstudyError;
  readonly extras: ProblemExtras;
} {
  if (error instanceof UnderstudyError) return { cause: error, extras: {} };
  const { statusCode } = error;
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    const reason = WORDS_OF_STATUS[statusCode] ?? error.message.replace(/\.$/, '');
    return {
      cause: new UnderstudyError('invalid-request', { reason }),
      extras: { status: statusCode },
    };
  }
  return { cause: asUnderstudyError(error), extras: {} };
}
