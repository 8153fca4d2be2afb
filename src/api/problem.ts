/** Every answer that is not a success: RFC 9457 problem documents made from the error catalogue. */
import type { ProblemAnswer } from '../contract/problem.ts';
import type { UnderstudyError } from '../domain/error.ts';
import type { ErrorCode } from '../domain/error-catalog.ts';
import type { ErrorKind } from '../domain/error-entry.ts';
import { allowedOperations, PHASES, type Phase } from '../domain/replica/phase.ts';

export const PROBLEM_TYPE = 'application/problem+json';

const STATUS_OF_KIND = {
  invalid: 400,
  missing: 404,
  conflict: 409,
  transient: 503,
  cancelled: 409,
  bug: 500,
} as const satisfies Record<ErrorKind, number>;

/** Where HTTP has a better word than the kind. */
const STATUS_OF_CODE: Partial<Record<ErrorCode, number>> = {
  'token-refused': 401,
  'origin-refused': 403,
};

export type ProblemExtras = Pick<ProblemAnswer, 'violations' | 'findings'> & {
  readonly status?: number;
};

/** A bug says nothing of its cause: paths and words of libraries stay in the log, found by the request's name. */
export function problemOf(
  error: UnderstudyError,
  requestId: string,
  extras: ProblemExtras = {},
): ProblemAnswer {
  if (error.kind === 'bug') return unexpectedProblem(requestId);
  const { status = STATUS_OF_CODE[error.code] ?? STATUS_OF_KIND[error.kind], ...rest } = extras;
  return {
    type: `urn:understudy:problem:${error.code}`,
    title: titleOf(error.code),
    status,
    detail: error.message,
    code: error.code,
    kind: error.kind,
    details: { ...error.details },
    instance: instanceOf(requestId),
    ...allowedIn(error),
    ...rest,
  };
}

function unexpectedProblem(requestId: string): ProblemAnswer {
  return {
    type: 'urn:understudy:problem:unexpected',
    title: titleOf('unexpected'),
    status: STATUS_OF_KIND.bug,
    detail: `Something unexpected happened; the server's log has it under ${requestId}. Please report it.`,
    code: 'unexpected',
    kind: 'bug',
    details: {},
    instance: instanceOf(requestId),
  };
}

function titleOf(code: ErrorCode): string {
  const words = code.replaceAll('-', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function instanceOf(requestId: string): string {
  return `urn:understudy:request:${requestId}`;
}

function allowedIn(error: UnderstudyError): Pick<ProblemAnswer, 'allowedOperations'> {
  const phase = error.details.phase;
  if (error.code !== 'not-allowed-in-phase' || !isPhase(phase)) return {};
  return { allowedOperations: [...allowedOperations(phase)] };
}

function isPhase(value: unknown): value is Phase {
  return typeof value === 'string' && Object.hasOwn(PHASES, value);
}
