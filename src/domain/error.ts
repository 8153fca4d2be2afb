import { ERROR_CATALOG, type ErrorCode } from './error-catalog.ts';
import type { ErrorKind } from './error-entry.ts';
import { shellArgument } from './shell-argument.ts';

export type ErrorDetails = Readonly<Record<string, string | number | boolean | null>>;

/**
 * Every error that leaves a function of ours on purpose. The code says what happened, the details which
 * object; the sentence is made from both by the catalogue, and ends with what the operator can do.
 */
export class UnderstudyError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, details: ErrorDetails = {}, cause?: unknown) {
    super(sentence(code, details), cause === undefined ? undefined : { cause });
    this.name = 'UnderstudyError';
    this.code = code;
    this.details = details;
  }

  get kind(): ErrorKind {
    return ERROR_CATALOG[this.code].kind;
  }
}

/** What happened and what to do about it, with the details filled in. */
function sentence(code: ErrorCode, details: ErrorDetails): string {
  const { message, remedy } = ERROR_CATALOG[code];
  const filled = message.replace(/\{(\w+)\}/g, (_, name: string) => String(details[name] ?? '?'));
  const parts = remedy.split('`').map((part, index) =>
    part.replace(/\{(\w+)\}/g, (_, name: string) => {
      const value = String(details[name] ?? '?');
      return index % 2 === 1 ? shellArgument(value) : value;
    }),
  );
  const advice = parts.join('`');
  return advice === '' ? filled : `${filled} ${advice}`;
}

/** The plain, serialisable form in which an error is journaled, sent and shown. */
export type ErrorRecord = {
  readonly code: ErrorCode;
  readonly kind: ErrorKind;
  readonly message: string;
  readonly details: ErrorDetails;
};

/** An error that is not ours is a bug until an adapter maps it: it keeps its words, never its stack. */
export function errorRecord(error: unknown): ErrorRecord {
  if (error instanceof UnderstudyError) {
    return { code: error.code, kind: error.kind, message: error.message, details: error.details };
  }
  const reason = error instanceof Error ? error.message : String(error);
  return errorRecord(new UnderstudyError('unexpected', { reason }));
}

export function errorFromRecord(record: ErrorRecord): UnderstudyError {
  return new UnderstudyError(record.code, record.details);
}

/** Wraps anything that is not ours, so that callers handle one type. */
export function asUnderstudyError(error: unknown): UnderstudyError {
  if (error instanceof UnderstudyError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new UnderstudyError('unexpected', { reason }, error);
}
