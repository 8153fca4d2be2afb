import assert from 'node:assert/strict';
import { pointId } from '../../domain/ids.ts';
import { NEVER, type PointPlan, REPLICA, type StoreTest, type Story, storyTest } from './story.ts';

const P = [0, 1, 2, 3, 4].map((n) => pointId(`p${n}`));

/** Points p0 … p3, each over the one before, overlapping and hiding with zeros. */
async function fourPoints(story: Story): Promise<void> {
  const writes = [
    [
      [0, 1],
      [1, 2],
      [2, 3],
      [3, 4],
    ],
    [
      [1, 0],
      [4, 5],
    ],
    [
      [0, 6],
      [4, 0],
      [5, 7],
    ],
    [
      [2, 0],
      [5, 8],
    ],
  ] as const;
  for (const [n, blocks] of writes.entries()) {
    const plan: PointPlan = {
      vda: { sizeBlocks: 8 + n, base: n === 0 ? 'none' : 'parent', writes: new Map(blocks) },
      vdb: {
        sizeBlocks: 2,
        base: n === 2 || n === 0 ? 'none' : 'parent',
        writes: new Map([[1, n + 1]]),
      },
    };
    await story.replicate(`p${n}`, n === 0 ? null : point(n - 1), plan);
  }
}

function point(n: number) {
  const id = P[n];
  assert.ok(id);
  return id;
}

export function chainTests(suite: StoreTest): void {
  for (const order of [
    [0, 1, 2],
    [1, 3, 2],
    [2, 1, 0, 3],
  ]) {
    storyTest(
      suite,
      `points retired in the order ${order} leave the others exact`,
      async (story) => {
        await fourPoints(story);
        for (const n of order) {
          await story.retire(point(n));
          await story.assertPoints();
        }
        await story.reopen();
        await story.assertPoints();
        assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
      },
    );
  }

  storyTest(suite, 'retiring a point that is not there is success', async (story) => {
    await fourPoints(story);
    await story.retire(pointId('never-there'));
    await story.retire(point(0));
    await story.retire(point(0));
    await story.assertPoints();
  });

  storyTest(suite, 'replication goes on over merged layers', async (story) => {
    await fourPoints(story);
    for (const n of [0, 1, 2]) await story.retire(point(n));
    await story.replicate('p4', point(3), {
      vda: {
        sizeBlocks: 12,
        base: 'parent',
        writes: new Map([
          [11, 9],
          [5, 0],
        ]),
      },
      vdb: { sizeBlocks: 2, base: 'parent', writes: new Map([[0, 9]]) },
    });
    await story.assertPoints();
    await story.retire(point(3));
    await story.assertPoints();
  });

  storyTest(
    suite,
    'a point whose layers a branch needs can be retired; the branch reads on',
    async (story) => {
      await fourPoints(story);
      const wanted = story.contentOf(point(1), 'vda');
      const branch = await story.branch('b1', point(1));
      for (const n of [0, 1, 2]) await story.retire(point(n));
      await story.assertPoints();
      assert.deepEqual(await story.readBranch(branch.id, 'vda'), wanted);
      const command = { ...story.command(), branchId: branch.id };
      await story.store.deleteBranch(command, NEVER);
      await story.tidy();
      await story.assertPoints();
      assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
    },
  );

  storyTest(suite, 'a point being retired while the next one is partial', async (story) => {
    await fourPoints(story);
    const plan: PointPlan = {
      vda: { sizeBlocks: 11, base: 'parent', writes: new Map([[0, 200]]) },
      vdb: { sizeBlocks: 2, base: 'parent', writes: new Map() },
    };
    const opened = await story.open(point(4), point(3), plan);
    for (const n of [0, 1, 3]) await story.retire(point(n));
    await story.fill(opened, plan);
    await story.seal(point(4), point(3), plan);
    await story.tidy();
    await story.assertPoints();
  });
}
