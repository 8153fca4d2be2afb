import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { HOST } from '../api/testing/sample-values.ts';
import type { Host } from '../domain/host/host.ts';
import type { Catalog } from '../ports/catalog.ts';
import { systemClock } from '../system/clock.ts';
import { systemIds } from '../system/ids.ts';
import { systemProcesses } from '../system/processes.ts';
import { createHostDirectory, type DriverTools } from './host-directory.ts';

async function openDirectory(t: TestContext) {
  const runtimeFolder = await mkdtemp(join(tmpdir(), 'understudy-hosts-'));
  t.after(() => rm(runtimeFolder, { recursive: true, force: true }));
  let record = { value: { ...HOST, kind: 'libvirt' as const } as Host, version: 1 };
  const mover = {} as DriverTools['mover']; // nothing is moved
  const tools = { processes: systemProcesses(), clock: systemClock(), ids: systemIds(), mover };
  const catalog = { host: async () => record } as Pick<Catalog, 'host'> as Catalog;
  return {
    directory: createHostDirectory(catalog, { ...tools, runtimeFolder }),
    change: (changes: Partial<Host>) => {
      record = { value: { ...record.value, ...changes }, version: record.version + 1 };
    },
  };
}

test('a start guard that comes or goes leaves the rest of the host as it is, with what is under way there', async (t) => {
  const { directory, change } = await openDirectory(t);
  const { startGuard: before, ...rest } = await directory.ports(HOST.id);
  change({ startGuard: { hooksFolder: '/etc/libvirt/hooks' } });
  const { startGuard: installed, ...others } = await directory.ports(HOST.id);
  assert.notEqual(installed, before);
  // Of a second store the first use would end the transfers of the first one as left over by a dead server.
  for (const name of Object.keys(rest) as (keyof typeof rest)[]) {
    assert.equal(others[name], rest[name], name);
  }
  assert.equal((await directory.ports(HOST.id)).startGuard, installed);
});

test('another address or folder is another connection', async (t) => {
  const { directory, change } = await openDirectory(t);
  const before = await directory.ports(HOST.id);
  change({ storageFolder: '/srv/elsewhere' });
  assert.notEqual((await directory.ports(HOST.id)).store, before.store);
});
