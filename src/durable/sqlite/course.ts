/**
 * The course of one operation in this process: where its function stands relative to the journal, what can
 * be undone, and what is going on right now. The function is run from its beginning; as long as
 * it comes by steps that the journal knows, it only reads. The first unknown step is the frontier.
 */
import { type ErrorRecord, errorFromRecord, UnderstudyError } from '../../domain/error.ts';
import type { OperationId } from '../../domain/ids.ts';
import type { RetryPolicy, UndoAttempt } from '../../ports/durable.ts';
import { type EngineParts, HALT, untilHalted } from './parts.ts';
import type { Direction, StepRow, StepType } from './rows.ts';

export type Course = ReturnType<typeof createCourse>;

export type UndoCall = {
  readonly undo: (attempt: UndoAttempt) => Promise<void>;
  readonly retry: RetryPolicy;
};

export function createCourse(settings: {
  readonly operationId: OperationId;
  readonly parts: EngineParts;
  readonly journaled: readonly StepRow[];
  readonly direction: Direction;
  readonly isCancelRequested: boolean;
  /** Whether others may have its slots for now. */
  readonly lendSlots: (isLent: boolean) => void;
}) {
  const { operationId, parts } = settings;
  const journaled = new Map(settings.journaled.map((row) => [row.position, row]));
  const names = new Set<string>();
  const undoCalls = new Map<number, UndoCall>();
  const failures = new WeakMap<object, number>();
  const inFlight = new Map<AbortController, Promise<unknown>>();
  const wakers = new Map<string, Set<() => void>>();
  let { direction, isCancelRequested } = settings;
  let stale: UnderstudyError | null = null;
  let nextPosition = 0;
  let isSheltered = false;

  function becomeStale(expected: string, found: string): UnderstudyError {
    stale ??= new UnderstudyError('stale-journal', { operation: operationId, expected, found });
    return stale;
  }

  return {
    operationId,
    undoCalls,
    lendSlots: settings.lendSlots,
    stale: () => stale,
    becomeStale,

    /** The function asks for its next step. Throws `stale-journal` when the journal holds another one there. */
    next(name: string, type: StepType): { readonly position: number; readonly row?: StepRow } {
      if (stale !== null) throw stale;
      if (names.has(name)) throw bug(`step ${name} of ${operationId} exists twice`);
      names.add(name);
      const position = nextPosition;
      nextPosition += 1;
      const row = journaled.get(position);
      if (row === undefined) return { position };
      if (row.name !== name || row.type !== type) throw becomeStale(name, row.name);
      return { position, row };
    },

    /** What the journal holds beyond the point where the function ended: a function of another version. */
    unreached(): StepRow | null {
      return settings.journaled.find((row) => row.position >= nextPosition) ?? null;
    },

    /** Throws unless a step beyond the journal may begin now. */
    requireOnward({ evenIfCancelled = false } = {}): void {
      if (parts.isHalted()) throw HALT;
      const isCancelled = isCancelRequested && !evenIfCancelled && !isSheltered;
      if (direction === 'backward' || isCancelled) throw new UnderstudyError('cancelled');
    },

    /**
     * Keeps the work in sight: a cancel, a close and a failure beside it abort its signal, and it is waited for.
     * Its effects must be over when it settles.
     */
    track<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
      const controller = new AbortController();
      const running = work(controller.signal);
      const settled = running.then(nothing, nothing).then(() => inFlight.delete(controller));
      inFlight.set(controller, settled);
      return untilHalted(() => running);
    },

    /** The error as the function is to see it, with the place it came from remembered. */
    failure(position: number, record: ErrorRecord): UnderstudyError {
      const error = errorFromRecord(record);
      failures.set(error, position);
      return error;
    },

    /** The step that an escaped error came from, also when the function wrapped it. */
    failedPosition(error: unknown): number | null {
      for (let at: unknown = error; at instanceof Error; at = at.cause) {
        const position = failures.get(at);
        if (position !== undefined) return position;
      }
      return null;
    },

    cancel(): void {
      isCancelRequested = true;
      if (!isSheltered) abortInFlight();
    },
    /** From here to the end of a part that has settled, a cancel waits. */
    shelter(isOn: boolean): void {
      isSheltered = isOn;
    },
    /** A cancel that came too late lapses. */
    uncancel(): void {
      isCancelRequested = false;
    },
    /** From here on no further step begins; resolves when nothing is in flight any more. */
    async turnBack(): Promise<void> {
      direction = 'backward';
      abortInFlight();
      await idle();
    },
    idle,
    /** Aborts what is in flight, for `close`. */
    abortInFlight,

    /** Resolves at the next message of the topic. */
    nextMessage(topic: string): Promise<void> {
      return new Promise((resolve) => {
        const waiting = wakers.get(topic) ?? new Set();
        wakers.set(topic, waiting.add(resolve));
      });
    },
    wake(topic: string): void {
      for (const resolve of wakers.get(topic) ?? []) resolve();
      wakers.delete(topic);
    },
  };

  function abortInFlight(): void {
    for (const controller of inFlight.keys()) controller.abort(new UnderstudyError('cancelled'));
  }

  async function idle(): Promise<void> {
    while (inFlight.size > 0) await Promise.all(inFlight.values());
  }
}

function bug(reason: string): UnderstudyError {
  return new UnderstudyError('unexpected', { reason });
}

function nothing(): void {}
