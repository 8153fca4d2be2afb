/** The bitmaps that branches are made with: what others make of them, and that they go when nobody needs them. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { NEVER, type PointPlan, REPLICA, Story } from '../../conformance/replica-store/story.ts';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { branchId, markName, operationId, operationKey, pointId } from '../../domain/ids.ts';
import { systemClock } from '../../system/clock.ts';
import { createMover } from '../mover/mover.ts';
import { hasUsableBitmap, readBitmaps } from './qcow2-bitmaps.ts';
import { createChainHarness, needsQemu, qemu, readFills } from './testing/chain-harness.ts';

const P1 = pointId('p1');
const B1 = branchId('b1');
const MARK = markName('us-b1');
const DISK = { sizeBlocks: 8, base: 'none', writes: new Map([[0, 1]]) } as const;
const BASE: PointPlan = { vda: DISK, vdb: { ...DISK, sizeBlocks: 3 } };

async function marked(story: Story) {
  await story.replicate('p1', null, BASE);
  const command = { ...story.command(), branchId: B1, pointId: P1, mark: MARK };
  return (await story.store.createBranch(command, NEVER)).disks;
}

/** A QEMU that has the image open for writing, until it is ended. */
async function holdOpen(path: string) {
  const holder = spawn('qemu-io', ['-f', 'qcow2', path], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(holder, 'exit');
  holder.stdin.write('length\n');
  await once(holder.stdout, 'data');
  return async () => {
    holder.stdin.end('quit\n');
    await exited;
  };
}

describe('marks of branches', { skip: needsQemu }, () => {
  test('QEMU knows the bitmap of every disk and goes on with it', async () => {
    await using harness = await createChainHarness();
    const disks = await marked(await Story.begin(harness));
    assert.equal(disks.length, 2);
    for (const { path } of disks) {
      await qemu('qemu-img', ['check', '-q', path]);
      const { 'format-specific': specific } = JSON.parse(
        await qemu('qemu-img', ['info', '--output=json', path]),
      );
      const { bitmaps } = specific.data;
      assert.deepEqual(bitmaps, [{ name: MARK, granularity: BLOCK_BYTES, flags: ['auto'] }]);
    }
  });

  test('a branch of an older version has no mark, and its files tell what it wrote', async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    const disks = await marked(story);
    const path = join(disks[0]?.path ?? '', '..', 'branch.json');
    const { mark, ...older } = JSON.parse(await readFile(path, 'utf8'));
    assert.equal(mark, MARK);
    await writeFile(path, JSON.stringify(older));
    for (const disk of disks) await harness.writeBranch(disk, new Map([[2, 7]]));
    const reading = { ...story.command(), of: { branchId: B1 } };
    const [vda] = await story.store.openReading(reading, NEVER);
    assert.deepEqual(vda?.extents, { type: 'changed', metaContext: 'qemu:allocation-depth' });
    await story.store.closeReading(reading, NEVER);
  });

  test('the mark goes with the promotion, or after it when a QEMU has the disks', async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    const disks = await marked(story);
    for (const disk of disks) await harness.writeBranch(disk, new Map([[2, 7]]));
    for (const disk of disks) await harness.flattenBranch(disk);
    const [vda, vdb] = disks.map(({ path }) => path);
    assert.ok(vda !== undefined && vdb !== undefined);
    const release = await holdOpen(vdb);
    await story.store.promoteBranch({ ...story.command(), branchId: B1 }, NEVER);
    assert.deepEqual(await readBitmaps(vda), []);
    await story.tidy();
    await release();
    assert.equal(await hasUsableBitmap(vdb, MARK), true, 'it was left alone');
    await story.tidy();
    for (const path of [vda, vdb]) {
      assert.deepEqual(await readBitmaps(path), []);
      await qemu('qemu-img', ['check', '-q', path]);
    }
    assert.deepEqual(await readFills(vdb, 'qcow2', 3 * BLOCK_BYTES), [1, 0, 7]);
  });

  test('what a branch has written, moved over its point, makes the two equal: by its mark, and without', async () => {
    for (const isLost of [false, true]) {
      await using harness = await createChainHarness();
      const story = await Story.begin(harness);
      const mover = createMover({ clock: systemClock() });
      const disks = await marked(story);
      const writes = new Map([
        [0, 0],
        [2, 7],
      ]);
      for (const disk of disks) {
        await (isLost ? harness.crashBranch(disk, writes) : harness.writeBranch(disk, writes));
      }
      await story.replicate('p2', P1, {
        vda: { ...DISK, base: 'parent', writes: new Map([[5, 5]]) },
      });
      const command = story.command();
      const reading = { ...command, of: { branchId: B1 } };
      const readable = await story.store.openReading(reading, NEVER);
      const opened = await story.store.openPartial(
        {
          ...{ ...story.command(), pointId: pointId('p3'), parentPointId: P1, mayBranchOff: true },
          disks: readable.map(({ key, sizeBytes }) => {
            return { key, sizeBytes, base: 'parent', wantsKnownHashes: false } as const;
          }),
        },
        NEVER,
      );
      for (const [index, { endpoint: source, sizeBytes, extents }] of readable.entries()) {
        const target = opened[index];
        assert.ok(target);
        const request = {
          ...{ key: operationKey(operationId('op'), 'copy'), source, sizeBytes, extents },
          ...{ target: target.target, recordsPath: target.recordsPath, knownHashesPath: null },
        };
        const more = { targetReads: 'parent', bytesPerSecondMax: null } as const;
        const { sentBytes, zeroedBytes } = await mover.transfer({ ...request, ...more }, NEVER);
        assert.deepEqual([sentBytes, zeroedBytes], [BLOCK_BYTES, BLOCK_BYTES]);
      }
      await story.store.closeReading(command, NEVER);
      const plan: PointPlan = {
        vda: { ...DISK, base: 'parent', writes },
        vdb: { ...DISK, sizeBlocks: 3, base: 'parent', writes },
      };
      const sealed = await story.seal(pointId('p3'), P1, plan);
      await story.assertPoints();
      for (const { key, layerId } of sealed.disks) {
        const layer = join(harness.storageFolder, REPLICA, 'layers', layerId, `${key}.qcow2`);
        const branch = disks.find((disk) => disk.key === key)?.path ?? '';
        await qemu('qemu-img', ['compare', '-f', 'qcow2', '-F', 'qcow2', layer, branch]);
      }
      assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
    }
  });
});
