/** What the pieces of the engine share: one journal, one writer, one clock, and one way to stop. */
import type { OperationId } from '../../domain/ids.ts';
import type { OperationProgress, OperationRecord } from '../../domain/operation/operation.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Ids } from '../../ports/ids.ts';
import type { EventDraft, Journal } from './journal.ts';

export type EngineParts = {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly ids: Ids;
  /** Runs inside the transaction of the journal entry; throws to refuse, and then nothing of it stays. */
  readonly applyChanges: (changes: readonly CatalogChange[]) => void;
  /** Rejects with `HALT` when the engine stopped for good. */
  readonly write: <T>(apply: (emit: Emit) => T) => Promise<T>;
  /**
   * Writes without waiting: the next awaited write of anybody is committed with or after it. Only for what no
   * effect outside may depend on before such a write.
   */
  readonly writeLazily: (apply: (emit: Emit) => void, point: string) => void;
  /** A named instant at which tests may end the engine; throws `HALT` then. */
  readonly reach: (point: string) => void;
  /** The engine takes no further step: it is closing, or as good as killed. */
  readonly isHalted: () => boolean;
  /** Something that must not happen did: stops the engine for good, and says so. */
  readonly fault: (error: unknown) => void;
  readonly onProgress: (progress: OperationProgress) => void;
};

/** Appends an event to the history in the current transaction; it is published after the commit. */
export type Emit = (id: OperationId, draft: EventDraft) => OperationRecord;

/** Thrown to unwind the engine's own frames when it stops; functions of operations never see it. */
export const HALT = new Error('the durable engine stopped');

/** Runs the work; when the engine stops within it, never settles, as if the process had ended there. */
export async function untilHalted<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error !== HALT) throw error;
    return new Promise<never>(() => {});
  }
}
