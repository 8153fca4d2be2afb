import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { catalogSuite } from '../conformance/catalog.ts';
import * as sample from '../conformance/catalog-samples.ts';
import { UnderstudyError } from '../domain/error.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import { createSqliteCatalog } from './catalog.ts';
import { openDatabase } from './database.ts';
import { CATALOG_SCHEMA } from './schema.ts';

const schemas = [CATALOG_SCHEMA];

catalogSuite('SQLite', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'catalog-'));
  const path = join(folder, 'catalog.db');
  let database = openDatabase({ path, schemas });
  return {
    catalog: createSqliteCatalog({ database }),
    async reopen() {
      database.close();
      database = openDatabase({ path, schemas });
      return createSqliteCatalog({ database });
    },
    async [Symbol.asyncDispose]() {
      database.close();
      rmSync(folder, { recursive: true });
    },
  };
});

test('a damaged record is named, and harms no other', async () => {
  const database = openDatabase({ path: ':memory:', schemas });
  const catalog = createSqliteCatalog({ database });
  const replicaId = sample.replica.id;
  await catalog.apply([
    { type: 'host-saved', host: sample.host, expectedVersion: null },
    { type: 'replica-saved', replica: sample.replica, expectedVersion: null },
    { type: 'job-saved', job: sample.job, expectedVersion: null },
    { type: 'point-saved', point: sample.point(1) },
  ]);
  const damage = (table: string, document: string) =>
    database.prepare(`UPDATE ${table} SET document = ?`).run(document);
  damage('host', '{"id":"ho-1"');
  damage('replica', JSON.stringify({ ...sample.replica, epoch: '3' }));
  damage('point', '[]');
  const codeOf = (record: string) => (error: unknown) => {
    assert.ok(error instanceof UnderstudyError);
    assert.deepEqual([error.code, error.details.record], ['corrupt-record', record]);
    return true;
  };
  await assert.rejects(catalog.host(sample.host.id), codeOf('host ho-1'));
  await assert.rejects(catalog.hosts(), codeOf('host ho-1'));
  await assert.rejects(catalog.replica(replicaId), codeOf('replica rp-1'));
  await assert.rejects(catalog.points(replicaId), codeOf('point pt-1'));
  assert.deepEqual((await catalog.job(sample.job.id))?.value, sample.job);
  database.close();
});

test('a failover that an older version wrote says that all NICs were disconnected, and no duplicate accepted', async () => {
  const database = openDatabase({ path: ':memory:', schemas });
  const catalog = createSqliteCatalog({ database });
  const { failover } = sample.replica;
  await catalog.apply([{ type: 'replica-saved', replica: sample.replica, expectedVersion: null }]);
  for (const [fence, fencedNics] of [
    ['nics', null],
    ['shutdown', []],
  ] as const) {
    const written = {
      ...failover,
      fence,
      fencedNics: undefined,
      isDuplicateAccepted: undefined,
      isSourceReleased: undefined,
    };
    const document = JSON.stringify({ ...sample.replica, failover: written });
    database.prepare('UPDATE replica SET document = ?').run(document);
    const read = (await catalog.replica(sample.replica.id))?.value.failover;
    assert.deepEqual(read, {
      ...failover,
      fence,
      fencedNics,
      isDuplicateAccepted: false,
      isSourceReleased: false,
    });
  }
  database.close();
});

test('what older versions wrote is read with what it then meant', async () => {
  const database = openDatabase({ path: ':memory:', schemas });
  const catalog = createSqliteCatalog({ database });
  await catalog.apply([
    { type: 'host-saved', host: sample.host, expectedVersion: null },
    { type: 'job-saved', job: sample.job, expectedVersion: null },
  ]);
  const { testSlots: _slots, storageReserveBytes: _reserve, ...host } = sample.host;
  const { testing: _testing, windows: _windows, ...job } = sample.job;
  database.prepare('UPDATE host SET document = ?').run(JSON.stringify(host));
  database.prepare('UPDATE job SET document = ?').run(JSON.stringify(job));
  assert.equal((await catalog.host(sample.host.id))?.value.testSlots, 2);
  assert.equal((await catalog.host(sample.host.id))?.value.storageReserveBytes, null);
  assert.equal((await catalog.job(sample.job.id))?.value.testing, null);
  assert.deepEqual((await catalog.job(sample.job.id))?.value.windows, []);
  database.close();
});

test('changes can join a transaction of someone else', async () => {
  const database = openDatabase({ path: ':memory:', schemas });
  const catalog = createSqliteCatalog({ database });
  const change: CatalogChange = { type: 'host-saved', host: sample.host, expectedVersion: null };
  database.exec('BEGIN');
  catalog.applyInTransaction([change]);
  database.exec('ROLLBACK');
  assert.deepEqual(await catalog.hosts(), []);
  database.exec('BEGIN');
  catalog.applyInTransaction([change]);
  database.exec('COMMIT');
  assert.equal((await catalog.hosts()).length, 1);
  database.close();
});

test('a full data folder is told as such, and nothing of the change stays', async () => {
  const database = openDatabase({ path: ':memory:', schemas });
  const catalog = createSqliteCatalog({ database });
  database.exec('PRAGMA max_page_count = 1');
  const wide = { ...sample.host, address: 'x'.repeat(1_000_000) };
  const change: CatalogChange = { type: 'host-saved', host: wide, expectedVersion: null };
  await assert.rejects(catalog.apply([change]), { code: 'data-folder-full' });
  assert.deepEqual(await catalog.hosts(), []);
  database.close();
});

test('a replica that an older version wrote is read: its branches lay over points', async () => {
  const database = openDatabase({ path: ':memory:', schemas });
  const catalog = createSqliteCatalog({ database });
  const { id } = sample.replica;
  await catalog.apply([{ type: 'replica-saved', replica: sample.replica, expectedVersion: null }]);
  const old = JSON.stringify(sample.replica, (key, value) =>
    key === 'overBranchId' || key === 'seed' ? undefined : value,
  );
  assert.ok(!old.includes('overBranchId'));
  database.prepare('UPDATE replica SET document = ?').run(old);
  const read = (await catalog.replica(id))?.value;
  assert.equal(read?.failover?.overBranchId, null);
  assert.equal(read?.seed, null);
  assert.deepEqual(
    read?.archives.map(({ overBranchId }) => overBranchId),
    [null],
  );
  database.close();
});
