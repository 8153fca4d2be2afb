/** A step of an operation: journaled as begun, attempted as often as its policy says, journaled with its result. */
import { UnderstudyError } from '../../domain/error.ts';
import { operationKey } from '../../domain/ids.ts';
import type { Json } from '../../domain/operation/operation.ts';
import { DEFAULT_RETRY, type Step } from '../../ports/durable.ts';
import type { Course } from './course.ts';
import { failStep, replayed } from './outcome.ts';
import type { Emit, EngineParts } from './parts.ts';
import { withRetries } from './retry.ts';
import { asJson, type UndoKind } from './rows.ts';
import { bindingOf, type Scope } from './scope.ts';

export async function performStep<T extends Json>(
  parts: EngineParts,
  course: Course,
  name: string,
  step: Step<T>,
  scope: Scope,
): Promise<T> {
  const { position, row } = course.next(name, 'step');
  const { undo, retry = DEFAULT_RETRY } = step;
  if (typeof undo === 'function') course.undoCalls.set(position, { undo, retry });
  const settle = () => (undo === 'irreversible' ? scope.onSettled?.() : undefined);
  if (row !== undefined && row.outcome !== 'begun') {
    const value = replayed<T>(course, row);
    settle();
    return value;
  }
  return course.track(async (signal) => {
    if (row === undefined) await beginStep(parts, course, position, name, undoKind(undo, scope));
    const startedMs = parts.clock.monotonicMs();
    const durationMs = () => parts.clock.monotonicMs() - startedMs;
    try {
      requireMayRun(course, undo, row !== undefined, signal);
      parts.reach(`before-step:${name}`);
      const value = await attemptStep<T>(parts, course, name, step, signal);
      parts.reach(`after-step-effect:${name}`);
      const kind = undoKind(undo, scope);
      await completeStep(parts, course, { position, name, kind, value, durationMs: durationMs() });
      settle();
      return value;
    } catch (error) {
      const isAborted = signal.aborted;
      const failure = { position, name, error, durationMs: durationMs(), isAborted };
      throw await failStep(parts, course, failure);
    }
  });
}

function undoKind(undo: Step<Json>['undo'], scope: Scope): UndoKind {
  if (typeof undo === 'function') return 'call';
  return undo === 'irreversible' ? bindingOf(scope) : undo;
}

async function beginStep(
  parts: EngineParts,
  course: Course,
  position: number,
  name: string,
  undo: UndoKind,
): Promise<void> {
  const id = course.operationId;
  course.requireOnward();
  await parts.write((emit) => {
    parts.journal.insertStep(id, { position, name, type: 'step', outcome: 'begun', undo });
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
  readonly kind: UndoKind;
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
  { position, name, kind, value, durationMs }: Completion,
): Promise<void> {
  const id = course.operationId;
  const complete = (emit: Emit) => {
    parts.journal.completeStep(id, position, value);
    emit(id, { type: 'step-succeeded', step: name, durationMs });
  };
  const point = `after-step:${name}`;
  if (kind !== 'irreversible' && kind !== 'settling') return parts.writeLazily(complete, point);
  await parts.write((emit) => {
    complete(emit);
    if (kind === 'irreversible') lapseCancel(parts, course, name, emit);
  });
  if (kind === 'irreversible') course.uncancel();
  parts.reach(point);
}

/** A cancel that was accepted while the irreversible step ran could not stop it any more. */
export function lapseCancel(parts: EngineParts, course: Course, name: string, emit: Emit): void {
  const id = course.operationId;
  if (parts.journal.operation(id)?.record.isCancelRequested !== true) return;
  parts.journal.patchOperation(id, { isCancelRequested: false });
  emit(id, { type: 'note', step: name, message: 'The cancel came too late to stop this step.' });
}
