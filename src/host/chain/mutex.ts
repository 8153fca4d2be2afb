import { UnderstudyError } from '../../domain/error.ts';
import { throwIfCancelled } from './errors.ts';

/**
 * Runs what is given for one key strictly one after another; different keys do not wait for each other. Who is aborted before
 * the turn came gets `cancelled` at once, and is never run; what has begun is waited for.
 */
export type KeyedMutex = <Result>(
  key: string,
  signal: AbortSignal,
  run: () => Promise<Result>,
) => Promise<Result>;

export function createKeyedMutex(): KeyedMutex {
  const tails = new Map<string, Promise<unknown>>();
  return async (key, signal, run) => {
    throwIfCancelled(signal);
    let hasBegun = false;
    const current = (tails.get(key) ?? Promise.resolve()).then(() => {
      throwIfCancelled(signal);
      hasBegun = true;
      return run();
    });
    // The tail only orders, also for those behind one who gave up: whoever called handles the error.
    const tail = current.then(nothing, nothing).then(() => {
      if (tails.get(key) === tail) tails.delete(key);
    });
    tails.set(key, tail);
    return unlessAborted(current, signal, () => !hasBegun);
  };
}

/** The answer, or `cancelled` if it is aborted while `isWaiting`. */
function unlessAborted<Result>(
  answer: Promise<Result>,
  signal: AbortSignal,
  isWaiting: () => boolean,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const giveUp = () => {
      if (isWaiting()) reject(new UnderstudyError('cancelled'));
    };
    signal.addEventListener('abort', giveUp);
    void answer.then(resolve, reject).then(() => signal.removeEventListener('abort', giveUp));
  });
}

function nothing(): void {}
