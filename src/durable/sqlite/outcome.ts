/** How a step's end is told: to the journal, and to the function that asked for the step. */
import { errorRecord, UnderstudyError } from '../../domain/error.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { Course } from './course.ts';
import { type EngineParts, HALT } from './parts.ts';
import type { StepRow } from './rows.ts';

/** What the journal says came of it; throws the journaled error. */
export function replayed<T extends Json>(course: Course, row: StepRow): T {
  if (row.error !== null) throw course.failure(row.position, row.error);
  return row.value as T;
}

export type Failure = {
  readonly position: number;
  readonly name: string;
  readonly error: unknown;
  readonly durationMs: number;
  /** Whether the step had been told to stop: then whatever it threw, it was cancelled. */
  readonly isAborted: boolean;
};

/** Journals the failure of a step that has a row, and answers the error for the function. Throws `HALT`. */
export async function failStep(
  parts: EngineParts,
  course: Course,
  { position, name, error, durationMs, isAborted }: Failure,
): Promise<UnderstudyError> {
  if (error === HALT || parts.isHalted()) throw HALT;
  const record = errorRecord(isAborted ? new UnderstudyError('cancelled') : error);
  const id = course.operationId;
  await parts.write((emit) => {
    parts.journal.failStep(id, position, record);
    emit(id, { type: 'step-failed', step: name, message: record.message, durationMs });
  });
  return course.failure(position, record);
}
