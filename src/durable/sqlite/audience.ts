/** Who hears of events: subscribers, and those who wait for an operation to settle. */
import { UnderstudyError } from '../../domain/error.ts';
import type { OperationId } from '../../domain/ids.ts';
import {
  hasEnded,
  type OperationEvent,
  type OperationProgress,
  type OperationRecord,
} from '../../domain/operation/operation.ts';
import type { OperationListener } from '../../ports/durable.ts';

type Waiter = {
  readonly resolve: (record: OperationRecord) => void;
  readonly reject: (error: UnderstudyError) => void;
};

export type Audience = ReturnType<typeof createAudience>;

export function createAudience() {
  const listeners = new Set<OperationListener>();
  const waiters = new Map<OperationId, Set<Waiter>>();
  return {
    subscribe(listener: OperationListener): Disposable {
      // Its own object, so that one listener may subscribe twice.
      const subscription = { ...listener };
      listeners.add(subscription);
      return { [Symbol.dispose]: () => void listeners.delete(subscription) };
    },
    publish(event: OperationEvent, record: OperationRecord): void {
      for (const listener of listeners) hear(() => listener.onEvent?.(event, record));
      if (!hasSettled(record)) return;
      for (const waiter of waiters.get(record.id) ?? []) waiter.resolve(record);
      waiters.delete(record.id);
    },
    publishProgress(progress: OperationProgress): void {
      for (const listener of listeners) hear(() => listener.onProgress?.(progress));
    },
    /** Resolves at the operation's next settling; rejects with `cancelled`, or when the audience is dismissed. */
    nextSettling(id: OperationId, signal: AbortSignal): Promise<OperationRecord> {
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(new UnderstudyError('cancelled'));
        const abort = () => {
          waiting.delete(waiter);
          reject(new UnderstudyError('cancelled'));
        };
        const waiter: Waiter = {
          resolve: (record) => {
            signal.removeEventListener('abort', abort);
            resolve(record);
          },
          reject: (error) => {
            signal.removeEventListener('abort', abort);
            reject(error);
          },
        };
        const waiting = waiters.get(id) ?? new Set();
        waiters.set(id, waiting.add(waiter));
        signal.addEventListener('abort', abort, { once: true });
      });
    },
    dismiss(error: UnderstudyError): void {
      for (const waiter of [...waiters.values()].flatMap((set) => [...set])) waiter.reject(error);
      waiters.clear();
    },
  };
}

export function hasSettled({ state }: OperationRecord): boolean {
  return hasEnded(state) || state === 'suspended';
}

/** A listener that throws is a bug; it surfaces as an uncaught error instead of harming an operation. */
function hear(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
