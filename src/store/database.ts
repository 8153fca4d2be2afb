/**
 * The data file of a server: one SQLite database that the catalogue and the journal share, so that a step's
 * entry and the changes it made are one transaction. WAL with `synchronous=FULL`: what was committed
 * survives the loss of power. A second, tiny database beside it is held under an exclusive lock for as
 * long as the server lives, because two servers on one file would each believe they own every operation.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { UnderstudyError } from '../domain/error.ts';
import { storeError } from './errors.ts';

/** Tables of one component. A migration that was released is never edited; new ones are appended. */
export type Schema = { readonly name: string; readonly migrations: readonly string[] };

export type DataFolder = Disposable & {
  readonly database: DatabaseSync;
  readonly folder: string;
};

/**
 * Opens the folder's database, making and migrating it as needed. Disposing closes it and releases the lock;
 * so does the end of the process, however it ends.
 * Throws `data-folder-in-use`, `invalid-file` (not our database, or one of a newer version).
 */
export function openDataFolder(settings: {
  readonly folder: string;
  readonly schemas: readonly Schema[];
}): DataFolder {
  const { folder, schemas } = settings;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = lockFolder(folder);
  try {
    const path = join(folder, 'understudy.db');
    const database = openDatabase({ path, schemas });
    return {
      database,
      folder,
      [Symbol.dispose]() {
        if (database.isOpen) database.close();
        if (lock.isOpen) lock.close();
      },
    };
  } catch (error) {
    lock.close();
    throw error;
  }
}

/** Opens one database file without the lock: for tests (`:memory:`) and tools. Throws `invalid-file`. */
export function openDatabase(settings: {
  readonly path: string;
  readonly schemas: readonly Schema[];
}): DatabaseSync {
  const { path, schemas } = settings;
  const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
  try {
    database.exec('PRAGMA journal_mode = WAL');
    database.exec('PRAGMA synchronous = FULL');
    database.exec('PRAGMA foreign_keys = ON');
    if (path !== ':memory:') chmodSync(path, 0o600);
    database.exec(
      'CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, applied INTEGER NOT NULL) STRICT',
    );
    for (const schema of schemas) migrate(database, path, schema);
    return database;
  } catch (error) {
    database.close();
    throw storeError(path, error);
  }
}

/** Others only ever read (a backup, a person with a shell), so that waiting is short. */
const BUSY_TIMEOUT_MS = 5000;

function migrate(database: DatabaseSync, path: string, { name, migrations }: Schema): void {
  const row = database.prepare('SELECT applied FROM migration WHERE name = ?').get(name);
  const applied = Number(row?.applied ?? 0);
  if (applied > migrations.length) {
    const reason = `its ${name} tables are of version ${applied}, this program knows ${migrations.length}`;
    throw new UnderstudyError('invalid-file', { path, reason });
  }
  for (const [index, statements] of migrations.entries()) {
    if (index >= applied) applyMigration(database, name, statements, index + 1);
  }
}

function applyMigration(
  database: DatabaseSync,
  name: string,
  statements: string,
  to: number,
): void {
  database.exec('BEGIN IMMEDIATE');
  try {
    database.exec(statements);
    database
      .prepare(
        'INSERT INTO migration (name, applied) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET applied = excluded.applied',
      )
      .run(name, to);
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

/** An open exclusive transaction holds a lock of the operating system, which ends with the process. */
function lockFolder(folder: string): DatabaseSync {
  const path = join(folder, 'controller.lock');
  const lock = new DatabaseSync(path, { timeout: 0 });
  try {
    chmodSync(path, 0o600);
    lock.exec('BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock.close();
    if (isBusy(error)) throw new UnderstudyError('data-folder-in-use', { path: folder }, error);
    throw storeError(path, error);
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && /database is locked/.test(error.message);
}
