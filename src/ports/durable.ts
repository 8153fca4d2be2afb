import type { OperationId, OperationKey } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type {
  Json,
  OperationEvent,
  OperationKind,
  OperationProgress,
  OperationRecord,
} from '../domain/operation/operation.ts';
import type { CallOptions } from './call.ts';
import type { CatalogChange } from './catalog.ts';

/**
 * Durable operations: functions made of named steps, whose results are journaled, so that after a crash
 * the function is run again from its beginning and continues where it was. A step runs AT LEAST once.
 * The semantics are a subset of DBOS's, so that a PostgreSQL engine is a thin adapter.
 */
export interface Durable {
  /** Registers how a kind of operation runs. Every kind in the journal must be registered before `resume`. */
  register(definition: OperationDefinition): void;

  /** Continues everything that has not ended. Call once, after registration. */
  resume(): Promise<void>;

  /**
   * Accepts an operation durably, then runs it when its claims are free. Idempotent by id: a known id
   * answers the existing record. Throws `operation-in-progress` when an exclusive claim is held by an
   * operation that has not ended (queued and suspended ones hold their claims, too).
   */
  start(request: OperationRequest): Promise<OperationRecord>;

  operation(id: OperationId): Promise<OperationRecord | null>;
  /** Newest first. `open`: only those that have not ended. */
  operations(filter: OperationFilter): Promise<readonly OperationRecord[]>;
  /** What keeps each of these that is queued from beginning at this moment; the others are left out. */
  waits(ids: readonly OperationId[]): Promise<ReadonlyMap<OperationId, readonly SlotWait[]>>;
  /** Events after `afterSequence` (0: all), in order. */
  history(id: OperationId, afterSequence: number): Promise<readonly OperationEvent[]>;

  /** Resolves when the operation has ended or is suspended. Rejects with `operation-missing`, `cancelled` (by the signal). */
  settled(id: OperationId, options: CallOptions): Promise<OperationRecord>;

  /**
   * Stores a message; one that nobody waits for yet is kept. Messages of a topic are received in order.
   * Throws `operation-missing`.
   */
  send(id: OperationId, topic: string, message: Json): Promise<void>;

  /**
   * Asks an operation to stop: the running step's signal is aborted, then what was done is compensated.
   * After an irreversible step the request is refused with `operation-not-cancellable`. A suspended
   * operation is given up: it ends as `failed` without running anything. Idempotent. `because` goes into the history
   * of one that runs: for people who did not ask for it themselves.
   */
  cancel(id: OperationId, because?: string): Promise<OperationRecord>;

  /** Runs a suspended operation again from the step that failed. Throws `operation-not-retryable`. */
  retry(id: OperationId): Promise<OperationRecord>;

  /** Hears every event and progress of all operations from now on, in order. Listeners must not throw. */
  subscribe(listener: OperationListener): Disposable;

  /** Stops taking steps and waits for running ones to notice; nothing is compensated, `resume` continues. */
  close(): Promise<void>;
}

export type OperationListener = {
  readonly onEvent?: (event: OperationEvent, operation: OperationRecord) => void;
  readonly onProgress?: (progress: OperationProgress) => void;
};

export type OperationFilter = {
  readonly subject?: string;
  readonly kind?: OperationKind;
  readonly open?: boolean;
  /** The name of a field of the input that must be `true`. */
  readonly inputFlag?: string;
  readonly limit: number;
};

export type OperationRequest = {
  readonly id: OperationId;
  readonly kind: OperationKind;
  readonly subject: string;
  readonly title: string;
  readonly input: Json;
  readonly claims: Claims;
};

export type Claims = {
  /** Names that at most one unended operation may hold, e.g. `replica:ID`. Taken at `start`. */
  readonly exclusive: readonly string[];
  /**
   * Shared capacity, e.g. three transfers per host. Waited for in state `queued`, in order of acceptance. A name that
   * is listed several times is taken so many times at once; more often than its limit, it is never had.
   */
  readonly slots: readonly { readonly name: string; readonly limit: number }[];
};

/** A slot that an operation lacks. */
export type SlotWait = {
  /** Null: as many operations run as may at all. */
  readonly name: string | null;
  readonly limit: number;
  /** How often it is taken, or kept for whoever comes first; at most the limit. */
  readonly taken: number;
  /** By whom: those that run, and those queued ones that come first. Empty without a name: whichever ends first will do. */
  readonly heldBy: readonly OperationId[];
};

