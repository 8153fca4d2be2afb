import { type ErrorDetails, UnderstudyError } from '../../domain/error.ts';
import type { ErrorCode } from '../../domain/error-catalog.ts';
import type { TransferTarget } from '../../ports/mover.ts';
import { WIRE_ERROR, WIRE_NO_SPACE, WIRE_SHUTDOWN } from './protocol.ts';

/** The server said something the protocol does not allow. Nothing after it can be believed. */
export class ProtocolViolation extends Error {}

/** The server cannot give what we need, and saying it again will not help. */
export class EndpointRefusal extends Error {}

/** How an endpoint is called in messages. */
function endpointName(endpoint: TransferTarget): string {
  if ('imagePath' in endpoint) return endpoint.imagePath;
  const { address, exportName } = endpoint;
  const place =
    address.type === 'unix' ? `unix:${address.path}` : `tcp:${address.host}:${address.port}`;
  return `${place} export ${JSON.stringify(exportName)}`;
}

export function invalidEndpoint(endpoint: TransferTarget, reason: string): UnderstudyError {
  return new UnderstudyError('invalid-endpoint', { endpoint: endpointName(endpoint), reason });
}

export function connectionLost(endpoint: TransferTarget, reason: string): UnderstudyError {
  return new UnderstudyError('connection-lost', { endpoint: endpointName(endpoint), reason });
}

export function transferFailed(endpoint: TransferTarget, reason: string): UnderstudyError {
  return new UnderstudyError('block-transfer-failed', { endpoint: endpointName(endpoint), reason });
}

/** An error number of a reply. `message` is what the server added, already bounded. */
export function replyError(
  endpoint: TransferTarget,
  { wireError, what, message }: { wireError: number; what: string; message: string },
): UnderstudyError {
  if (wireError === WIRE_NO_SPACE) {
    return new UnderstudyError('target-full', {
      path: endpointName(endpoint),
      reason: 'it is full',
    });
  }
  const reason = `${what}: ${WIRE_ERROR[wireError] ?? `error ${wireError}`}${message === '' ? '' : ` (${message})`}`;
  return wireError === WIRE_SHUTDOWN
    ? connectionLost(endpoint, reason)
    : transferFailed(endpoint, reason);
}

/** Errors of the socket that say the address itself is wrong, rather than that nobody answers now. */
const ADDRESS_ERRORS: ReadonlySet<unknown> = new Set([
  'EACCES',
  'EINVAL',
  'ENAMETOOLONG',
  'ENOTFOUND',
  'ENOTSOCK',
  'ERR_INVALID_ARG_TYPE',
  'ERR_INVALID_ARG_VALUE',
  'ERR_SOCKET_BAD_PORT',
]);

/** Any error met while talking to `endpoint`, as one of ours. */
export function connectionError(endpoint: TransferTarget, error: unknown): UnderstudyError {
  if (error instanceof UnderstudyError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new UnderstudyError(
    connectionErrorCode(error, codeOf(error)),
    named(endpoint, reason),
    error,
  );
}

function connectionErrorCode(error: unknown, code: unknown): ErrorCode {
  if (error instanceof ProtocolViolation) return 'block-transfer-failed';
  if (error instanceof EndpointRefusal) return 'invalid-endpoint';
  return ADDRESS_ERRORS.has(code) ? 'invalid-endpoint' : 'connection-lost';
}

function named(endpoint: TransferTarget, reason: string): ErrorDetails {
  return { endpoint: endpointName(endpoint), reason };
}

/** Why a signal was aborted, if the reason is one of ours (a deadline), else `cancelled`. */
export function abortError(signal: AbortSignal): UnderstudyError {
  return signal.reason instanceof UnderstudyError
    ? signal.reason
    : new UnderstudyError('cancelled');
}

/** A spool or table that cannot be written: a full disk is told apart, for the operator can act on it. */
export function fileError(path: string, error: unknown): UnderstudyError {
  if (error instanceof UnderstudyError) return error;
  return (
    fullError(path, error) ?? new UnderstudyError('invalid-file', because({ path }, error), error)
  );
}

/** The same of an image that blocks are written to. */
export function imageError(path: string, error: unknown): UnderstudyError {
  if (error instanceof UnderstudyError) return error;
  const failed = () =>
    new UnderstudyError('block-transfer-failed', because({ endpoint: path }, error), error);
  return fullError(path, error) ?? failed();
}

/** Errors of open(2) that say that the path is wrong, rather than that its storage or this process is in trouble now. */
const PATH_ERRORS: ReadonlySet<unknown> = new Set([
  'EACCES',
  'EISDIR',
  'ELOOP',
  'ENAMETOOLONG',
  'ENOENT',
  'ENOTDIR',
  'EPERM',
  'EROFS',
]);

/** An image that cannot be opened for writing. */
export function openingError(imagePath: string, error: unknown): UnderstudyError {
  if (!PATH_ERRORS.has(codeOf(error))) return imageError(imagePath, error);
  return new UnderstudyError('invalid-endpoint', because({ endpoint: imagePath }, error), error);
}

function fullError(path: string, error: unknown): UnderstudyError | null {
  const code = codeOf(error);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return null;
  return new UnderstudyError('target-full', { path, reason: 'it is full' }, error);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function because(details: ErrorDetails, error: unknown): ErrorDetails {
  return { ...details, reason: error instanceof Error ? error.message : String(error) };
}
