/** The catalogue in SQLite: documents with versions. It stores what it is told and decides nothing. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { UnderstudyError } from '../domain/error.ts';
import type { ReplicaId } from '../domain/ids.ts';
import type { Job } from '../domain/job/job.ts';
import { comparePoints } from '../domain/restore-point/restore-point.ts';
import type { Catalog, CatalogChange, Versioned } from '../ports/catalog.ts';
import {
  type DocumentReader,
  readCondition,
  readHost,
  readJob,
  readPoint,
  readReplica,
  readTemporary,
} from './documents.ts';
import { storeError } from './errors.ts';

export type SqliteCatalog = Catalog & {
  /**
   * Applies all changes inside the transaction that is open on the database; whoever opened it must roll it
   * back (or to a savepoint) when this throws. Throws `version-conflict`, `name-taken`.
   */
  applyInTransaction(changes: readonly CatalogChange[]): void;
};

/** The database is migrated to `CATALOG_SCHEMA`. A damaged row is reported as `corrupt-record` by what reads it. */
export function createSqliteCatalog({
  database,
}: {
  readonly database: DatabaseSync;
}): SqliteCatalog {
  const hosts = versionedTable(database, 'host', readHost);
  const jobs = versionedTable(database, 'job', readJob);
  const replicas = versionedTable(database, 'replica', readReplica);
  const ofReplica = replicaTables(database);
  const temporaries = temporaryTable(database);

  function applyInTransaction(changes: readonly CatalogChange[]): void {
    for (const change of changes) applyOne(change);
  }

  function applyOne(change: CatalogChange): void {
    switch (change.type) {
      case 'host-saved':
        hosts.save(change.host, change.expectedVersion);
        break;
      case 'host-removed':
        hosts.remove(change.hostId);
        break;
      case 'job-saved':
        requireFreeName(change.job);
        jobs.save(change.job, change.expectedVersion);
        break;
      case 'job-removed':
        jobs.remove(change.jobId);
        break;
      case 'replica-saved':
        replicas.save(change.replica, change.expectedVersion);
        break;
      case 'temporary-registered':
        temporaries.register(change.temporary.key, change.temporary);
        break;
      case 'temporary-released':
        temporaries.release(change.key);
        break;
      default:
        ofReplica.apply(change);
        break;
    }
  }

  function requireFreeName({ id, name }: Job): void {
    if (jobs.byId(id)?.value.name === name) return;
    if (!jobs.all().some(({ value }) => value.name === name)) return;
    throw new UnderstudyError('name-taken', { what: 'job', name });
  }

  return {
    hosts: async () => hosts.all(),
    host: async (id) => hosts.byId(id),
    jobs: async () => jobs.all(),
    job: async (id) => jobs.byId(id),
    replicas: async () => replicas.all(),
    replica: async (id) => replicas.byId(id),
    points: async (id) => ofReplica.points(id),
    conditions: async (id) => ofReplica.conditions(id),
    temporaries: async () => temporaries.all(),
    apply: async (changes) => inTransaction(database, () => applyInTransaction(changes)),
    applyInTransaction,
  };
}

function inTransaction(database: DatabaseSync, apply: () => void): void {
  database.exec('BEGIN IMMEDIATE');
  try {
    apply();
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw storeError(database.location() ?? 'the data folder', error);
  }
}

function versionedTable<T extends { readonly id: string }>(
  database: DatabaseSync,
  table: 'host' | 'job' | 'replica',
  read: DocumentReader<T>,
) {
  const all = database.prepare(`SELECT * FROM ${table} ORDER BY id`);
  const byId = database.prepare(`SELECT * FROM ${table} WHERE id = ?`);
  const insert = database.prepare(
    `INSERT INTO ${table} (id, version, document) VALUES (?, 1, ?) ON CONFLICT DO NOTHING`,
  );
  const update = database.prepare(
    `UPDATE ${table} SET version = version + 1, document = ?3 WHERE id = ?1 AND version = ?2`,
  );
  const remove = database.prepare(`DELETE FROM ${table} WHERE id = ?`);
  const readOnce = rememberingLast(read);
  const parse = (row: Record<string, unknown>): Versioned<T> => ({
    value: readOnce(`${table} ${String(row.id)}`, row.document),
    version: Number(row.version),
  });
  return {
    all: (): readonly Versioned<T>[] => all.all().map(parse),
    byId(id: string): Versioned<T> | null {
      const row = byId.get(id);
      return row === undefined ? null : parse(row);
    },
    save(value: T, expectedVersion: number | null): void {
      const document = JSON.stringify(value);
      const { changes } =
        expectedVersion === null
          ? insert.run(value.id, document)
          : update.run(value.id, expectedVersion, document);
      if (Number(changes) === 1) return;
      throw new UnderstudyError('version-conflict', { record: `${table} ${value.id}` });
    },
    remove: (id: string) => void remove.run(id),
  };
}

