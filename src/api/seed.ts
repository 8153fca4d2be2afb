import { createHash } from 'node:crypto';
import { UnderstudyError } from '../domain/error.ts';

/**
 * One identity for all repetitions of one request. The whole request goes into it: a client that uses one
 * key for two different requests gets two effects, not the wrong answer. Throws `invalid-request`.
 */
export function requestSeed(request: {
  readonly key: string | string[] | undefined;
  readonly method: string;
  readonly url: string;
  readonly body: unknown;
}): string | null {
  if (request.key === undefined) return null;
  if (typeof request.key !== 'string' || !/^[\x21-\x7e]{1,200}$/.test(request.key)) {
    throw new UnderstudyError('invalid-request', {
      reason: 'Idempotency-Key must be 1 to 200 visible ASCII characters',
    });
  }
  const parts = [request.key, request.method, request.url, request.body ?? {}];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 24);
}
