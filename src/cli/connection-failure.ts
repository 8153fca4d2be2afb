/** What goes wrong between us and the server, for people: what to do, and whether what was asked may be done all the same. */
import { EXIT } from './exit-codes.ts';
import { Failure, interruptedFailure } from './failure.ts';
import { errorCode, type Location } from './location.ts';

export type Asked = {
  readonly location: Location;
  readonly signal: AbortSignal;
  /** It asks for something, and the server may have it. */
  readonly mayBeTaken: boolean;
};

const MAY_STILL = 'may still do what was asked: see `understudy status` before asking again.';

export function connectionFailure(asked: Asked, cause: unknown): Failure {
  if (cause instanceof Failure) return cause;
  const { location, signal, mayBeTaken } = asked;
  if (signal.aborted) {
    return interruptedFailure(mayBeTaken ? `Interrupted. The server ${MAY_STILL}` : 'Interrupted.');
  }
  const reason = errorCode(cause);
  const message = mayBeTaken ? broken(location, reason) : unreachable(location, reason);
  return new Failure(message, EXIT.unreachable, { cause });
}

export function slowFailure({ address }: Location, ms: number): Failure {
  const message = `The server at ${address} has not answered for ${ms / 1000} s. It ${MAY_STILL}`;
  return new Failure(message, EXIT.unreachable);
}

export function hangingFailure({ address }: Location, ms: number): Failure {
  const message = `The server at ${address} has said nothing for ${ms / 1000} s: it hangs or is stopped. If it stays so, end its process and start it again with \`understudy serve\`.`;
  return new Failure(message, EXIT.unreachable, { isHanging: true });
}

function broken({ address }: Location, reason: string): string {
  return `The connection to the server at ${address} broke (${reason}). It ${MAY_STILL}`;
}

function unreachable({ address }: Location, reason: string): string {
  if (reason === 'EACCES') {
    return `The server at ${address} may be spoken to by its owner alone (EACCES). Run as the user who runs the server.`;
  }
  return `No server answers at ${address} (${reason}). Start one with \`understudy serve\`, or name another with --server or --data.`;
}
