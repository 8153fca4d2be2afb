/** Tests only: an engine on a file that can be crashed and opened again, with a record of applied changes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { DurableHarness } from '../../../conformance/durable.ts';
import { type ManualClock, manualClock } from '../../../conformance/manual-clock.ts';
import { UnderstudyError } from '../../../domain/error.ts';
import type { CatalogChange } from '../../../ports/catalog.ts';
import type { Clock } from '../../../ports/clock.ts';
import type { Ids } from '../../../ports/ids.ts';
import { createSqliteDurable, type SqliteDurable, type SqliteDurableSettings } from '../engine.ts';
import { JOURNAL_SCHEMA } from '../schema.ts';

type Options = Pick<SqliteDurableSettings, 'onCrashPoint' | 'runningMax'>;

export type SqliteHarness = Omit<DurableHarness, 'open'> & {
  readonly clock: ManualClock;
  open(options?: Options): Promise<SqliteDurable>;
  readonly database: () => DatabaseSync;
};

/** `synchronous` OFF where only process crashes are simulated: tests need no disk flush. */
export function createSqliteHarness(): SqliteHarness {
  const folder = mkdtempSync(join(tmpdir(), 'durable-'));
  const path = join(folder, 'journal.db');
  const clock = manualClock();
  const ids = countingIds();
  let database = openJournal(path, 'OFF');

  return {
    clock,
    database: () => database,
    async open(options: Options = {}) {
      if (!database.isOpen) database = openJournal(path, 'OFF');
      return openEngine({ database, clock, ids, ...options });
    },
    async crash() {
      // Every later write of the old engine fails, which it takes for the end.
      if (database.isOpen) database.close();
    },
    async applied() {
      const rows = database.prepare('SELECT change FROM applied ORDER BY number').all();
      return rows.map((row) => JSON.parse(String(row.change)) as CatalogChange);
    },
    async [Symbol.asyncDispose]() {
      if (database.isOpen) database.close();
      rmSync(folder, { recursive: true });
    },
  };
}

export function openEngine(
  parts: { readonly database: DatabaseSync; readonly clock: Clock; readonly ids: Ids } & Options,
): SqliteDurable {
  const insert = parts.database.prepare('INSERT INTO applied (change) VALUES (?)');
  return createSqliteDurable({
    ...parts,
    applyChanges(changes) {
      for (const change of changes) {
        if (change.type === 'host-removed' && String(change.hostId) === 'refused') {
          throw new UnderstudyError('version-conflict', { record: 'refused' });
        }
        insert.run(JSON.stringify(change));
      }
    },
  });
}

export function openJournal(path: string, synchronous: 'OFF' | 'FULL'): DatabaseSync {
  const database = new DatabaseSync(path);
  database.exec('PRAGMA journal_mode = WAL');
  database.exec(`PRAGMA synchronous = ${synchronous}`);
  database.exec('PRAGMA foreign_keys = ON');
  const tables = database.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'operation'`).get();
  if (tables === undefined) {
    for (const statements of JOURNAL_SCHEMA.migrations) database.exec(statements);
    database.exec('CREATE TABLE applied (number INTEGER PRIMARY KEY, change TEXT NOT NULL) STRICT');
  }
  return database;
}

function countingIds(): Ids {
  let count = 0;
  return {
    fresh(prefix) {
      count += 1;
      return `${prefix}-${count}`;
    },
    uuid: () => '00000000-0000-4000-8000-000000000000',
  };
}
