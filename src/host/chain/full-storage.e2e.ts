/** A storage folder with no room left: nothing that was sealed is lost, the error says so, and room made is room used. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, open, readFile, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { NEVER, type PointPlan, REPLICA, Story } from '../../conformance/replica-store/story.ts';
import { branchId, pointId } from '../../domain/ids.ts';
import { createChainHarness, needsQemu } from './testing/chain-harness.ts';

const P1 = pointId('p1');
const P2 = pointId('p2');
const P3 = pointId('p3');
const FULL = { code: 'target-full' };
const plan = (base: 'none' | 'parent', from: number, count: number, fill: number): PointPlan => ({
  vda: {
    sizeBlocks: 256,
    base,
    writes: new Map(Array.from({ length: count }, (_, i) => [from + i, fill + i])),
  },
});

type Small = {
  readonly story: Story;
  readonly folder: string;
  /** Takes every byte that is left. */
  fillUp(): Promise<void>;
  makeRoom(): Promise<void>;
};

function smallTest(name: string, run: (small: Small) => Promise<void>): void {
  test(name, { skip: needsQemu }, async (t) => {
    await using harness = await createChainHarness();
    const folder = join(harness.storageFolder, '..', 'small');
    await mkdir(folder);
    if (!mounted(t, folder)) return;
    try {
      const inside = { ...harness, open: async () => harness.openWith({ storageFolder: folder }) };
      await run({ story: await Story.begin(inside), folder, ...ballast(folder) });
    } finally {
      execFileSync('umount', ['--lazy', folder]);
    }
  });
}

function mounted(t: TestContext, folder: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8M', 'small', folder], { stdio: 'pipe' });
    return true;
  } catch {
    t.skip('needs the right to mount a tmpfs');
    return false;
  }
}

function ballast(folder: string): Pick<Small, 'fillUp' | 'makeRoom'> {
  const path = join(folder, '.ballast');
  return {
    fillUp: async () => {
      await using handle = await open(path, 'a');
      for (;;) {
        const { bavail } = await statfs(folder);
        if (bavail === 0) return;
        await handle.write(Buffer.alloc(4096, 1)).catch(() => undefined);
      }
    },
    makeRoom: () => rm(path),
  };
}

async function recordOf({ folder }: Small): Promise<unknown> {
  return JSON.parse(await readFile(join(folder, REPLICA, 'replica.json'), 'utf8'));
}

smallTest(
  'a partial that filled the storage can be discarded, and the next run is exact',
  async (small) => {
    const { story } = small;
    await story.replicate('p1', null, plan('none', 0, 8, 1));
    const big = plan('parent', 0, 200, 1);
    const opened = await story.open(P2, P1, big);
    await assert.rejects(story.fill(opened, big), 'the storage is too small');
    await small.fillUp();
    await story.assertPoints().catch(() => undefined);
    // What a reading needs is in the storage, too: only the point files are looked at here.
    assert.equal((await story.store.points(REPLICA, NEVER)).length, 1);
    await story.store.discardPartial({ ...story.command(), pointId: P2 }, NEVER);
    await story.assertPoints();
    await story.replicate('p3', P1, plan('parent', 4, 8, 40));
    await story.assertPoints();
    await small.makeRoom();
    await story.tidy();
    assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
  },
);

smallTest(
  'opening, sealing, branching and raising the epoch fail cleanly and go on later',
  async (small) => {
    const { story } = small;
    await story.replicate('p1', null, plan('none', 0, 8, 1));
    const before = await recordOf(small);
    const next = plan('parent', 4, 8, 40);
    await small.fillUp();
    await assert.rejects(story.open(P2, P1, next), FULL);
    await assert.rejects(story.branch('b1', P1), FULL);
    await assert.rejects(story.store.raiseEpoch({ ...story.command(), epoch: 2 }, NEVER), FULL);
    assert.deepEqual(await recordOf(small), before);
    await small.makeRoom();
    await story.fill(await story.open(P2, P1, next), next);
    await small.fillUp();
    await assert.rejects(story.seal(P2, P1, next), FULL);
    assert.equal((await story.store.points(REPLICA, NEVER)).length, 1);
    await small.makeRoom();
    await story.seal(P2, P1, next);
    await story.branch('b1', P2);
    await story.assertPoints();
    await story.tidy();
    assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
  },
);

smallTest('a merge that runs out of room changes no point and is finished later', async (small) => {
  const { story } = small;
  await story.replicate('p1', null, plan('none', 0, 8, 1));
  await story.replicate('p2', P1, plan('parent', 4, 30, 40));
  await story.replicate('p3', P2, plan('parent', 2, 4, 90));
  await small.fillUp();
  await story.retire(P1).catch((error) => assert.equal(error.code, FULL.code, String(error)));
  const left = (await story.store.points(REPLICA, NEVER)).map(({ id }) => id);
  assert.deepEqual(left.slice(-2), [P2, P3]);
  await small.makeRoom();
  if (left.length === 3) await story.retire(P1);
  story.content.delete(P1);
  await story.assertPoints();
  await story.tidy();
  await story.assertPoints();
  assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
  await assert.rejects(story.store.branchBytes(REPLICA, branchId('none'), NEVER), {
    code: 'branch-missing',
  });
});

smallTest('retiring the newest point makes room even where there is none', async (small) => {
  const { story } = small;
  await story.replicate('p1', null, plan('none', 0, 8, 1));
  await story.replicate('p2', P1, plan('parent', 4, 30, 40));
  await small.fillUp();
  await story.retire(P2);
  await story.replicate('p3', P1, plan('parent', 4, 8, 60));
  await story.assertPoints();
});
