/** The way back: undoes what was attempted, newest first, each undo journaled, so that a crash resumes it. */
import { asUnderstudyError, type UnderstudyError } from '../../domain/error.ts';
import { operationKey } from '../../domain/ids.ts';
import type { Course } from './course.ts';
import { type EngineParts, HALT } from './parts.ts';
import { noteRetry } from './perform-step.ts';
import { withRetries } from './retry.ts';
import type { StepRow } from './rows.ts';

/** Resolves with null when all is undone, else with the error that stands in the way. Throws `HALT`. */
export async function compensate(
  parts: EngineParts,
  course: Course,
): Promise<UnderstudyError | null> {
  const journaled = parts.journal.steps(course.operationId);
  const isSettled = settledBy(journaled);
  for (const row of journaled.toReversed()) {
    if (row.isUndone || isSettled(row)) continue;
    try {
      if (row.undo === 'call') await course.track((signal) => undoCall(parts, course, row, signal));
      if (row.undo === 'changes') await undoRecord(parts, course, row);
    } catch (error) {
      if (error === HALT || parts.isHalted()) throw HALT;
      return asUnderstudyError(error);
    }
  }
  return null;
}

/** What is irreversible in a part stands, with all that the part did before it. */
function settledBy(rows: readonly StepRow[]): (row: StepRow) => boolean {
  const settled = rows
    .filter(({ undo, outcome }) => undo === 'settling' && outcome === 'done')
    .map(({ name, position }) => ({ prefix: name.slice(0, name.lastIndexOf('/') + 1), position }));
  return ({ name, position }) =>
    settled.some((part) => name.startsWith(part.prefix) && position <= part.position);
}

/** The signal is fresh: a cancel has done its work by now, and only the engine's own end aborts an undo. */
async function undoCall(
  parts: EngineParts,
  course: Course,
  row: StepRow,
  signal: AbortSignal,
): Promise<void> {
  const { name, position } = row;
  const call = course.undoCalls.get(position);
  if (call === undefined) throw course.becomeStale('no such step', name);
  const key = operationKey(course.operationId, name);
  const { clock } = parts;
  const startedMs = clock.monotonicMs();
  let notes: readonly string[] = [];
  const note = (message: string) => {
    notes = [...notes, message];
  };
  parts.reach(`before-undo:${name}`);
  try {
    await withRetries({
      perform: (attempt) => {
        notes = [];
        return call.undo({ key, attempt, signal, note });
      },
      policy: call.retry,
      // Going back is worth every attempt, whatever the error says.
      isWorthRetrying: () => true,
      onRetry: (error, delayMs) => noteRetry(parts, course, name, error, delayMs),
      clock,
      signal,
    });
  } catch (error) {
    throw parts.isHalted() ? HALT : error;
  }
  parts.reach(`after-undo-effect:${name}`);
  await parts.write((emit) => {
    parts.journal.markUndone(course.operationId, position);
    const durationMs = clock.monotonicMs() - startedMs;
    for (const message of notes) emit(course.operationId, { type: 'note', step: name, message });
    emit(course.operationId, { type: 'step-undone', step: name, durationMs });
  });
  parts.reach(`after-undo:${name}`);
}

/** Exactly once: the reversing changes and the mark that they were made are one transaction. */
async function undoRecord(parts: EngineParts, course: Course, row: StepRow): Promise<void> {
  if (row.outcome !== 'done') return;
  parts.reach(`before-undo:${row.name}`);
  await parts.write((emit) => {
    parts.applyChanges(row.undoChanges);
    parts.journal.markUndone(course.operationId, row.position);
    emit(course.operationId, { type: 'step-undone', step: row.name });
  });
  parts.reach(`after-undo:${row.name}`);
}
