import assert from 'node:assert/strict';
import { chmod, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { NEVER, type PointPlan, REPLICA, Story } from '../../conformance/replica-store/story.ts';
import { branchId, pointId } from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import type { ReplicaFinding } from '../../domain/replica/finding.ts';
import {
  type ChainHarness,
  createChainHarness,
  needsQemu,
  writeFills,
} from './testing/chain-harness.ts';

const P1 = pointId('p1');
const P2 = pointId('p2');
const P3 = pointId('p3');
const writes = (base: 'none' | 'parent', ...blocks: (readonly [number, number])[]): PointPlan => ({
  vda: { sizeBlocks: 8, base, writes: new Map(blocks) },
});

type Replica = { readonly harness: ChainHarness; readonly story: Story; readonly folder: string };

function repairTest(name: string, run: (replica: Replica) => Promise<void>): void {
  test(name, async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    await story.replicate('p1', null, writes('none', [0, 1], [1, 2]));
    await story.replicate('p2', P1, writes('parent', [1, 3]));
    await story.replicate('p3', P2, writes('parent', [2, 4]));
    await run({ harness, story, folder: join(harness.storageFolder, REPLICA) });
  });
}

function layersOf({ folder }: Replica): Promise<readonly string[]> {
  return readdir(join(folder, 'layers'));
}

async function imageOf({ story, folder }: Replica, id: typeof P1): Promise<string> {
  const point = (await story.store.points(REPLICA, NEVER)).find((each) => each.id === id);
  return join(folder, 'layers', point?.disks[0]?.layerId ?? '', 'vda.qcow2');
}

async function inspect({ story }: Replica): Promise<readonly ReplicaFinding[]> {
  return await story.store.inspect(REPLICA, NEVER);
}

async function repair(replica: Replica): Promise<void> {
  const findings = await inspect(replica);
  await replica.story.store.repair({ ...replica.story.command(), findings }, NEVER);
}

function summary(findings: readonly ReplicaFinding[]) {
  return findings.map(({ kind, repair, pointIds }) => [kind, repair, ...pointIds]);
}

