import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDatabase, openDataFolder } from './database.ts';

const first = 'CREATE TABLE a (x INTEGER) STRICT';
const second = 'ALTER TABLE a ADD COLUMN y TEXT; INSERT INTO a VALUES (1, NULL)';

function inFolder(check: (folder: string) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const folder = mkdtempSync(join(tmpdir(), 'store-'));
    try {
      await check(folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
}

function schemas(...migrations: string[]) {
  return [{ name: 'test', migrations }];
}

test(
  'the database flushes every commit and is private',
  inFolder((folder) => {
    using data = openDataFolder({ folder: join(folder, 'new'), schemas: schemas(first) });
    const pragma = (name: string) =>
      Object.values(data.database.prepare(`PRAGMA ${name}`).get() ?? {})[0];
    assert.equal(pragma('journal_mode'), 'wal');
    assert.equal(pragma('synchronous'), 2);
    assert.equal(pragma('foreign_keys'), 1);
    assert.equal(statSync(join(data.folder, 'understudy.db')).mode & 0o777, 0o600);
  }),
);

test(
  'migrations are applied once, in order, and a newer file is refused',
  inFolder((folder) => {
    const path = join(folder, 'x.db');
    openDatabase({ path, schemas: schemas(first) }).close();
    openDatabase({ path, schemas: schemas(first, second) }).close();
    const database = openDatabase({ path, schemas: schemas(first, second) });
    assert.equal(database.prepare('SELECT count(*) AS n FROM a').get()?.n, 1);
    database.close();
    assert.throws(() => openDatabase({ path, schemas: schemas(first) }), { code: 'invalid-file' });
  }),
);

test(
  'a migration that fails leaves nothing',
  inFolder((folder) => {
    const path = join(folder, 'x.db');
    const broken = 'CREATE TABLE b (x INTEGER); INSERT INTO nowhere VALUES (1)';
    assert.throws(() => openDatabase({ path, schemas: schemas(first, broken) }), /nowhere/);
    const database = openDatabase({ path, schemas: schemas(first) });
    assert.equal(database.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'b'`).get(), undefined);
    database.close();
  }),
);

test(
  'a file that is no database is named',
  inFolder((folder) => {
    const path = join(folder, 'understudy.db');
    writeFileSync(path, 'This is a letter, not a database. '.repeat(100));
    assert.throws(() => openDataFolder({ folder, schemas: [] }), { code: 'invalid-file' });
  }),
);

test(
  'a folder serves one server at a time',
  inFolder((folder) => {
    const held = openDataFolder({ folder, schemas: schemas(first) });
    const again = () => openDataFolder({ folder, schemas: schemas(first) });
    assert.throws(again, { code: 'data-folder-in-use' });
    held[Symbol.dispose]();
    again()[Symbol.dispose]();
  }),
);

test(
  'the lock of a killed server is gone with it',
  inFolder(async (folder) => {
    const module = join(import.meta.dirname, 'database.ts');
    const code = `import { openDataFolder } from ${JSON.stringify(module)};
      globalThis.held = openDataFolder({ folder: process.argv[1], schemas: [] });
      console.log('held'); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code, folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    try {
      await once(child.stdout, 'data');
      assert.throws(() => openDataFolder({ folder, schemas: [] }), { code: 'data-folder-in-use' });
    } finally {
      child.kill('SIGKILL');
      await exited;
    }
    openDataFolder({ folder, schemas: [] })[Symbol.dispose]();
  }),
);
