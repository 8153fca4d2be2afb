import { z } from 'zod';
import { ENDPOINTS, type EndpointName, IDEMPOTENCY_HEADER } from './endpoints.ts';
import { problemSchema } from './problem.ts';
import { ROUTES, type Route } from './routes.ts';

type JsonObject = { [key: string]: unknown };

/** The contract as an OpenAPI 3.1 document. */
export function openApiDocument(version: string): JsonObject {
  const paths: { [path: string]: JsonObject } = {};
  for (const name of Object.keys(ENDPOINTS) as EndpointName[]) {
    const { method, path } = ENDPOINTS[name];
    const template = path.replace(/:(\w+)/g, '{$1}');
    paths[template] = { ...paths[template], [method.toLowerCase()]: operationOf(name) };
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Understudy', version },
    security: [{ token: [] }],
    components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    paths,
  };
}

function operationOf(name: EndpointName): JsonObject {
  const route: Route = ROUTES[name];
  const { method, path } = ENDPOINTS[name];
  const isChange = method !== 'GET';
  const requestBody = {
    content: { 'application/json': { schema: jsonSchema(route.body, 'input') } },
  };
  return {
    operationId: name,
    summary: route.summary,
    parameters: [
      ...pathParameters(path),
      ...queryParameters(route.query),
      ...(isChange ? [idempotencyParameter()] : []),
    ],
    ...(isChange && hasFields(route.body) ? { requestBody } : {}),
    responses: {
      [route.status]: response('Done', 'application/json', route.answer),
      default: response('Refused or failed', 'application/problem+json', problemSchema),
    },
  };
}

function pathParameters(path: string): JsonObject[] {
  return [...path.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    description: 'An id, a unique name, or the unique beginning of an id',
    schema: { type: 'string' },
  }));
}

function queryParameters(query: z.ZodType): JsonObject[] {
  const { properties } = jsonSchema(query, 'input');
  return Object.entries(properties ?? {}).map(([name, schema]) => ({ name, in: 'query', schema }));
}

function idempotencyParameter(): JsonObject {
  return {
    name: IDEMPOTENCY_HEADER,
    in: 'header',
    description: 'A repeated request with the same key and content begins nothing anew',
    schema: { type: 'string', minLength: 1, maxLength: 200 },
  };
}

function response(description: string, type: string, schema: z.ZodType): JsonObject {
  return { description, content: { [type]: { schema: jsonSchema(schema, 'output') } } };
}

function hasFields(schema: z.ZodType): boolean {
  return Object.keys(jsonSchema(schema, 'input').properties ?? {}).length > 0;
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output') {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io, target: 'draft-2020-12' });
  return rest;
}
