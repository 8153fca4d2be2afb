import assert from 'node:assert/strict';
import { branchId, pointId, replicaId } from '../../domain/ids.ts';
import { NEVER, REPLICA, type StoreTest, storyTest } from './story.ts';

const ONE_BLOCK = { vda: { sizeBlocks: 4, base: 'none', writes: new Map([[1, 7]]) } } as const;

export function replicaTests(suite: StoreTest): void {
  storyTest(
    suite,
    'a replica is found after a restart; making it again is success',
    async (story) => {
      const about = { of: ['a controller', 7, null] };
      await story.store.createReplica({ ...story.command(), name: 'a vm', about }, NEVER);
      await story.store.createReplica({ ...story.command(), name: 'a vm' }, NEVER);
      await story.reopen();
      const found = [{ replicaId: REPLICA, name: 'a vm', epoch: 1, about, isDamaged: false }];
      assert.deepEqual(await story.store.replicas(NEVER), found);
      assert.deepEqual(await story.store.points(REPLICA, NEVER), []);
      assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
    },
  );

  storyTest(
    suite,
    'commands of an older epoch are refused, also after a restart',
    async (story) => {
      await story.store.raiseEpoch({ ...story.command(), epoch: 5 }, NEVER);
      const refused = { code: 'epoch-refused' };
      story.epoch = 4;
      for (const _ of ['before', 'after the restart']) {
        const command = story.command();
        const { store } = story;
        assert.equal(await store.epoch(REPLICA, NEVER), 5);
        assert.equal(await store.epoch(replicaId('rp-none'), NEVER), null);
        await assert.rejects(store.createReplica({ ...command, name: 'a vm' }, NEVER), refused);
        await assert.rejects(store.raiseEpoch(command, NEVER), refused);
        await assert.rejects(story.open(pointId('p1'), null, ONE_BLOCK), refused);
        await assert.rejects(story.retire(pointId('p1')), refused);
        await assert.rejects(story.tidy(), refused);
        await assert.rejects(story.branch('b1', pointId('p1')), refused);
        const ofBranch = { ...command, branchId: branchId('b1') };
        await assert.rejects(store.deleteBranch(ofBranch, NEVER), refused);
        await assert.rejects(store.promoteBranch(ofBranch, NEVER), refused);
        await assert.rejects(store.deleteReplica(command, NEVER), refused);
        await story.reopen();
      }
      story.epoch = 6;
      await story.tidy();
      story.epoch = 5;
      await assert.rejects(story.tidy(), refused);
    },
  );

  storyTest(suite, 'a replica that is not there is missing', async (story) => {
    const other = { ...story.command(), replicaId: replicaId('rep-other') };
    const missing = { code: 'replica-missing' };
    await assert.rejects(story.store.points(other.replicaId, NEVER), missing);
    await assert.rejects(story.store.tidy(other, NEVER), missing);
    await assert.rejects(story.store.raiseEpoch(other, NEVER), missing);
  });

  storyTest(suite, 'deleting a replica leaves nothing; again is success', async (story) => {
    await story.replicate('p1', null, ONE_BLOCK);
    const { disks } = await story.branch('b1', pointId('p1'));
    await story.store.deleteReplica(story.command(), NEVER);
    await story.store.deleteReplica(story.command(), NEVER);
    assert.deepEqual(await story.store.replicas(NEVER), []);
    for (const { path } of disks) assert.equal(await story.harness.exists(path), false);
    await story.store.createReplica({ ...story.command(), name: 'again' }, NEVER);
    assert.deepEqual(await story.store.points(REPLICA, NEVER), []);
  });

  storyTest(suite, 'an aborted call is cancelled', async (story) => {
    const aborted = { signal: AbortSignal.abort() };
    await assert.rejects(story.store.tidy(story.command(), aborted), { code: 'cancelled' });
    await assert.rejects(story.store.points(REPLICA, aborted), { code: 'cancelled' });
  });

  storyTest(suite, 'there is room', async (story) => {
    const { freeBytes, sizeBytes } = await story.store.room(NEVER);
    assert.ok(freeBytes > 0 && freeBytes <= sizeBytes);
  });
}
