/** Registers every endpoint of the contract: parses what comes in, calls the handler, answers. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { ENDPOINTS, type EndpointName, IDEMPOTENCY_HEADER } from '../contract/endpoints.ts';
import { type ParsedBody, type ParsedQuery, ROUTES, type Route } from '../contract/routes.ts';
import { referenceSchema } from '../contract/values.ts';
import { UnderstudyError } from '../domain/error.ts';
import type { Controller } from '../ports/controller.ts';
import { archiveHandlers } from './archives.ts';
import { failbackHandlers } from './failbacks.ts';
import { failoverHandlers } from './failovers.ts';
import { sendProblem } from './failures.ts';
import { goneSignal } from './gone-signal.ts';
import { guardHandlers } from './guards.ts';
import type { Handlers, ParsedRequest, PathParameters, Refusal } from './handlers.ts';
import { hostHandlers } from './hosts.ts';
import { jobHandlers } from './jobs.ts';
import { operationHandlers } from './operations.ts';
import { pointHandlers } from './points.ts';
import { problemOf } from './problem.ts';
import { rebuildHandlers } from './rebuild.ts';
import { overviewAnswer, replicaHandlers } from './replicas.ts';
import { requestSeed } from './seed.ts';
import { testHandlers } from './tests.ts';
import { violationWords } from './violation-words.ts';

type Violation = { readonly path: string; readonly message: string };

/** More than a person reads at once. */
const VIOLATIONS_MAX = 20;

type Options = { readonly controller: Controller; readonly version: string };

export function registerRoutes(server: FastifyInstance, options: Options): void {
  const handlers = allHandlers(options);
  for (const name of Object.keys(ENDPOINTS) as EndpointName[]) {
    const { method, path } = ENDPOINTS[name];
    server.route({
      method,
      url: path,
      handler: (request, reply) => serve(name, handlers, request, reply),
    });
  }
}

function allHandlers({ controller, version }: Options): Handlers {
  return {
    overview: ({ options }) => overviewAnswer(controller, version, options),
    version: async () => ({ version }),
    ...hostHandlers(controller),
    ...guardHandlers(controller),
    ...jobHandlers(controller),
    ...replicaHandlers(controller),
    ...pointHandlers(controller),
    ...failoverHandlers(controller),
    ...failbackHandlers(controller),
    ...testHandlers(controller),
    ...operationHandlers(controller),
    ...archiveHandlers(controller),
    ...rebuildHandlers(controller),
  };
}

async function serve<Name extends EndpointName>(
  name: Name,
  handlers: Handlers,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const violations: Violation[] = [];
  const parsed = parseRequest(name, request, violations, goneSignal(reply.raw));
  if (violations.length > 0) return refuseViolations(request, reply, violations);
  const answer = await handlers[name](parsed);
  if (isRefusal(answer)) {
    const extras = { findings: [...answer.findings] };
    return sendProblem(reply, problemOf(answer.refusal, request.id, extras));
  }
  return reply.code(ROUTES[name].status).send(answer);
}

/** The result counts only when no violation was added. */
function parseRequest<Name extends EndpointName>(
  name: Name,
  request: FastifyRequest,
  violations: Violation[],
  signal: AbortSignal,
): ParsedRequest<Name> {
  const route: Route = ROUTES[name];
  const parse = (schema: z.ZodType, value: unknown, where: string): unknown => {
    const result = schema.safeParse(value, { error: violationWords });
    if (result.success) return result.data;
    for (const issue of result.error.issues) violations.push(violation(issue, where));
    return undefined;
  };
  const parameters = parse(z.record(z.string(), referenceSchema), request.params, 'path');
  const query = parse(route.query, request.query, 'query');
  const body = parse(route.body, request.body ?? {}, 'body');
  const { method, url, headers } = request;
  // Only of what the contract takes: another body may be nested deeper than can be written down again.
  const key = violations.length === 0 ? headers[IDEMPOTENCY_HEADER] : undefined;
  const seed = requestSeed({ key, method, url, body: request.body });
  return {
    parameters: parameters as PathParameters<Name>,
    query: query as ParsedQuery<Name>,
    body: body as ParsedBody<Name>,
    options: { signal, seed },
  };
}

function violation(issue: z.core.$ZodIssue, where: string): Violation {
  const path = [where, ...issue.path.map(String)].join('.').slice(0, 200);
  return { path, message: issue.message.slice(0, 200) };
}

function refuseViolations(
  request: FastifyRequest,
  reply: FastifyReply,
  violations: readonly Violation[],
): FastifyReply {
  const first = violations[0];
  const reason = `${first?.path}: ${first?.message.replace(/\.$/, '')}`;
  const error = new UnderstudyError('invalid-request', { reason });
  const extras = { violations: violations.slice(0, VIOLATIONS_MAX) };
  return sendProblem(reply, problemOf(error, request.id, extras));
}

function isRefusal(answer: object): answer is Refusal {
  return 'refusal' in answer;
}
