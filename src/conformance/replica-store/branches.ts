import assert from 'node:assert/strict';
import { branchId, diskKey, pointId } from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import type { Json } from '../../domain/operation/operation.ts';
import { NEVER, type PointPlan, REPLICA, type StoreTest, storyTest } from './story.ts';

const P1 = pointId('p1');
const P2 = pointId('p2');
const BASE: PointPlan = {
  vda: {
    sizeBlocks: 8,
    base: 'none',
    writes: new Map([
      [0, 1],
      [1, 2],
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

export function branchTests(suite: StoreTest): void {
  storyTest(
    suite,
    'a branch reads its point and takes writes; the point does not change',
    async (story) => {
      await story.replicate('p1', null, BASE);
      await story.replicate('p2', P1, CHANGES);
      const { id, disks } = await story.branch('b1', P1);
      assert.deepEqual(await story.readBranch(id, 'vda'), story.contentOf(P1, 'vda'));
      for (const disk of disks)
        await story.harness.writeBranch(
          disk,
          new Map([
            [0, 50],
            [7, 51],
          ]),
        );
      assert.deepEqual(await story.readBranch(id, 'vda'), [50, 2, 0, 0, 0, 0, 0, 51]);
      assert.ok((await story.store.branchBytes(REPLICA, id, NEVER)) >= 2 * 65_536);
      await story.assertPoints();
    },
  );

  storyTest(
    suite,
    'making a branch again is the same answer; another point is refused',
    async (story) => {
      await story.replicate('p1', null, BASE);
      await story.replicate('p2', P1, CHANGES);
      const first = await story.branch('b1', P1);
      for (const disk of first.disks) await story.harness.writeBranch(disk, new Map([[0, 50]]));
      await story.reopen();
      assert.deepEqual(await story.branch('b1', P1), first);
      assert.equal((await story.readBranch(first.id, 'vda'))[0], 50);
      await assert.rejects(story.branch('b1', P2), { code: 'name-taken' });
      await assert.rejects(story.branch('b2', pointId('gone')), { code: 'point-missing' });
    },
  );

  storyTest(suite, 'what is kept with a branch is told, whatever it is', async (story) => {
    await story.replicate('p1', null, BASE);
    const id = branchId('b1');
    const about = async () => (await story.store.branches(REPLICA, NEVER)).map((one) => one.about);
    const branch = { ...story.command(), branchId: id };
    const note = (to: Json) => story.store.noteBranch({ ...branch, about: to }, NEVER);
    await assert.rejects(note(null), { code: 'branch-missing' });
    const over = { ...branch, pointId: P1 };
    await story.store.createBranch({ ...over, about: { of: [1, null] } }, NEVER);
    await story.store.createBranch({ ...over, about: 'made again' }, NEVER);
    assert.deepEqual(await about(), [{ of: [1, null] }]);
    for (const _ of ['once', 'again']) await note(['later', { x: 2 }]);
    await story.reopen();
    assert.deepEqual(await about(), [['later', { x: 2 }]]);
    await story.store.archiveBranch({ ...branch, keepUntil: KEEP_UNTIL }, NEVER);
    assert.deepEqual(await about(), [['later', { x: 2 }]]);
    const above = { ...over, branchId: branchId('b2'), archiveId: id };
    await story.store.createBranch(above, NEVER);
    assert.deepEqual((await about()).toSorted(), [null, ['later', { x: 2 }]].toSorted());
    story.epoch += 1;
    await story.tidy();
    await assert.rejects(note(null), { code: 'epoch-refused' });
  });

  storyTest(suite, 'the disks of a replica at rest never exist', async (story) => {
    await story.replicate('p1', null, BASE);
    const [resting] = story.store.restingDisks(REPLICA, [diskKey('vda')]);
    const { disks } = await story.branch('b1', P1);
    assert.ok(resting !== undefined && disks[0] !== undefined);
    assert.notEqual(resting.path, disks[0].path);
    assert.equal(await story.harness.exists(resting.path), false);
  });

  storyTest(
    suite,
    'an archived branch is read-only in fact and survives retention below it',
    async (story) => {
      await story.replicate('p1', null, BASE);
      const { id, disks } = await story.branch('b1', P1);
      for (const disk of disks) await story.harness.writeBranch(disk, new Map([[5, 60]]));
      await story.replicate('p2', P1, CHANGES);
      await story.replicate('p3', P2, CHANGES);
      for (const _ of ['once', 'again']) {
        const archive = { ...story.command(), branchId: id, keepUntil: KEEP_UNTIL };
        await story.store.archiveBranch(archive, NEVER);
      }
      await story.retire(P1);
      await story.retire(P2);
      await story.assertPoints();
      assert.deepEqual(await story.readBranch(id, 'vda'), [1, 2, 0, 0, 0, 60, 0, 0]);
      assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
      const archive = { ...story.command(), branchId: branchId('none'), keepUntil: KEEP_UNTIL };
      await assert.rejects(story.store.archiveBranch(archive, NEVER), { code: 'branch-missing' });
    },
  );

  storyTest(suite, 'an archive over the newest layer follows the merge below it', async (story) => {
    await story.replicate('p1', null, BASE);
    await story.replicate('p2', P1, CHANGES);
    const { id } = await story.branch('b1', P2);
    const archive = { ...story.command(), branchId: id, keepUntil: KEEP_UNTIL };
    await story.store.archiveBranch(archive, NEVER);
    const wanted = story.contentOf(P2, 'vda');
    await story.retire(P1);
    await story.retire(P2);
    assert.deepEqual(await story.readBranch(id, 'vda'), wanted);
    assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
  });

  storyTest(suite, 'deleting a branch: a missing one is success', async (story) => {
    await story.replicate('p1', null, BASE);
    const { id, disks } = await story.branch('b1', P1);
    for (const _ of ['once', 'again']) {
      await story.store.deleteBranch({ ...story.command(), branchId: id }, NEVER);
    }
    for (const { path } of disks) assert.equal(await story.harness.exists(path), false);
    await assert.rejects(story.store.branchBytes(REPLICA, id, NEVER), { code: 'branch-missing' });
    await story.assertPoints();
  });

  storyTest(suite, 'a promoted branch is all that is left, where it was', async (story) => {
    await story.replicate('p1', null, BASE);
    await story.replicate('p2', P1, CHANGES);
    await story.branch('b2', P2);
    const { id, disks } = await story.branch('b1', P2);
    const wanted = story.contentOf(P2, 'vda');
    const promote = () => story.store.promoteBranch({ ...story.command(), branchId: id }, NEVER);
    await assert.rejects(promote(), { code: 'invalid-request' });
    await story.assertPoints();
    for (const disk of disks) await story.harness.flattenBranch(disk);
    await promote();
    await promote();
    await story.reopen();
    await story.tidy();
    assert.deepEqual(await story.store.points(REPLICA, NEVER), []);
    assert.deepEqual(await story.readBranch(id, 'vda'), wanted);
    for (const { path } of disks) assert.equal(await story.harness.exists(path), true);
    const other = branchId('b2');
    await assert.rejects(story.store.branchBytes(REPLICA, other, NEVER), {
      code: 'branch-missing',
    });
  });
}
