/** The context that the function of an operation is given: replays what is journaled, performs what is not. */
import { instant } from '../../domain/instant.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { OperationContext, RecordUndo } from '../../ports/durable.ts';
import type { Course } from './course.ts';
import { failStep, replayed } from './outcome.ts';
import { type EngineParts, HALT } from './parts.ts';
import { lapseCancel, performStep } from './perform-step.ts';
import type { StepType } from './rows.ts';
import { bindingOf, type Scope } from './scope.ts';
import { waitInContext } from './wait.ts';

export function createContext(parts: EngineParts, course: Course): OperationContext {
  return contextOf(parts, course, { prefix: '', onSettled: null });
}

function contextOf(parts: EngineParts, course: Course, scope: Scope): OperationContext {
  const operationId = course.operationId;
  const named = (name: string) => scope.prefix + name;
  const once = (name: string, make: () => string | number) =>
    journalValue(parts, course, named(name), make);
  return {
    operationId,
    step: (name, step) => performStep(parts, course, named(name), step, scope),
    record: (name, changes, { undo }) =>
      recordChanges(parts, course, { name: named(name), changes, undo }, scope),
    now: async (name) => instant(Number(await once(name, parts.clock.now))),
    freshId: async (name, prefix) => String(await once(name, () => parts.ids.fresh(prefix))),
    receive: (name, topic, ms, { lendsSlots } = { lendsSlots: false }) =>
      waitInContext(parts, course, { name: named(name), type: 'receive', topic, ms, lendsSlots }),
    sleep: async (name, ms) => {
      await waitInContext(parts, course, {
        name: named(name),
        type: 'sleep',
        topic: null,
        ms,
        lendsSlots: false,
      });
    },
    note: (name, message) => journalNote(parts, course, named(name), message),
    part: (name, binds, run) => runPart(parts, course, scope, { name, binds, run }),
    progress: ({ step, ...progress }) =>
      parts.onProgress({ operationId, step: named(step), ...progress }),
  };
}

async function runPart<T>(
  parts: EngineParts,
  course: Course,
  { prefix, onSettled }: Scope,
  part: {
    readonly name: string;
    readonly binds: 'part' | 'operation';
    readonly run: (context: OperationContext) => Promise<T>;
  },
): Promise<T> {
  const inner = { prefix: `${prefix}${part.name}/`, onSettled };
  if (part.binds === 'operation') return part.run(contextOf(parts, course, inner));
  try {
    const settling = { ...inner, onSettled: () => course.shelter(true) };
    return await part.run(contextOf(parts, course, settling));
  } finally {
    course.shelter(false);
  }
}

async function recordChanges(
  parts: EngineParts,
  course: Course,
  { name, changes, undo }: RecordRequest,
  scope: Scope,
): Promise<void> {
  const { position, row } = course.next(name, 'record');
  const isBinding = undo === 'irreversible';
  if (row !== undefined) {
    replayed(course, row);
  } else {
    await course.track(async () => {
      course.requireOnward();
      parts.reach(`before-record:${name}`);
      const kind = isBinding ? bindingOf(scope) : undo;
      await commitChanges(parts, course, position, { name, changes, undo: kind });
      if (kind === 'irreversible') course.uncancel();
      parts.reach(`after-record:${name}`);
    });
  }
  if (isBinding) scope.onSettled?.();
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
  { name, changes, undo }: Omit<RecordRequest, 'undo'> & { readonly undo: RecordUndo | 'settling' },
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