describe('rescan and repair', { skip: needsQemu }, () => {
  repairTest('a layer that was only touched is read again and accepted', async (replica) => {
    const { story } = replica;
    await utimes(await imageOf(replica, P2), 1, 1);
    assert.deepEqual(summary(await inspect(replica)), [['layer-changed', 'rehash-layer', P2, P3]]);
    const drifted = { code: 'replica-drifted' };
    await assert.rejects(story.open(pointId('p4'), P3, writes('parent')), drifted);
    await assert.rejects(story.branch('b1', P3), drifted);
    await assert.rejects(story.retire(P1), drifted);
    story.content.delete(P1);
    await assert.rejects(story.branch('b1', P2), drifted);
    const anyhow = {
      ...story.command(),
      branchId: branchId('b2'),
      pointId: P2,
      acceptsDrift: true,
    };
    assert.equal((await story.store.createBranch(anyhow, NEVER)).disks.length, 1);
    await story.store.deleteBranch(anyhow, NEVER);
    await repair(replica);
    assert.deepEqual(await inspect(replica), []);
    await story.assertPoints();
  });

  repairTest('an archive that was touched is gone on from only as asked', async (replica) => {
    const { story, folder } = replica;
    const archived = branchId('b1');
    await story.branch(archived, P2);
    const keepUntil = instant(1_900_000_000_000);
    await story.store.archiveBranch({ ...story.command(), branchId: archived, keepUntil }, NEVER);
    const over = { ...story.command(), branchId: branchId('b2'), pointId: P2, archiveId: archived };
    const drifted = { code: 'replica-drifted' };
    const image = join(folder, 'branches', archived, 'vda.qcow2');
    await chmod(image, 0o644);
    await utimes(image, 1, 1);
    await utimes(await imageOf(replica, P2), 1, 1);
    await assert.rejects(story.store.createBranch(over, NEVER), drifted);
    const anyhow = { ...over, acceptsDrift: true };
    assert.equal((await story.store.createBranch(anyhow, NEVER)).disks.length, 1);
    await story.store.deleteBranch(over, NEVER);
    await rm(image);
    await assert.rejects(story.store.createBranch(anyhow, NEVER), drifted);
  });

  repairTest(
    'a layer that was written to takes its points with it; older ones stay',
    async (replica) => {
      const { story } = replica;
      const image = await imageOf(replica, P2);
      await chmod(image, 0o644);
      await writeFills(image, 'qcow2', new Map([[5, 99]]));
      await repair(replica);
      assert.deepEqual(summary(await inspect(replica)), [['layer-changed', 'drop-points', P2, P3]]);
      await repair(replica);
      for (const id of [P2, P3]) story.content.delete(id);
      assert.deepEqual(await inspect(replica), []);
      await story.assertPoints();
      await story.replicate('p4', P1, writes('parent', [7, 7]));
      await story.assertPoints();
    },
  );

  repairTest(
    'a damaged layer below an archive is merged nowhere, and all else goes on',
    async (replica) => {
      const { story } = replica;
      const archived = branchId('b1');
      await story.branch(archived, P3);
      const keepUntil = instant(1_900_000_000_000);
      await story.store.archiveBranch({ ...story.command(), branchId: archived, keepUntil }, NEVER);
      const image = await imageOf(replica, P2);
      await chmod(image, 0o644);
      await writeFills(image, 'qcow2', new Map([[5, 99]]));
      await repair(replica);
      await repair(replica);
      for (const id of [P2, P3]) story.content.delete(id);
      await story.assertPoints();
      const [told] = await inspect(replica);
      assert.match(told?.message ?? '', /No restore point reads it any more, only archive b1:/);
      await story.replicate('p4', P1, writes('parent', [7, 7]));
      await story.replicate('p5', pointId('p4'), writes('parent', [6, 8]));
      const drifted = { code: 'replica-drifted' };
      await assert.rejects(story.retire(pointId('p4')), drifted);
      story.content.delete(pointId('p4'));
      await story.assertPoints();
      assert.equal((await layersOf(replica)).length, 4, 'that of p5 went down into that of p4');
      await story.store.deleteBranch({ ...story.command(), branchId: archived }, NEVER);
      await story.store.tidy(story.command(), NEVER);
      assert.equal((await layersOf(replica)).length, 2);
      await story.assertPoints();
    },
  );

  repairTest('a missing layer, and one that lies over another, are given up', async (replica) => {
    await rm(await imageOf(replica, P3));
    assert.deepEqual(summary(await inspect(replica)), [['layer-missing', 'drop-points', P3]]);
    await repair(replica);
    replica.story.content.delete(P3);
    assert.deepEqual(await inspect(replica), []);
    await replica.story.assertPoints();
  });

  repairTest('a damaged point file is named, blocks changes, and goes alone', async (replica) => {
    const { story, folder } = replica;
    const path = join(folder, 'points', 'p2.json');
    await writeFile(path, '{"formatVersion":1');
    const invalid = { code: 'invalid-file' };
    await assert.rejects(story.store.points(REPLICA, NEVER), invalid);
    await assert.rejects(story.retire(P1), invalid);
    await story.branch('b1', P3);
    assert.deepEqual(summary(await inspect(replica)), [['point-unreadable', 'drop-points', P2]]);
    await repair(replica);
    story.content.delete(P2);
    await story.assertPoints();
    assert.deepEqual(await inspect(replica), []);
  });

  repairTest('a lost record is rebuilt, and every layer read again', async (replica) => {
    const { story, folder } = replica;
    await story.branch('b1', P2);
    for (const damage of [
      () => rm(join(folder, 'replica.json')),
      () => writeFile(join(folder, 'replica.json'), '[]'),
    ]) {
      await damage();
      assert.deepEqual(summary(await inspect(replica)), [
        ['record-missing', 'rehash-layer', P1, P2, P3],
      ]);
      await repair(replica);
      const kinds = (await inspect(replica)).map(({ repair }) => repair);
      assert.deepEqual(kinds, ['rehash-layer', 'rehash-layer', 'rehash-layer']);
      await repair(replica);
      assert.deepEqual(await inspect(replica), []);
      await story.assertPoints();
    }
  });

  repairTest(
    'what an interrupted run left is discarded; what others put there is left',
    async (replica) => {
      const { story, folder } = replica;
      await story.open(pointId('p4'), P3, writes('parent'));
      await story.reopen();
      await writeFile(join(folder, 'README'), 'mine');
      await writeFile(join(folder, 'points', 'p9.nvram'), 'of no point');
      assert.deepEqual(summary(await inspect(replica)), [
        ['partial-left', 'discard-partial'],
        ['foreign-file', 'none'],
        ['foreign-file', 'delete-debris'],
      ]);
      await repair(replica);
      assert.deepEqual(summary(await inspect(replica)), [['foreign-file', 'none']]);
      assert.equal(await readFile(join(folder, 'README'), 'utf8'), 'mine');
      assert.equal((await readdir(join(folder, 'layers'))).length, 3);
      await story.assertPoints();
    },
  );
});
