/** Rows of the journal as values. What the engine wrote itself is trusted, so this is where `as` is allowed. */
import type { SQLOutputValue } from 'node:sqlite';
import type { ErrorRecord } from '../../domain/error.ts';
import type { OperationId } from '../../domain/ids.ts';
import type { Instant } from '../../domain/instant.ts';
import type { Json, OperationEvent, OperationRecord } from '../../domain/operation/operation.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { Claims } from '../../ports/durable.ts';

export type Row = Record<string, SQLOutputValue>;

export type Direction = 'forward' | 'backward';
export type UndoKind = 'nothing' | 'irreversible' | 'settling' | 'call' | 'changes';

/** An operation with what only the engine needs to know about it. */
export type JournaledOperation = {
  readonly record: OperationRecord;
  /** Order of acceptance. */
  readonly accepted: number;
  readonly direction: Direction;
  readonly cause: ErrorRecord | null;
  readonly endsAs: 'failed' | 'cancelled';
  readonly failedPosition: number | null;
  readonly slots: Claims['slots'];
};

export type StepType = 'step' | 'record' | 'value' | 'receive' | 'sleep' | 'note';

export type StepRow = {
  readonly position: number;
  readonly name: string;
  readonly type: StepType;
  readonly outcome: 'begun' | 'done' | 'failed';
  readonly undo: UndoKind;
  readonly undoChanges: readonly CatalogChange[];
  readonly isUndone: boolean;
  readonly value: Json;
  readonly error: ErrorRecord | null;
  readonly deadline: Instant | null;
};

export function operationFromRow(row: Row): JournaledOperation {
  const record: OperationRecord = {
    id: row.id as OperationId,
    kind: row.kind as OperationRecord['kind'],
    subject: row.subject as string,
    title: row.title as string,
    state: row.state as OperationRecord['state'],
    input: json(row.input) as Json,
    result: json(row.result) as Json,
    error: json(row.error) as ErrorRecord | null,
    isCancelRequested: row.is_cancel_requested === 1,
    createdAt: row.created_at as Instant,
    startedAt: row.started_at as Instant | null,
    endedAt: row.ended_at as Instant | null,
  };
  return {
    record,
    accepted: row.accepted as number,
    direction: row.direction as Direction,
    cause: json(row.cause) as ErrorRecord | null,
    endsAs: row.ends_as === 'cancelled' ? 'cancelled' : 'failed',
    failedPosition: row.failed_position as number | null,
    slots: json(row.slots) as Claims['slots'],
  };
}

export function stepFromRow(row: Row): StepRow {
  return {
    position: row.position as number,
    name: row.name as string,
    type: row.type as StepType,
    outcome: row.outcome as StepRow['outcome'],
    undo: row.undo as UndoKind,
    undoChanges: (json(row.undo_changes) ?? []) as readonly CatalogChange[],
    isUndone: row.is_undone === 1,
    value: json(row.value) as Json,
    error: json(row.error) as ErrorRecord | null,
    deadline: row.deadline as Instant | null,
  };
}

export function eventFromRow(row: Row): OperationEvent {
  return {
    operationId: row.operation_id as OperationId,
    sequence: row.sequence as number,
    at: row.at as Instant,
    type: row.type as OperationEvent['type'],
    step: row.step as string | null,
    message: row.message as string,
    durationMs: row.duration_ms as number | null,
  };
}

/** A value as the journal would give it back, so that a live run and a replay never differ. */
export function asJson<T extends Json>(value: T): T {
  return JSON.parse(JSON.stringify(value ?? null)) as T;
}

function json(value: SQLOutputValue | undefined): unknown {
  return typeof value === 'string' ? JSON.parse(value) : null;
}
