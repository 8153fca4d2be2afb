/**
 * Every statement of the embedded engine, and nothing else: what to write when is decided by its callers.
 * All methods are synchronous and run inside whatever transaction is open (see commits.ts).
 */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import type { ErrorRecord } from '../../domain/error.ts';
import type { OperationId } from '../../domain/ids.ts';
import type { Instant } from '../../domain/instant.ts';
import type { Json, OperationEvent, OperationState } from '../../domain/operation/operation.ts';
import type { OperationFilter, OperationRequest } from '../../ports/durable.ts';
import {
  type Direction,
  eventFromRow,
  type JournaledOperation,
  operationFromRow,
  type StepRow,
  stepFromRow,
} from './rows.ts';

export type Journal = ReturnType<typeof createJournal>;

export type EventDraft = Pick<OperationEvent, 'type'> & Partial<Omit<OperationEvent, 'type'>>;

/** The columns of an operation that change during its life; what is left out stays. */
export type OperationPatch = {
  readonly state?: OperationState;
  readonly direction?: Direction;
  readonly result?: Json;
  readonly error?: ErrorRecord | null;
  readonly cause?: ErrorRecord;
  readonly endsAs?: 'failed' | 'cancelled';
  readonly failedPosition?: number | null;
  readonly isCancelRequested?: boolean;
  readonly startedAt?: Instant;
  readonly endedAt?: Instant;
};

export function createJournal(database: DatabaseSync) {
  return { ...operations(database), ...steps(database), ...eventsAndMessages(database) };
}

function operations(database: DatabaseSync) {
  const insert = database.prepare(
    `INSERT INTO operation (id, kind, subject, title, state, input, slots, created_at)
     VALUES (?, ?, ?, ?, 'queued', ?, ?, ?)`,
  );
  const byId = database.prepare('SELECT * FROM operation WHERE id = ?');
  const open = database.prepare('SELECT * FROM operation WHERE ended_at IS NULL ORDER BY accepted');
  const filtered = filteredStatements(database);
  const claimHolder = database.prepare(
    'SELECT o.id, o.kind FROM claim c JOIN operation o ON o.id = c.operation_id WHERE c.name = ?',
  );
  const insertClaim = database.prepare('INSERT INTO claim (name, operation_id) VALUES (?, ?)');
  const deleteClaims = database.prepare('DELETE FROM claim WHERE operation_id = ?');
  const deleteMessages = database.prepare('DELETE FROM message WHERE operation_id = ?');
  const prune = database.prepare(
    `DELETE FROM operation WHERE ended_at < ?1 AND accepted NOT IN
       (SELECT accepted FROM operation WHERE ended_at IS NOT NULL ORDER BY accepted DESC LIMIT ?2)`,
  );
  return {
    insertOperation({ id, kind, subject, title, input, claims }: OperationRequest, at: Instant) {
      const slots = JSON.stringify(claims.slots);
      insert.run(id, kind, subject, title, JSON.stringify(input), slots, at);
      for (const name of new Set(claims.exclusive)) insertClaim.run(name, id);
    },
    operation(id: OperationId): JournaledOperation | null {
      const row = byId.get(id);
      return row === undefined ? null : operationFromRow(row);
    },
    openOperations(): readonly JournaledOperation[] {
      return open.all().map(operationFromRow);
    },
    operations(filter: OperationFilter): readonly JournaledOperation[] {
      const { subject, kind, inputFlag, limit } = filter;
      const wanted = [subject, kind, inputFlag].filter((value) => value !== undefined);
      return filtered(filter)
        .all(...wanted, limit)
        .map(operationFromRow);
    },
    claimHolder(name: string): { readonly id: string; readonly kind: string } | null {
      const row = claimHolder.get(name);
      return row === undefined ? null : { id: String(row.id), kind: String(row.kind) };
    },
    /** What an ended operation no longer needs. */
    release(id: OperationId): void {
      deleteClaims.run(id);
      deleteMessages.run(id);
    },
    patchOperation(id: OperationId, patch: OperationPatch): void {
      const columns = patchColumns(patch);
      const assignments = columns.map(([name]) => `${name} = ?`).join(', ');
      const values = columns.map(([, value]) => value);
      database.prepare(`UPDATE operation SET ${assignments} WHERE id = ?`).run(...values, id);
    },
    /** Deletes operations that ended before then, but for the newest `keep` ended ones; answers how many. */
    prune(endedBefore: Instant, keep: number): number {
      return Number(prune.run(endedBefore, keep).changes);
    },
  };
}

/** One statement per shape of filter: a condition that may be absent would keep SQLite from its indexes, at every look of the scheduler. */
function filteredStatements(database: DatabaseSync) {
  const prepared = new Map<string, StatementSync>();
  return ({ subject, kind, inputFlag, open }: OperationFilter) => {
    const conditions = [
      subject === undefined ? null : 'subject = ?',
      kind === undefined ? null : 'kind = ?',
      inputFlag === undefined ? null : "input -> ? = 'true'",
      open === true ? 'ended_at IS NULL' : null,
    ].filter((condition) => condition !== null);
    const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
    const known = prepared.get(where);
    if (known !== undefined) return known;
    const sql = `SELECT * FROM operation ${where} ORDER BY accepted DESC LIMIT ?`;
    const statement = database.prepare(sql);
    prepared.set(where, statement);
    return statement;
  };
}

