/** What a failback asks of a chain: what a branch has written, points beside the newest one, where two points differ. */
import assert from 'node:assert/strict';
import { type BlockSet, hasBlock } from '../../domain/disk/block-set.ts';
import { type BranchId, branchId, markName, type PointId, pointId } from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import {
  type DiskPlan,
  hashesOf,
  NEVER,
  type PointPlan,
  REPLICA,
  type StoreTest,
  type Story,
  storyTest,
} from './story.ts';

const P1 = pointId('p1');
const P2 = pointId('p2');
const P3 = pointId('p3');
const P4 = pointId('p4');
const P5 = pointId('p5');
const A = branchId('b1');
const OVER = branchId('over');
const MARK = markName('us-branch-1');
const KEEP_UNTIL = instant(1_800_000_000_000);

/** One disk of a point, over the one before unless it says otherwise. */
function vda(writes: Readonly<Record<number, number>>, more: Partial<DiskPlan> = {}): PointPlan {
  const blocks = Object.entries(writes).map(([index, fill]) => [Number(index), fill] as const);
  return { vda: { sizeBlocks: 8, base: 'parent', writes: new Map(blocks), ...more } };
}

const BASE = vda({ 0: 1, 1: 2, 3: 9 }, { base: 'none' });

type Order = {
  readonly point?: PointId;
  readonly archiveId?: BranchId;
  readonly mark?: typeof MARK;
};

async function branched(story: Story, id: BranchId, { point = P1, ...order }: Order) {
  const command = { ...story.command(), branchId: id, pointId: point, ...order };
  return await story.store.createBranch(command, NEVER);
}

async function archived(story: Story, id: BranchId): Promise<void> {
  const command = { ...story.command(), branchId: id, keepUntil: KEEP_UNTIL };
  await story.store.archiveBranch(command, NEVER);
}

/** The blocks that a branch says it has written since its point; null: it cannot tell. */
export async function told(story: Story, id: BranchId): Promise<readonly number[] | null> {
  const command = story.command();
  const [disk] = await story.store.openReading({ ...command, of: { branchId: id } }, NEVER);
  assert.ok(disk);
  const { endpoint, extents } = disk;
  const blocks =
    extents.type === 'changed'
      ? await story.harness.changedBlocks(endpoint, extents.metaContext)
      : null;
  await story.store.closeReading(command, NEVER);
  return blocks;
}

/** p1 … p4: each over the one before. */
async function fourPoints(story: Story): Promise<void> {
  await story.replicate('p1', null, BASE);
  await story.replicate('p2', P1, vda({ 1: 3, 2: 4 }));
  await story.replicate('p3', P2, vda({ 0: 1, 5: 0 }));
  await story.replicate('p4', P3, vda({ 3: 0, 6: 7 }));
}

/** What a failback does to the replica: its state at switchover becomes a point over the one failed over to. */
function replicateBeside(story: Story, name: string, over: PointId, plan: PointPlan) {
  return story.replicate(name, over, plan, { mayBranchOff: true });
}

export function failbackTests(suite: StoreTest): void {
  branchMarkTests(suite);
  besideTests(suite);
  differingTests(suite);
}

