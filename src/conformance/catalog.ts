/** What every catalogue must keep: ports/catalog.ts. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { jobId } from '../domain/ids.ts';
import type { Catalog, CatalogChange } from '../ports/catalog.ts';
import * as sample from './catalog-samples.ts';

export type CatalogHarness = AsyncDisposable & {
  readonly catalog: Catalog;
  /** The same storage, opened anew. */
  reopen(): Promise<Catalog>;
};

type Suite = (name: string, check: (harness: CatalogHarness) => Promise<void>) => void;

export function catalogSuite(name: string, createHarness: () => Promise<CatalogHarness>): void {
  const suite: Suite = (title, check) => {
    test(title, async () => {
      await using harness = await createHarness();
      await check(harness);
    });
  };
  describe(`catalogue: ${name}`, () => {
    versionTests(suite);
    replicaTests(suite);
    transactionTests(suite);
  });
}

const saveHost = (expectedVersion: number | null, name = 'kvm-1'): CatalogChange => ({
  type: 'host-saved',
  host: { ...sample.host, name },
  expectedVersion,
});

function versionTests(suite: Suite): void {
  suite('an empty catalogue answers nothing', async ({ catalog }) => {
    assert.deepEqual(await catalog.hosts(), []);
    assert.deepEqual(await catalog.jobs(), []);
    assert.deepEqual(await catalog.replicas(), []);
    assert.deepEqual(await catalog.temporaries(), []);
    assert.equal(await catalog.host(sample.host.id), null);
    assert.equal(await catalog.job(sample.job.id), null);
    assert.equal(await catalog.replica(sample.replica.id), null);
    assert.deepEqual(await catalog.points(sample.replica.id), []);
    assert.deepEqual(await catalog.conditions(sample.replica.id), []);
  });

  suite('hosts, jobs and replicas come back as they were saved', async (harness) => {
    await harness.catalog.apply([
      saveHost(null),
      { type: 'job-saved', job: sample.job, expectedVersion: null },
      { type: 'replica-saved', replica: sample.replica, expectedVersion: null },
    ]);
    const catalog = await harness.reopen();
    const version = (await catalog.host(sample.host.id))?.version ?? Number.NaN;
    assert.deepEqual(await catalog.host(sample.host.id), { value: sample.host, version });
    assert.deepEqual((await catalog.job(sample.job.id))?.value, sample.job);
    assert.deepEqual((await catalog.replica(sample.replica.id))?.value, sample.replica);
    assert.equal((await catalog.hosts()).length, 1);
    assert.equal((await catalog.jobs()).length, 1);
    assert.equal((await catalog.replicas()).length, 1);
  });

  suite('a save must name the version that was read', async ({ catalog }) => {
    const conflict = { code: 'version-conflict' };
    await catalog.apply([saveHost(null, 'first')]);
    await assert.rejects(catalog.apply([saveHost(null, 'again')]), conflict);
    const { version = 0 } = (await catalog.host(sample.host.id)) ?? {};
    await catalog.apply([saveHost(version, 'second')]);
    await assert.rejects(catalog.apply([saveHost(version, 'late')]), conflict);
    const now = await catalog.host(sample.host.id);
    assert.equal(now?.value.name, 'second');
    assert.notEqual(now?.version, version);
  });

  suite('no two jobs have one name, whoever comes second', async ({ catalog }) => {
    const save = (id: string, name: string, expectedVersion: number | null): CatalogChange => ({
      type: 'job-saved',
      job: { ...sample.job, id: jobId(id), name },
      expectedVersion,
    });
    await catalog.apply([save('job-1', 'web', null), save('job-2', 'db', null)]);
    const { version = 0 } = (await catalog.job(jobId('job-2'))) ?? {};
    const taken = { code: 'name-taken' };
    await assert.rejects(catalog.apply([save('job-2', 'web', version)]), taken);
    await assert.rejects(catalog.apply([save('job-3', 'web', null)]), taken);
    await catalog.apply([save('job-2', 'shop', version), save('job-3', 'db', null)]);
    const names = (await catalog.jobs()).map(({ value }) => value.name);
    assert.deepEqual(names, ['web', 'shop', 'db']);
  });

  suite('a save of what was removed meanwhile is a conflict', async ({ catalog }) => {
    await catalog.apply([saveHost(null)]);
    const { version = 0 } = (await catalog.host(sample.host.id)) ?? {};
    await catalog.apply([{ type: 'host-removed', hostId: sample.host.id }]);
    assert.equal(await catalog.host(sample.host.id), null);
    await assert.rejects(catalog.apply([saveHost(version)]), { code: 'version-conflict' });
    await catalog.apply([{ type: 'host-removed', hostId: sample.host.id }]);
    await catalog.apply([{ type: 'job-saved', job: sample.job, expectedVersion: null }]);
    await catalog.apply([{ type: 'job-removed', jobId: sample.job.id }]);
    assert.deepEqual(await catalog.jobs(), []);
  });
}