/** Whole tables are read every second, and hardly a row of them changes. Compared by their text, rows cannot be stale. */
function rememberingLast<T>(read: DocumentReader<T>): DocumentReader<T> {
  const last = new Map<string, { readonly text: unknown; readonly value: T }>();
  return (record, text) => {
    const known = last.get(record);
    if (known !== undefined && known.text === text) return known.value;
    const value = read(record, text);
    if (last.size >= DOCUMENTS_REMEMBERED_MAX) last.clear();
    last.set(record, { text, value });
    return value;
  };
}

/** Of one table; a few kilobytes each. */
const DOCUMENTS_REMEMBERED_MAX = 10_000;

type ReplicaChange = Extract<
  CatalogChange,
  {
    readonly type: 'point-saved' | 'point-removed' | 'condition-raised' | 'condition-cleared';
  }
>;

/** What belongs to one replica: points and conditions. */
function replicaTables(database: DatabaseSync) {
  const points = database.prepare('SELECT id, document FROM point WHERE replica_id = ?');
  const conditions = database.prepare(
    'SELECT name AS id, document FROM condition WHERE replica_id = ? ORDER BY name',
  );
  const apply = replicaStatements(database);
  return {
    points: (id: ReplicaId) => rows(points, 'point', readPoint, id).sort(comparePoints),
    conditions: (id: ReplicaId) => rows(conditions, 'condition', readCondition, id),
    apply(change: ReplicaChange): void {
      switch (change.type) {
        case 'point-saved': {
          const { replicaId, id } = change.point;
          apply.savePoint.run(replicaId, id, JSON.stringify(change.point));
          break;
        }
        case 'point-removed':
          apply.removePoint.run(change.replicaId, change.pointId);
          break;
        case 'condition-raised': {
          const { replicaId, condition } = change;
          apply.raise.run(replicaId, condition.name, JSON.stringify(condition));
          break;
        }
        case 'condition-cleared':
          apply.clear.run(change.replicaId, change.name);
          break;
      }
    },
  };
}

function replicaStatements(database: DatabaseSync) {
  return {
    savePoint: database.prepare(
      `INSERT INTO point (replica_id, id, document) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET document = excluded.document`,
    ),
    removePoint: database.prepare('DELETE FROM point WHERE replica_id = ? AND id = ?'),
    raise: database.prepare(
      `INSERT INTO condition (replica_id, name, document) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET document = excluded.document`,
    ),
    clear: database.prepare('DELETE FROM condition WHERE replica_id = ? AND name = ?'),
  };
}

function temporaryTable(database: DatabaseSync) {
  const all = database.prepare('SELECT key AS id, document FROM temporary ORDER BY key');
  const register = database.prepare(
    `INSERT INTO temporary (key, document) VALUES (?, ?)
     ON CONFLICT DO UPDATE SET document = excluded.document`,
  );
  const release = database.prepare('DELETE FROM temporary WHERE key = ?');
  return {
    all: () => rows(all, 'temporary', readTemporary),
    register: (key: string, value: object) => void register.run(key, JSON.stringify(value)),
    release: (key: string) => void release.run(key),
  };
}

function rows<T>(
  statement: StatementSync,
  what: string,
  read: DocumentReader<T>,
  ...parameters: (string | number)[]
): T[] {
  return statement.all(...parameters).map((row) => read(`${what} ${String(row.id)}`, row.document));
}