export type OperationDefinition = {
  readonly kind: OperationKind;
  /** Deterministic but for what comes out of the context. Returns the operation's result. */
  readonly run: (context: OperationContext, input: Json) => Promise<Json>;
};

/** What an operation may use. All time, randomness and effects go through it. */
export interface OperationContext {
  readonly operationId: OperationId;

  /**
   * Performs an effect once per success: a journaled result is returned without running `do` again.
   * A result must survive JSON. Names are unique within an operation; on replay they must come in the
   * same order, else the operation is suspended with `stale-journal`.
   *
   * A transient error is retried as the policy says; an error that stands makes `step` throw it. If the
   * function lets it escape, the engine compensates: it runs `undo` of this and all earlier steps, newest
   * first, and ends the operation as `failed` (or `cancelled`). Once a step marked `irreversible` has
   * succeeded, the operation is suspended instead, and nothing is undone.
   */
  step<T extends Json>(name: string, step: Step<T>): Promise<T>;

  /** Commits catalogue changes and the journal entry in one transaction: exactly once. */
  record(
    name: string,
    changes: readonly CatalogChange[],
    options: { readonly undo: RecordUndo },
  ): Promise<void>;

  /** The wall clock, journaled: the same answer on every replay. */
  now(name: string): Promise<Instant>;

  /** A fresh id, journaled. */
  freshId(name: string, prefix: string): Promise<string>;

  /**
   * Waits for a message, at most `timeoutMs` from the first time it is reached; null on timeout. Ends early with `cancelled`.
   * With `lendsSlots`, others may have the operation's slots while it waits. It has them again at once when the wait is over,
   * whoever has them by then: a slot may be taken once more than its limit until one of them ends, because what waited for a
   * person is in the middle of something and must not wait for routine work.
   */
  receive(
    name: string,
    topic: string,
    timeoutMs: number,
    options?: { readonly lendsSlots: boolean },
  ): Promise<Json | null>;

  /** A durable pause that a cancel ends. */
  sleep(name: string, ms: number): Promise<void>;

  /** A line in the history, once. */
  note(name: string, message: string): Promise<void>;

  /**
   * Work with a name of its own: its steps are called `name/step`, so that one function can be part of several
   * operations, or several times of one. With `operation`, its steps count as if they stood outside.
   *
   * With `part`, what is irreversible in it binds the part alone: once such a step has succeeded the part goes on to its
   * end even if a cancel is asked for, which then takes effect; and when the operation goes back later, no
   * step up to that one is undone, while what came before the part is. Parts do not overlap.
   */
  part<T>(
    name: string,
    binds: 'part' | 'operation',
    run: (context: OperationContext) => Promise<T>,
  ): Promise<T>;

  /** Live progress; not stored. */
  progress(progress: Omit<OperationProgress, 'operationId'>): void;
}

/** What reverses recorded changes: other changes, or the word that nothing can. */
export type RecordUndo = 'irreversible' | 'nothing' | readonly CatalogChange[];

export type Step<T extends Json> = {
  readonly do: (attempt: StepAttempt) => Promise<T>;
  /**
   * Idempotent, and safe to run when `do` failed half-way or never began. `nothing`: leaves no trace
   * worth reversing. `irreversible`: from here on there is no way back.
   */
  readonly undo: 'irreversible' | 'nothing' | ((attempt: UndoAttempt) => Promise<void>);
  readonly retry?: RetryPolicy;
};

export type StepAttempt = {
  /** Same for every attempt at this step: hosts recognise a repeated command by it. */
  readonly key: OperationKey;
  /** Counts from 1 within this process. */
  readonly attempt: number;
  readonly signal: AbortSignal;
};

export type UndoAttempt = StepAttempt & {
  /** A line in the history, told once with the undo that succeeds: what had to be left as it is, and why. */
  readonly note: (message: string) => void;
};

export type RetryPolicy = {
  readonly attemptsMax: number;
  readonly firstDelayMs: number;
  /** Delays double up to this. */
  readonly delayMsMax: number;
};

export const NO_RETRY: RetryPolicy = { attemptsMax: 1, firstDelayMs: 0, delayMsMax: 0 };
export const DEFAULT_RETRY: RetryPolicy = { attemptsMax: 4, firstDelayMs: 500, delayMsMax: 8000 };