function replicaTests(suite: Suite): void {
  const replicaId = sample.replica.id;

  suite('points come oldest first, whatever the order of saving', async ({ catalog }) => {
    const points = [3, 1, 2].map((n) => sample.point(n));
    await catalog.apply(points.map((point) => ({ type: 'point-saved', point })));
    const ids = async () => (await catalog.points(replicaId)).map(({ id }) => id);
    assert.deepEqual(await ids(), ['pt-1', 'pt-2', 'pt-3']);
    const pinned = { ...sample.point(2), isPinned: true };
    await catalog.apply([
      { type: 'point-saved', point: pinned },
      { type: 'point-removed', replicaId, pointId: sample.point(1).id },
    ]);
    assert.deepEqual(await catalog.points(replicaId), [pinned, sample.point(3)]);
    assert.deepEqual(await catalog.points(sample.otherReplicaId), []);
  });

  suite('conditions are raised, replaced and cleared by name', async ({ catalog }) => {
    const drifted = sample.condition('drifted', 'first');
    const breached = sample.condition('rpo-breached', 'late');
    const again = sample.condition('drifted', 'second');
    await catalog.apply([
      { type: 'condition-raised', replicaId, condition: drifted },
      { type: 'condition-raised', replicaId, condition: breached },
      { type: 'condition-raised', replicaId, condition: again },
    ]);
    assert.deepEqual(await catalog.conditions(replicaId), [again, breached]);
    await catalog.apply([
      { type: 'condition-cleared', replicaId, name: 'drifted' },
      { type: 'condition-cleared', replicaId, name: 'unverified' },
    ]);
    assert.deepEqual(await catalog.conditions(replicaId), [breached]);
  });

  suite('temporaries are registered and released by key, more than once', async ({ catalog }) => {
    const register: CatalogChange = { type: 'temporary-registered', temporary: sample.temporary };
    const release: CatalogChange = { type: 'temporary-released', key: sample.temporary.key };
    await catalog.apply([register]);
    await catalog.apply([register]);
    assert.deepEqual(await catalog.temporaries(), [sample.temporary]);
    await catalog.apply([release]);
    await catalog.apply([release]);
    assert.deepEqual(await catalog.temporaries(), []);
  });
}

function transactionTests(suite: Suite): void {
  suite('changes are applied entirely or not at all', async (harness) => {
    const { catalog } = harness;
    await catalog.apply([saveHost(null, 'before')]);
    const { version = 0 } = (await catalog.host(sample.host.id)) ?? {};
    const all: CatalogChange[] = [
      saveHost(version, 'after'),
      { type: 'point-saved', point: sample.point(1) },
      { type: 'temporary-registered', temporary: sample.temporary },
      { type: 'job-saved', job: sample.job, expectedVersion: 7 },
    ];
    await assert.rejects(catalog.apply(all), { code: 'version-conflict' });
    const reopened = await harness.reopen();
    assert.equal((await reopened.host(sample.host.id))?.value.name, 'before');
    assert.deepEqual(await reopened.points(sample.replica.id), []);
    assert.deepEqual(await reopened.temporaries(), []);
  });

  suite('later changes of a list see the earlier ones', async ({ catalog }) => {
    await catalog.apply([saveHost(null), { type: 'host-removed', hostId: sample.host.id }]);
    assert.equal(await catalog.host(sample.host.id), null);
    await catalog.apply([]);
  });
}
