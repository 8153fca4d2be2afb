import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type BranchId, branchId, operationId, pointId } from '../ids.ts';
import { instant } from '../instant.ts';
import { branchOver, expiredArchives, readsThrough } from './archives.ts';
import { driftOfBasis, type ReplicaFinding } from './finding.ts';
import type { ArchivedBranch, FailoverRecord } from './replica.ts';

const NOW = instant(1000);
const POINT = pointId('pt-1');

function archive(name: string, keepUntil: number, over: string | null): ArchivedBranch {
  const overBranchId = over === null ? null : branchId(over);
  const times = { archivedAt: instant(1), keepUntil: instant(keepUntil) };
  return { branchId: branchId(name), pointId: POINT, overBranchId, ...times };
}

function failover(over: BranchId | null): FailoverRecord {
  return {
    pointId: POINT,
    branchId: branchId('br-now'),
    overBranchId: over,
    operationId: operationId('op-1'),
    reason: '',
    fence: 'none',
    fencedNics: [],
    isDuplicateAccepted: false,
    isSourceReleased: false,
    startedAt: NOW,
    isConnected: true,
    connectionBecause: '',
    runningAfterMs: null,
    answeringAfterMs: null,
    answeredBy: null,
  };
}

const ids = (archives: readonly ArchivedBranch[]) => archives.map((one) => one.branchId);

test('an archive reads through those below it, and what is wrong with one of them is its own trouble', () => {
  const archives = [archive('br-1', 1, null), archive('br-2', 1, 'br-1'), archive('br-3', 1, null)];
  const read = readsThrough({ archives }, branchId('br-2'));
  assert.deepEqual(read, ['br-2', 'br-1']);
  assert.deepEqual(readsThrough({ archives }, null), []);
  const finding = (branch: string): ReplicaFinding => ({
    ...{ kind: 'layer-changed', object: branch, message: 'it was written to', repair: 'none' },
    ...{ blocksWrites: false, layerId: null, pointIds: [], branchId: branchId(branch) },
  });
  const driftOf = (branch: string) =>
    driftOfBasis([finding(branch)], { pointId: POINT, archiveIds: read });
  assert.equal(driftOf('br-1'), 'br-1: it was written to');
  assert.equal(driftOf('br-3'), null);
});

test('an archive goes when its time is over', () => {
  const archives = [archive('br-1', 999, null), archive('br-2', 1001, null)];
  assert.deepEqual(ids(expiredArchives({ failover: null, archives }, NOW)), ['br-1']);
});

test('what the running branch lies over stays, down to the point', () => {
  const archives = [archive('br-1', 1, null), archive('br-2', 1, 'br-1'), archive('br-3', 1, null)];
  const running = failover(branchId('br-2'));
  assert.deepEqual(ids(expiredArchives({ failover: running, archives }, NOW)), ['br-3']);
  assert.equal(branchOver({ failover: running, archives }, branchId('br-2')), 'br-now');
  assert.equal(branchOver({ failover: running, archives }, branchId('br-1')), 'br-2');
  assert.equal(branchOver({ failover: running, archives }, branchId('br-3')), null);
});

const replica = fc
  .array(fc.record({ keepUntil: fc.integer({ min: 0, max: 2000 }), over: fc.nat() }), {
    maxLength: 8,
  })
  .chain((plans) => {
    const archives = plans.map(({ keepUntil, over }, index) =>
      archive(
        `br-${index}`,
        keepUntil,
        index === 0 || over % 3 === 0 ? null : `br-${over % index}`,
      ),
    );
    const names = [null, ...archives.map((one) => one.branchId)];
    return fc.record({
      archives: fc.constant(archives),
      failover: fc.option(fc.constantFrom(...names).map(failover), { nil: null }),
    });
  });

test('deleted one after the other, none is ever missed by what lies over it', () => {
  fc.assert(
    fc.property(replica, (given) => {
      let { archives } = given;
      for (const { branchId: id } of expiredArchives(given, NOW)) {
        assert.equal(branchOver({ ...given, archives }, id), null);
        archives = archives.filter((one) => one.branchId !== id);
      }
      const left = expiredArchives({ ...given, archives }, NOW);
      assert.deepEqual(left, [], 'nothing is left that could go');
      const lost = given.archives.filter((one) => one.keepUntil > NOW && !archives.includes(one));
      assert.deepEqual(lost, [], 'nothing goes before its time');
    }),
  );
});
