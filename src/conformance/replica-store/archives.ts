import assert from 'node:assert/strict';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { branchId, diskKey, pointId } from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import { NEVER, type PointPlan, REPLICA, type StoreTest, type Story, storyTest } from './story.ts';

const P1 = pointId('p1');
const P2 = pointId('p2');
const A = branchId('b1');
const OVER = branchId('over');
const BASE: PointPlan = {
  vda: {
    sizeBlocks: 8,
    base: 'none',
    writes: new Map([
      [0, 1],
      [1, 2],
      [3, 9],
    ]),
  },
};
const CHANGES: PointPlan = {
  vda: {
    sizeBlocks: 8,
    base: 'parent',
    writes: new Map([
      [1, 3],
      [2, 4],
    ]),
  },
};
const KEEP_UNTIL = instant(1_800_000_000_000);
const LATER = instant(1_900_000_000_000);

/** A branch of p1 that was written to and archived. */
async function archived(story: Story): Promise<void> {
  await story.replicate('p1', null, BASE);
  const { disks } = await story.branch('b1', P1);
  const writes = new Map([
    [1, 20],
    [2, 21],
    [3, 0],
    [6, 22],
  ]);
  for (const disk of disks) await story.harness.writeBranch(disk, writes);
  await archive(story, A);
}

const ARCHIVED = [1, 20, 21, 0, 0, 0, 22, 0];

function archive(story: Story, id: typeof A, keepUntil = KEEP_UNTIL): Promise<void> {
  return story.store.archiveBranch({ ...story.command(), branchId: id, keepUntil }, NEVER);
}

function branchOver(story: Story, id = OVER) {
  const command = { ...story.command(), branchId: id, pointId: P1, archiveId: A };
  return story.store.createBranch(command, NEVER);
}