function patchColumns(patch: OperationPatch): [string, SQLInputValue][] {
  const columns: [string, SQLInputValue | undefined][] = [
    ['state', patch.state],
    ['direction', patch.direction],
    ['result', patch.result === undefined ? undefined : JSON.stringify(patch.result)],
    ['error', errorColumn(patch.error)],
    ['cause', errorColumn(patch.cause)],
    ['ends_as', patch.endsAs],
    ['failed_position', patch.failedPosition],
    [
      'is_cancel_requested',
      patch.isCancelRequested === undefined ? undefined : Number(patch.isCancelRequested),
    ],
    ['started_at', patch.startedAt],
    ['ended_at', patch.endedAt],
  ];
  return columns.filter((column): column is [string, SQLInputValue] => column[1] !== undefined);
}

function errorColumn(error: ErrorRecord | null | undefined): string | null | undefined {
  return error === undefined || error === null ? error : JSON.stringify(error);
}

function steps(database: DatabaseSync) {
  const all = database.prepare('SELECT * FROM step WHERE operation_id = ? ORDER BY position');
  const insert = database.prepare(
    `INSERT INTO step (operation_id, position, name, type, outcome, undo, undo_changes, value, deadline)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const finish = database.prepare(
    `UPDATE step SET outcome = ?, value = ?, error = ? WHERE operation_id = ? AND position = ?`,
  );
  const undone = database.prepare(
    'UPDATE step SET is_undone = 1 WHERE operation_id = ? AND position = ?',
  );
  const truncate = database.prepare('DELETE FROM step WHERE operation_id = ? AND position >= ?');
  const irreversible = database.prepare(
    `SELECT 1 FROM step WHERE operation_id = ? AND undo = 'irreversible' AND outcome = 'done' LIMIT 1`,
  );
  return {
    steps(id: OperationId): readonly StepRow[] {
      return all.all(id).map(stepFromRow);
    },
    insertStep(id: OperationId, step: NewStep): void {
      const { position, name, type, outcome, undo } = step;
      const changes = step.undoChanges === undefined ? null : JSON.stringify(step.undoChanges);
      const value = step.value === undefined ? null : JSON.stringify(step.value);
      insert.run(id, position, name, type, outcome, undo, changes, value, step.deadline ?? null);
    },
    completeStep(id: OperationId, position: number, value: Json): void {
      finish.run('done', JSON.stringify(value), null, id, position);
    },
    failStep(id: OperationId, position: number, error: ErrorRecord): void {
      finish.run('failed', null, JSON.stringify(error), id, position);
    },
    markUndone(id: OperationId, position: number): void {
      undone.run(id, position);
    },
    /** Forgets this step and all later ones. */
    forgetStepsFrom(id: OperationId, position: number): void {
      truncate.run(id, position);
    },
    isBeyondReturn(id: OperationId): boolean {
      return irreversible.get(id) !== undefined;
    },
  };
}

export type NewStep = Pick<StepRow, 'position' | 'name' | 'type' | 'outcome' | 'undo'> &
  Partial<Pick<StepRow, 'undoChanges' | 'value' | 'deadline'>>;

function eventsAndMessages(database: DatabaseSync) {
  const insertEvent = database.prepare(
    `INSERT INTO event (operation_id, sequence, at, type, step, message, duration_ms)
     SELECT ?1, coalesce(max(sequence), 0) + 1, ?2, ?3, ?4, ?5, ?6 FROM event WHERE operation_id = ?1
     RETURNING sequence`,
  );
  const history = database.prepare(
    'SELECT * FROM event WHERE operation_id = ? AND sequence > ? ORDER BY sequence',
  );
  const insertMessage = database.prepare(
    'INSERT INTO message (operation_id, topic, body) VALUES (?, ?, ?)',
  );
  const takeMessage = database.prepare(
    `DELETE FROM message WHERE id =
       (SELECT id FROM message WHERE operation_id = ? AND topic = ? ORDER BY id LIMIT 1)
     RETURNING body`,
  );
  return {
    insertEvent(operationId: OperationId, draft: EventDraft, at: Instant): OperationEvent {
      const { type, step = null, message = '', durationMs = null } = draft;
      const row = insertEvent.get(operationId, at, type, step, message, durationMs);
      const sequence = Number(row?.sequence);
      return { operationId, sequence, at, type, step, message, durationMs };
    },
    history(id: OperationId, afterSequence: number): readonly OperationEvent[] {
      return history.all(id, afterSequence).map(eventFromRow);
    },
    insertMessage(id: OperationId, topic: string, body: Json): void {
      insertMessage.run(id, topic, JSON.stringify(body));
    },
    /** The oldest message of the topic, which is thereby gone. */
    takeMessage(id: OperationId, topic: string): { readonly body: Json } | null {
      const row = takeMessage.get(id, topic);
      return row === undefined ? null : { body: JSON.parse(String(row.body)) as Json };
    },
  };
}
