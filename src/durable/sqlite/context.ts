/** The context that the function of an operation is given: replays what is journaled, performs what is not. */
import { UnderstudyError } from '../../domain/error.ts';
import { operationKey } from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import {
  DEFAULT_RETRY,
  type OperationContext,
  type RecordUndo,
  type Step,
} from '../../ports/durable.ts';
import type { Course } from './course.ts';
import { failStep, replayed } from './outcome.ts';
import { type Emit, type EngineParts, HALT } from './parts.ts';
import { withRetries } from './retry.ts';
import { asJson, type StepType } from './rows.ts';
import { waitInContext } from './wait.ts';

export function createContext(parts: EngineParts, course: Course): OperationContext {
  const operationId = course.operationId;
  return {
    operationId,
    step: (name, step) => performStep(parts, course, name, step),
    record: (name, changes, { undo }) => recordChanges(parts, course, { name, changes, undo }),
    now: async (name) => instant(Number(await journalValue(parts, course, name, parts.clock.now))),
    freshId: async (name, prefix) =>
      String(await journalValue(parts, course, name, () => parts.ids.fresh(prefix))),
    receive: (name, topic, timeoutMs) =>
      waitInContext(parts, course, { name, type: 'receive', topic, ms: timeoutMs }),
    sleep: async (name, ms) => {
      await waitInContext(parts, course, { name, type: 'sleep', topic: null, ms });
    },
    note: (name, message) => journalNote(parts, course, name, message),
    progress: (progress) => parts.onProgress({ operationId, ...progress }),
  };
}

async function performStep<T extends Json>(
  parts: EngineParts,
  course: Course,
  name: string,
  step: Step<T>,
): Promise<T> {
  const { position, row } = course.next(name, 'step');
  const { undo, retry = DEFAULT_RETRY } = step;
  if (typeof undo === 'function') course.undoCalls.set(position, { undo, retry });
  if (row !== undefined && row.outcome !== 'begun') return replayed<T>(course, row);
  return course.track(async (signal) => {
    if (row === undefined) await beginStep(parts, course, position, name, undo);
    const startedMs = parts.clock.monotonicMs();
    const durationMs = () => parts.clock.monotonicMs() - startedMs;
    try {
      requireMayRun(course, undo, row !== undefined, signal);
      parts.reach(`before-step:${name}`);
      const value = await attemptStep<T>(parts, course, name, step, signal);
      parts.reach(`after-step-effect:${name}`);
      await completeStep(parts, course, { position, name, undo, value, durationMs: durationMs() });
      return value;
    } catch (error) {
      const isAborted = signal.aborted;
      const failure = { position, name, error, durationMs: durationMs(), isAborted };
      throw await failStep(parts, course, failure);
    }
  });
}

async function beginStep(
  parts: EngineParts,
  course: Course,
  position: number,
  name: string,
  undo: Step<Json>['undo'],
): Promise<void> {
  const id = course.operationId;
  course.requireOnward();
  await parts.write((emit) => {
    const kind = typeof undo === 'function' ? 'call' : undo;
    parts.journal.insertStep(id, { position, name, type: 'step', outcome: 'begun', undo: kind });
    emit(id, { type: 'step-started', step: name });
  });
}

/**
 * A step that was begun before a crash is not run again once a cancel was accepted: its undo copes with
 * anything half done. An irreversible one has no undo, so its outcome must first be known.
 */
function requireMayRun(
  course: Course,
  undo: Step<Json>['undo'],
  wasBegunEarlier: boolean,
  signal: AbortSignal,
): void {
  if (signal.aborted) throw new UnderstudyError('cancelled');
  course.requireOnward({ evenIfCancelled: wasBegunEarlier && undo === 'irreversible' });
}

async function attemptStep<T extends Json>(
  parts: EngineParts,
  course: Course,
  name: string,
  step: Step<T>,
  signal: AbortSignal,
): Promise<T> {
  const { clock } = parts;
  const key = operationKey(course.operationId, name);
  return withRetries({
    perform: async (attempt) => asJson(await step.do({ key, attempt, signal })),
    policy: step.retry ?? DEFAULT_RETRY,
    isWorthRetrying: (error) => error.kind === 'transient',
    onRetry: (error, delayMs) => noteRetry(parts, course, name, error, delayMs),
    clock,
    signal,
  });
}