export function archiveTests(suite: StoreTest): void {
  storyTest(suite, 'branches are listed as they are, with the VM of their point', async (story) => {
    await archived(story);
    const second = await story.branch('b2', P1);
    const listed = await story.store.branches(REPLICA, NEVER);
    const [point] = await story.store.points(REPLICA, NEVER);
    const told = listed
      .map(({ disks, vm, ...branch }) => ({ ...branch, hasVm: vm !== null, paths: disks.length }))
      .toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const common = { pointId: P1, takenAt: point?.takenAt, about: null, hasVm: true, paths: 1 };
    assert.deepEqual(told, [
      { id: A, overBranchId: null, state: 'archived', keepUntil: KEEP_UNTIL, ...common },
      { id: second.id, overBranchId: null, state: 'active', keepUntil: null, ...common },
    ]);
    assert.deepEqual(listed[0]?.vm, point?.vm);
    assert.equal(listed[0]?.disks[0]?.sizeBytes, 8 * BLOCK_BYTES);
    for (const { disks } of listed) {
      for (const { path } of disks) assert.equal(await story.harness.exists(path), true);
    }
  });

  storyTest(suite, 'what a branch has written is told block by block', async (story) => {
    await archived(story);
    assert.deepEqual(await story.store.branchWrites(REPLICA, A, NEVER), [
      {
        key: diskKey('vda'),
        sizeBytes: 8 * BLOCK_BYTES,
        writtenBytes: 3 * BLOCK_BYTES,
        zeroedBytes: BLOCK_BYTES,
        rangeCount: 3,
        ranges: [
          { offset: BLOCK_BYTES, length: 2 * BLOCK_BYTES, isZero: false },
          { offset: 3 * BLOCK_BYTES, length: BLOCK_BYTES, isZero: true },
          { offset: 6 * BLOCK_BYTES, length: BLOCK_BYTES, isZero: false },
        ],
      },
    ]);
    await assert.rejects(story.store.branchWrites(REPLICA, branchId('none'), NEVER), {
      code: 'branch-missing',
    });
  });

  storyTest(suite, 'a branch over an archive reads it and leaves it as it is', async (story) => {
    await archived(story);
    const first = await branchOver(story);
    assert.deepEqual(await story.readBranch(OVER, 'vda'), ARCHIVED);
    const writes = new Map([
      [0, 30],
      [6, 31],
    ]);
    for (const disk of first.disks) await story.harness.writeBranch(disk, writes);
    await story.reopen();
    assert.deepEqual(await branchOver(story), first);
    assert.deepEqual(await story.readBranch(OVER, 'vda'), [30, 20, 21, 0, 0, 0, 31, 0]);
    assert.deepEqual(await story.readBranch(A, 'vda'), ARCHIVED);
    const [written] = await story.store.branchWrites(REPLICA, OVER, NEVER);
    assert.equal(written?.writtenBytes, 2 * BLOCK_BYTES);
    const listed = await story.store.branches(REPLICA, NEVER);
    assert.equal(listed.find(({ id }) => id === OVER)?.overBranchId, A);
    assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
    await story.assertPoints();
  });

  storyTest(suite, 'only an archived branch of that point can be lain over', async (story) => {
    await archived(story);
    await story.replicate('p2', P1, CHANGES);
    await story.branch('b2', P1);
    const make = (archiveId: string, point = P1) => {
      const over = { branchId: OVER, pointId: point, archiveId: branchId(archiveId) };
      return story.store.createBranch({ ...story.command(), ...over }, NEVER);
    };
    await assert.rejects(make('b2'), { code: 'invalid-request' });
    await assert.rejects(make('b1', P2), { code: 'invalid-request' });
    await assert.rejects(make('none'), { code: 'branch-missing' });
    await make('b1');
    await assert.rejects(story.branch('over', P1), { code: 'name-taken' });
  });

  storyTest(suite, 'an archive stays while something lies over it', async (story) => {
    await archived(story);
    await branchOver(story);
    const remove = (id: typeof A) =>
      story.store.deleteBranch({ ...story.command(), branchId: id }, NEVER);
    await assert.rejects(remove(A), { code: 'branch-needed' });
    await archive(story, OVER);
    await assert.rejects(remove(A), { code: 'branch-needed' });
    assert.deepEqual(await story.readBranch(OVER, 'vda'), ARCHIVED);
    await remove(OVER);
    await remove(A);
    assert.deepEqual(await story.store.branches(REPLICA, NEVER), []);
    await story.assertPoints();
  });

  storyTest(
    suite,
    'archives over archives survive the retirement of their point',
    async (story) => {
      await archived(story);
      await story.replicate('p2', P1, CHANGES);
      await branchOver(story);
      await archive(story, OVER);
      await story.replicate('p3', P2, CHANGES);
      await story.retire(P1);
      await story.retire(P2);
      await story.tidy();
      await story.assertPoints();
      assert.deepEqual(await story.readBranch(A, 'vda'), ARCHIVED);
      assert.deepEqual(await story.readBranch(OVER, 'vda'), ARCHIVED);
      const third = branchId('third');
      const over = { branchId: third, pointId: P1, archiveId: OVER };
      await story.store.createBranch({ ...story.command(), ...over }, NEVER);
      assert.deepEqual(await story.readBranch(third, 'vda'), ARCHIVED);
      assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
    },
  );

  storyTest(
    suite,
    'a merge below archives over one another leaves all as they were',
    async (story) => {
      await story.replicate('p1', null, BASE);
      await story.replicate('p2', P1, CHANGES);
      const { disks } = await story.branch('b1', P2);
      for (const disk of disks) await story.harness.writeBranch(disk, new Map([[7, 40]]));
      await archive(story, A);
      const over = { branchId: OVER, pointId: P2, archiveId: A };
      await story.store.createBranch({ ...story.command(), ...over }, NEVER);
      await archive(story, OVER);
      const wanted = story.contentOf(P2, 'vda').with(7, 40);
      await story.retire(P1);
      await story.tidy();
      assert.deepEqual(await story.readBranch(A, 'vda'), wanted);
      assert.deepEqual(await story.readBranch(OVER, 'vda'), wanted);
      assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
      await story.assertPoints();
    },
  );

  storyTest(suite, 'archiving again changes how long it is kept', async (story) => {
    await archived(story);
    await archive(story, A, LATER);
    const [listed] = await story.store.branches(REPLICA, NEVER);
    assert.equal(listed?.keepUntil, LATER);
    assert.deepEqual(await story.readBranch(A, 'vda'), ARCHIVED);
  });

  storyTest(suite, 'a promoted branch needs no archive any more', async (story) => {
    await archived(story);
    const { disks } = await branchOver(story);
    for (const disk of disks) await story.harness.flattenBranch(disk);
    await story.store.promoteBranch({ ...story.command(), branchId: OVER }, NEVER);
    const [left, ...others] = await story.store.branches(REPLICA, NEVER);
    assert.equal(left?.state, 'promoted');
    assert.deepEqual(others, []);
    assert.deepEqual(await story.readBranch(OVER, 'vda'), ARCHIVED);
  });

  storyTest(suite, 'an export stands alone and survives the replica', async (story) => {
    await archived(story);
    const disks = [{ key: diskKey('vda'), sizeBytes: 8 * BLOCK_BYTES }];
    const command = () => ({ ...story.command(), exportId: 'ex-1' });
    const [opened] = await story.store.openExport({ ...command(), disks }, NEVER);
    assert.ok(opened);
    await story.harness.write(opened, new Map([[2, 70]]), 'zeros');
    await story.reopen();
    const [again] = await story.store.openExport({ ...command(), disks }, NEVER);
    assert.ok(again);
    await story.harness.write(again, new Map([[5, 71]]), 'zeros');
    const sealed = await story.store.sealExport({ ...command(), about: { of: 'p1' } }, NEVER);
    assert.deepEqual(await story.store.sealExport({ ...command(), about: null }, NEVER), sealed);
    await story.store.discardExport(command(), NEVER);
    await story.store.deleteReplica(story.command(), NEVER);
    const path = sealed.disks[0]?.path ?? '';
    assert.ok(path.startsWith(sealed.folder));
    assert.equal(await story.harness.exists(path), true);
    const read = await story.harness.readImage(path, 8 * BLOCK_BYTES);
    assert.deepEqual(read, [0, 0, 70, 0, 0, 71, 0, 0]);
    assert.deepEqual(await story.store.replicas(NEVER), []);
  });

  storyTest(suite, 'an export that is given up leaves nothing', async (story) => {
    await archived(story);
    const disks = [{ key: diskKey('vda'), sizeBytes: 8 * BLOCK_BYTES }];
    const command = () => ({ ...story.command(), exportId: 'ex-1' });
    await story.store.openExport({ ...command(), disks }, NEVER);
    await story.reopen();
    for (const _ of ['once', 'again']) await story.store.discardExport(command(), NEVER);
    await assert.rejects(story.store.sealExport({ ...command(), about: null }, NEVER), {
      code: 'invalid-request',
    });
    const odd = { ...command(), exportId: '../out', disks };
    await assert.rejects(story.store.openExport(odd, NEVER), { code: 'invalid-id' });
  });
}