function branchMarkTests(suite: StoreTest): void {
  for (const mark of [MARK, undefined]) {
    const order = mark === undefined ? {} : { mark };
    const what = mark === undefined ? 'without a mark' : 'with a mark';
    storyTest(suite, `a branch ${what} tells what it has written, zeros too`, async (story) => {
      await story.replicate('p1', null, BASE);
      const first = await branched(story, A, order);
      assert.deepEqual(await told(story, A), []);
      for (const disk of first.disks) {
        await story.harness.writeBranch(disk, vda({ 3: 0, 5: 50, 7: 51 }).vda?.writes ?? new Map());
      }
      await story.reopen();
      assert.deepEqual(await branched(story, A, order), first, 'the same answer again');
      assert.deepEqual(await told(story, A), [3, 5, 7]);
      await archived(story, A);
      assert.deepEqual(await told(story, A), [3, 5, 7]);
      assert.deepEqual(await story.readBranch(A, 'vda'), [1, 2, 0, 0, 0, 50, 0, 51]);
      assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
    });
  }

  storyTest(suite, 'a branch whose mark was lost in a crash still tells', async (story) => {
    await story.replicate('p1', null, BASE);
    const { disks } = await branched(story, A, { mark: MARK });
    for (const disk of disks) await story.harness.writeBranch(disk, new Map([[5, 50]]));
    for (const disk of disks) await story.harness.crashBranch(disk, new Map([[6, 60]]));
    assert.deepEqual(await told(story, A), [5, 6]);
    await archived(story, A);
    await story.replicate('p2', P1, vda({ 0: 5 }));
    await story.retire(P1);
    assert.deepEqual(await told(story, A), [5, 6]);
    assert.deepEqual(await story.readBranch(A, 'vda'), [1, 2, 0, 9, 0, 50, 60, 0]);
    assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
  });

  storyTest(
    suite,
    'a branch is unwritten until a VM writes, or its mark is lost',
    async (story) => {
      await story.replicate('p1', null, BASE);
      const isUnwritten = (id: BranchId, mark = MARK) =>
        story.store.isBranchUnwritten(REPLICA, id, mark, NEVER);
      const written = await branched(story, A, { mark: MARK });
      assert.equal(await isUnwritten(A), true);
      assert.equal(await isUnwritten(A, markName('us-other')), false);
      for (const disk of written.disks) await story.harness.writeBranch(disk, new Map([[5, 50]]));
      await story.reopen();
      assert.equal(await isUnwritten(A), false);
      const crashed = await branched(story, OVER, { mark: MARK });
      for (const disk of crashed.disks) await story.harness.crashBranch(disk, new Map());
      assert.equal(await isUnwritten(OVER), false);
      await assert.rejects(isUnwritten(branchId('none')), { code: 'branch-missing' });
    },
  );

  storyTest(suite, 'a branch over an archive tells what both have written', async (story) => {
    await story.replicate('p1', null, BASE);
    const below = await branched(story, A, { mark: MARK });
    for (const disk of below.disks) await story.harness.writeBranch(disk, new Map([[5, 50]]));
    await archived(story, A);
    const mark = markName('us-branch-2');
    const over = await branched(story, OVER, { archiveId: A, mark });
    for (const disk of over.disks) await story.harness.writeBranch(disk, new Map([[0, 60]]));
    assert.deepEqual(await told(story, OVER), [0, 5]);
    assert.deepEqual(await told(story, A), [5]);
    assert.deepEqual(await story.readBranch(OVER, 'vda'), [60, 2, 0, 9, 0, 50, 0, 0]);
    assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
  });

  storyTest(
    suite,
    'a branch over an archive that lost its mark does not pretend',
    async (story) => {
      await story.replicate('p1', null, BASE);
      const below = await branched(story, A, { mark: MARK });
      for (const disk of below.disks) await story.harness.crashBranch(disk, new Map([[5, 50]]));
      await archived(story, A);
      const over = await branched(story, OVER, { archiveId: A, mark: MARK });
      for (const disk of over.disks) await story.harness.writeBranch(disk, new Map([[0, 60]]));
      assert.equal(await told(story, OVER), null);
      assert.deepEqual(await story.readBranch(OVER, 'vda'), [60, 2, 0, 9, 0, 50, 0, 0]);
    },
  );

  storyTest(suite, 'a branch with a mark can be promoted', async (story) => {
    await story.replicate('p1', null, BASE);
    const { disks } = await branched(story, A, { mark: MARK });
    for (const disk of disks) await story.harness.writeBranch(disk, new Map([[5, 50]]));
    for (const disk of disks) await story.harness.flattenBranch(disk);
    await story.store.promoteBranch({ ...story.command(), branchId: A }, NEVER);
    await story.tidy();
    assert.deepEqual(await story.readBranch(A, 'vda'), [1, 2, 0, 9, 0, 50, 0, 0]);
    assert.equal(await told(story, A), null, 'nothing lies below it any more');
  });
}

function besideTests(suite: StoreTest): void {
  storyTest(suite, 'a point over an older one lies beside the newer ones', async (story) => {
    await fourPoints(story);
    await replicateBeside(story, 'p5', P2, vda({ 1: 20, 7: 21 }));
    await story.assertPoints();
    const points = await story.store.points(REPLICA, NEVER);
    assert.equal(points.at(-1)?.id, P5, 'it is the newest now');
    await story.reopen();
    await story.replicate('p6', P5, vda({ 7: 22 }));
    await story.assertPoints();
    assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
  });

  for (const order of [
    [P4, P3, P2, P1],
    [P1, P2, P3, P4],
    [P2, P3, P1, P4],
  ]) {
    storyTest(suite, `off the timeline, points go in the order ${order}`, async (story) => {
      await fourPoints(story);
      await replicateBeside(story, 'p5', P2, vda({ 1: 20, 3: 0, 7: 21 }));
      const { id } = await story.branch('b1', P3);
      const wanted = story.contentOf(P3, 'vda');
      for (const point of order) {
        await story.retire(point);
        await story.assertPoints();
        assert.deepEqual(await story.readBranch(id, 'vda'), wanted);
      }
      await story.store.deleteBranch({ ...story.command(), branchId: id }, NEVER);
      await story.tidy();
      await story.replicate('p6', P5, vda({ 0: 30 }));
      await story.retire(P5);
      await story.assertPoints();
      assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
    });
  }

  storyTest(suite, 'known hashes beside newer points are of what lies below', async (story) => {
    await fourPoints(story);
    const plan = vda({ 1: 20 }, { wantsKnownHashes: true });
    const [disk] = await story.open(P5, P2, plan, { mayBranchOff: true });
    assert.ok(disk !== undefined && disk.knownHashesPath !== null);
    const known = await story.harness.hashes(disk.knownHashesPath);
    assert.deepEqual(known, hashesOf(story.contentOf(P2, 'vda')));
    // What it lies over goes, and what lies beside it, while it is being filled.
    for (const point of [P2, P3, P4]) await story.retire(point);
    await story.fill([disk], plan);
    await story.seal(P5, P2, plan);
    await story.tidy();
    await story.assertPoints();
  });

  storyTest(suite, 'only a point that is there can be lain over', async (story) => {
    await fourPoints(story);
    const gone = story.open(P5, pointId('gone'), vda({}), { mayBranchOff: true });
    await assert.rejects(gone, { code: 'point-missing' });
    await assert.rejects(story.open(P5, P2, vda({})), { code: 'parent-not-newest' });
    const opened = await story.open(P5, P4, vda({ 0: 8 }), { mayBranchOff: true });
    await story.store.discardPartial({ ...story.command(), pointId: P5 }, NEVER);
    assert.equal(opened.length, 1);
    await story.assertPoints();
  });
}

