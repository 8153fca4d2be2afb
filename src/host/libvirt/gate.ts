import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';

/** Lets a fixed number of tasks run at once; the others wait in the order they came. */
export interface Gate {
  /** Runs the task when there is room. Throws `cancelled` when aborted while waiting, else what the task throws. */
  enter<Result>(task: () => Promise<Result>, options: CallOptions): Promise<Result>;
  /** Nobody is inside or waits. */
  isIdle(): boolean;
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
    isIdle: () => running === 0,
  };
}

/** A gate for one at a time for each key. */
export interface GatePerKey<Key> {
  /** As `Gate.enter`, at the gate of that key. */
  enter<Result>(key: Key, task: () => Promise<Result>, options: CallOptions): Promise<Result>;
}

/** Keeps no gate at which nobody is: keys come and go, the server stays. `gates` is for tests to look at. */
export function createGatePerKey<Key>(gates = new Map<Key, Gate>()): GatePerKey<Key> {
  return {
    async enter(key, task, options) {
      const gate = gates.get(key) ?? createGate(1);
      gates.set(key, gate);
      try {
        return await gate.enter(task, options);
      } finally {
        // It may have gone already, and another one stand in its place.
        if (gate.isIdle() && gates.get(key) === gate) gates.delete(key);
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