export async function noteRetry(
  parts: EngineParts,
  course: Course,
  name: string,
  error: UnderstudyError,
  delayMs: number,
): Promise<void> {
  const message = `${error.message} Trying again in ${delayMs} ms.`;
  await parts.write((emit) => {
    emit(course.operationId, { type: 'step-retrying', step: name, message });
  });
}

type Completion = {
  readonly position: number;
  readonly name: string;
  readonly undo: Step<Json>['undo'];
  readonly value: Json;
  readonly durationMs: number;
};

/**
 * The result need not be durable before the function goes on: everything it can do next is written after it.
 * Only past an irreversible step it must, since a cancel is decided by it.
 */
async function completeStep(
  parts: EngineParts,
  course: Course,
  { position, name, undo, value, durationMs }: Completion,
): Promise<void> {
  const id = course.operationId;
  const complete = (emit: Emit) => {
    parts.journal.completeStep(id, position, value);
    emit(id, { type: 'step-succeeded', step: name, durationMs });
  };
  const point = `after-step:${name}`;
  if (undo !== 'irreversible') return parts.writeLazily(complete, point);
  await parts.write((emit) => {
    complete(emit);
    lapseCancel(parts, course, name, emit);
  });
  course.uncancel();
  parts.reach(point);
}

/** A cancel that was accepted while the irreversible step ran could not stop it any more. */
function lapseCancel(parts: EngineParts, course: Course, name: string, emit: Emit): void {
  const id = course.operationId;
  if (parts.journal.operation(id)?.record.isCancelRequested !== true) return;
  parts.journal.patchOperation(id, { isCancelRequested: false });
  emit(id, { type: 'note', step: name, message: 'The cancel came too late to stop this step.' });
}

async function recordChanges(
  parts: EngineParts,
  course: Course,
  { name, changes, undo }: RecordRequest,
): Promise<void> {
  const { position, row } = course.next(name, 'record');
  if (row !== undefined) {
    replayed(course, row);
    return;
  }
  await course.track(async () => {
    course.requireOnward();
    parts.reach(`before-record:${name}`);
    await commitChanges(parts, course, position, { name, changes, undo });
    if (undo === 'irreversible') course.uncancel();
    parts.reach(`after-record:${name}`);
  });
}

type RecordRequest = {
  readonly name: string;
  readonly changes: readonly CatalogChange[];
  readonly undo: RecordUndo;
};

/** Changes that are refused are journaled as a failure: the function must see the same refusal on replay. */
async function commitChanges(
  parts: EngineParts,
  course: Course,
  position: number,
  { name, changes, undo }: RecordRequest,
): Promise<void> {
  const id = course.operationId;
  const step = { position, name, type: 'record' } as const;
  try {
    await parts.write((emit) => {
      parts.applyChanges(changes);
      const undoing =
        typeof undo === 'string' ? { undo } : ({ undo: 'changes', undoChanges: undo } as const);
      parts.journal.insertStep(id, { ...step, outcome: 'done', ...undoing });
      emit(id, { type: 'step-succeeded', step: name });
      if (undo === 'irreversible') lapseCancel(parts, course, name, emit);
    });
  } catch (error) {
    if (error === HALT) throw error;
    await parts.write(() => {
      parts.journal.insertStep(id, { ...step, outcome: 'begun', undo: 'nothing' });
    });
    const failure = { position, name, error, durationMs: 0, isAborted: false };
    throw await failStep(parts, course, failure);
  }
}

async function journalValue(
  parts: EngineParts,
  course: Course,
  name: string,
  make: () => string | number,
): Promise<Json> {
  const { value } = await journalOnce(parts, course, { name, type: 'value', make, message: null });
  return value;
}

async function journalNote(
  parts: EngineParts,
  course: Course,
  name: string,
  message: string,
): Promise<void> {
  await journalOnce(parts, course, { name, type: 'note', make: () => null, message });
}

async function journalOnce(
  parts: EngineParts,
  course: Course,
  entry: {
    readonly name: string;
    readonly type: StepType;
    readonly make: () => Json;
    readonly message: string | null;
  },
): Promise<{ readonly value: Json }> {
  const { name, type, message } = entry;
  const { position, row } = course.next(name, type);
  if (row !== undefined) return { value: row.value };
  return course.track(async () => {
    course.requireOnward();
    const value = entry.make();
    const id = course.operationId;
    parts.writeLazily((emit) => {
      const step = { position, name, type, outcome: 'done', undo: 'nothing', value } as const;
      parts.journal.insertStep(id, step);
      if (message !== null) emit(id, { type: 'note', step: name, message });
    }, `after-${type}:${name}`);
    return { value };
  });
}