function differingTests(suite: StoreTest): void {
  storyTest(suite, 'two points differ in what the layers between them hold', async (story) => {
    await fourPoints(story);
    assert.deepEqual(await differing(story, P1, P4), [0, 1, 2, 3, 5, 6]);
    assert.deepEqual(await differing(story, P4, P1), [0, 1, 2, 3, 5, 6]);
    assert.deepEqual(await differing(story, P2, P3), [0, 5]);
    assert.deepEqual(await differing(story, P3, P3), []);
    await replicateBeside(story, 'p5', P2, vda({ 1: 20, 7: 21 }));
    assert.deepEqual(await differing(story, P5, P4), [0, 1, 3, 5, 6, 7]);
    assert.deepEqual(await differing(story, P5, P2), [1, 7]);
  });

  storyTest(suite, 'points retired between two do not hide in what they differ', async (story) => {
    await fourPoints(story);
    await replicateBeside(story, 'p5', P2, vda({ 1: 20, 7: 21 }));
    for (const point of [P3, P2]) {
      await story.retire(point);
      await story.tidy();
      await assertTold(story, P1, P4);
      await assertTold(story, P4, P5);
      await assertTold(story, P5, P1);
    }
  });

  storyTest(suite, 'a disk that grew, began anew, came or went', async (story) => {
    const grown = (writes: Record<number, number>, base: 'parent' | 'none') =>
      vda(writes, { sizeBlocks: 20, base });
    const vdb: PointPlan = { vdb: { sizeBlocks: 2, base: 'none', writes: new Map([[0, 1]]) } };
    await story.replicate('p1', null, { ...BASE, ...vdb });
    await story.replicate('p2', P1, grown({ 1: 3, 17: 4 }, 'parent'));
    await story.replicate('p3', P2, { ...grown({ 1: 3 }, 'none'), ...vdb });
    await assertTold(story, P1, P2);
    const all = Array.from({ length: 20 }, (_, block) => block);
    assert.deepEqual(await differing(story, P1, P3), all);
    assert.deepEqual(await differing(story, P3, P2), all);
    assert.deepEqual(await differing(story, P1, P3, 'vdb'), [0, 1]);
    assert.equal(await differing(story, P1, P2, 'vdb'), null);
    for (const [from, to] of [
      [P1, P4],
      [P4, P1],
    ] as const) {
      await assert.rejects(differing(story, from, to), { code: 'point-missing' });
    }
  });
}

/** Null: no word about that disk. */
async function differing(story: Story, fromPointId: PointId, toPointId: PointId, disk = 'vda') {
  const request = { ...story.command(), fromPointId, toPointId };
  const answer = await story.store.differingBlocks(request, NEVER);
  const found = answer.find(({ key }) => key === disk);
  return found === undefined ? null : indexesOf(found.blocks);
}

function indexesOf(set: BlockSet): readonly number[] {
  const all = Array.from({ length: set.blockCount }, (_, block) => block);
  return all.filter((block) => hasBlock(set, block));
}

/** Every block in which they differ is told, as the larger of the two sees it. */
export async function assertTold(story: Story, from: PointId, to: PointId): Promise<void> {
  const [one, two] = [story.contentOf(from, 'vda'), story.contentOf(to, 'vda')];
  const told = (await differing(story, from, to)) ?? [];
  for (let block = 0; block < Math.max(one.length, two.length); block += 1) {
    if ((one[block] ?? 0) === (two[block] ?? 0)) continue;
    assert.ok(told.includes(block), `block ${block} between ${from} and ${to}`);
  }
}
