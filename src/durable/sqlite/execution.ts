/** One operation from its beginning in this process to its end or suspension. */
import { errorRecord, UnderstudyError } from '../../domain/error.ts';
import type { OperationId } from '../../domain/ids.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { OperationDefinition } from '../../ports/durable.ts';
import { compensate } from './compensation.ts';
import { createContext } from './context.ts';
import { type Course, createCourse } from './course.ts';
import type { OperationPatch } from './journal.ts';
import { type Emit, type EngineParts, HALT } from './parts.ts';
import { asJson, type JournaledOperation } from './rows.ts';

type Execution = {
  readonly parts: EngineParts;
  readonly definition: OperationDefinition;
  readonly id: OperationId;
  readonly lendSlots: (isLent: boolean) => void;
};

type FunctionOutcome =
  | { readonly type: 'returned'; readonly result: Json }
  | { readonly type: 'threw'; readonly error: unknown };

/** Settles when the operation has ended or is suspended; rejects with `HALT` when the engine stopped first. */
export async function execute(
  execution: Execution,
  onCourse: (course: Course) => void,
): Promise<void> {
  const operation = await begin(execution);
  if (operation === null) return;
  const { parts, definition, id, lendSlots } = execution;
  const course = createCourse({
    operationId: id,
    parts,
    journaled: parts.journal.steps(id),
    direction: operation.direction,
    isCancelRequested: operation.record.isCancelRequested,
    lendSlots,
  });
  onCourse(course);
  const outcome = await callFunction(parts, definition, course, operation.record.input);
  if (operation.direction === 'forward') {
    const next = await concludeForward(execution, course, outcome);
    if (next === 'over') return;
  }
  await goBack(execution, course);
}

/** Null when it was cancelled in the meantime. */
function begin({ parts, id }: Execution): Promise<JournaledOperation | null> {
  const { journal, clock } = parts;
  return parts.write((emit) => {
    const operation = journal.operation(id);
    if (operation === null || operation.record.endedAt !== null) return null;
    const { direction, record, cause } = operation;
    const isFirst = record.startedAt === null;
    const state = direction === 'forward' ? 'running' : 'compensating';
    journal.patchOperation(id, {
      state,
      error: cause,
      ...(isFirst ? { startedAt: clock.now() } : {}),
    });
    emit(id, { type: isFirst ? 'started' : 'resumed' });
    return operation;
  });
}

async function callFunction(
  parts: EngineParts,
  definition: OperationDefinition,
  course: Course,
  input: Json,
): Promise<FunctionOutcome> {
  try {
    const result = await definition.run(createContext(parts, course), input);
    await course.idle();
    return { type: 'returned', result: asJson(result) };
  } catch (error) {
    await course.turnBack();
    return { type: 'threw', error };
  }
}

/** Decides, in the transaction that makes it true, how an operation goes on whose function came to its end. */
async function concludeForward(
  { parts, id }: Execution,
  course: Course,
  outcome: FunctionOutcome,
): Promise<'over' | 'backward'> {
  if (parts.isHalted()) throw HALT;
  const unreached = outcome.type === 'returned' ? course.unreached() : null;
  if (unreached !== null) course.becomeStale('none', unreached.name);
  parts.reach('before-conclusion');
  return parts.write((emit) => {
    const stale = course.stale();
    if (stale !== null) return suspend(parts, id, emit, stale, null);
    const isCancelled = parts.journal.operation(id)?.record.isCancelRequested === true;
    if (outcome.type === 'returned' && !isCancelled) {
      return end(parts, id, emit, { state: 'succeeded', result: outcome.result, error: null });
    }
    const error = outcome.type === 'threw' ? outcome.error : null;
    if (parts.journal.isBeyondReturn(id)) {
      return suspend(parts, id, emit, error, course.failedPosition(error));
    }
    return turnBack(parts, id, emit, isCancelled ? new UnderstudyError('cancelled') : error);
  });
}

function turnBack(parts: EngineParts, id: OperationId, emit: Emit, error: unknown): 'backward' {
  const cause = errorRecord(error);
  parts.journal.patchOperation(id, {
    state: 'compensating',
    direction: 'backward',
    cause,
    error: cause,
    endsAs: cause.kind === 'cancelled' ? 'cancelled' : 'failed',
  });
  emit(id, { type: 'compensating', message: cause.message });
  return 'backward';
}

async function goBack({ parts, id }: Execution, course: Course): Promise<void> {
  await course.turnBack();
  const obstacle = course.stale() ?? (await compensate(parts, course));
  if (parts.isHalted()) throw HALT;
  parts.reach('before-end');
  await parts.write((emit) => {
    if (obstacle !== null) return suspend(parts, id, emit, obstacle, null);
    const operation = parts.journal.operation(id);
    const state = operation?.endsAs ?? 'failed';
    return end(parts, id, emit, { state, error: operation?.cause ?? null });
  });
}

function suspend(
  parts: EngineParts,
  id: OperationId,
  emit: Emit,
  error: unknown,
  failedPosition: number | null,
): 'over' {
  const record = errorRecord(error);
  parts.journal.patchOperation(id, { state: 'suspended', error: record, failedPosition });
  emit(id, { type: 'suspended', message: record.message });
  return 'over';
}

/** Ends an operation in the current transaction: its claims are free and its messages gone. */
export function end(
  parts: Pick<EngineParts, 'journal' | 'clock'>,
  id: OperationId,
  emit: Emit,
  patch: OperationPatch & { readonly state: 'succeeded' | 'failed' | 'cancelled' },
): 'over' {
  const endedAt = parts.clock.now();
  const startedAt = parts.journal.operation(id)?.record.startedAt ?? null;
  parts.journal.patchOperation(id, { ...patch, endedAt });
  parts.journal.release(id);
  const message = patch.state === 'failed' ? (patch.error?.message ?? '') : '';
  const durationMs = startedAt === null ? null : Math.max(0, endedAt - startedAt);
  emit(id, { type: patch.state, message, durationMs });
  return 'over';
}
