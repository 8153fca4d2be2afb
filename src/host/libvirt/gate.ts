import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';

/** Lets a fixed number of tasks run at once; the others wait in the order they came. */
export interface Gate {
  /** Runs the task when there is room. Throws `cancelled` when aborted while waiting, else what the task throws. */
  enter<Result>(task: () => Promise<Result>, options: CallOptions): Promise<Result>;
}

export function createGate(width: number): Gate {
  let running = 0;
  const waiting = new Set<() => void>();
  const leave = (): void => {
    const [next] = waiting;
    if (next === undefined) {
      running -= 1;
      return;
    }
    // The place is handed over, so that a newcomer cannot slip in between.
    waiting.delete(next);
    next();
  };
  const place = async (signal: AbortSignal): Promise<void> => {
    if (signal.aborted) throw new UnderstudyError('cancelled');
    if (running < width) {
      running += 1;
      return;
    }
    await turn(waiting, signal);
  };
  return {
    async enter(task, { signal }) {
      await place(signal);
      try {
        return await task();
      } finally {
        leave();
      }
    },
  };
}

function turn(waiting: Set<() => void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const admit = (): void => {
      signal.removeEventListener('abort', give);
      resolve();
    };
    const give = (): void => {
      waiting.delete(admit);
      reject(new UnderstudyError('cancelled'));
    };
    waiting.add(admit);
    signal.addEventListener('abort', give, { once: true });
  });
}
