import assert from 'node:assert/strict';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { diskKey, pointId } from '../../domain/ids.ts';
import type { BlockFills } from '../replica-store.ts';
import {
  hashesOf,
  NEVER,
  type PointPlan,
  REPLICA,
  type StoreTest,
  type Story,
  storyTest,
} from './story.ts';

const P1 = pointId('p1');
const VDA = diskKey('vda');
const BLOCKS = 320;
const SEED: BlockFills = new Map([
  [0, 1],
  [1, 2],
  [2, 3],
  [300, 4],
]);
/** What the source has that the seed has not: another block, a zero block and a new one. */
const DIFFERENT: BlockFills = new Map([
  [1, 8],
  [2, 0],
  [301, 9],
]);
const EMPTY: PointPlan = { vda: { sizeBlocks: BLOCKS, base: 'none', writes: new Map() } };
const WHOLE: PointPlan = {
  vda: { sizeBlocks: BLOCKS, base: 'none', writes: new Map([...SEED, ...DIFFERENT]) },
};

export function seedTests(suite: StoreTest): void {
  storyTest(
    suite,
    'a point over a seed is one layer of both, with the hashes of both',
    async (story) => {
      await settle(story);
      const [disk] = await openOver(story);
      assert.ok(disk?.knownHashesPath);
      const seeded = Array.from({ length: BLOCKS }, (_, index) => SEED.get(index) ?? 0);
      assert.deepEqual(await story.harness.hashes(disk.knownHashesPath), hashesOf(seeded));
      await story.harness.write(disk, DIFFERENT, 'parent');
      await story.seal(P1, null, WHOLE);
      await story.assertPoints();
      assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
      // Merged away and drawn from as any base is.
      await story.replicate('p2', P1, {
        vda: {
          sizeBlocks: BLOCKS,
          base: 'parent',
          writes: new Map([
            [300, 0],
            [4, 5],
          ]),
        },
      });
      await story.retire(P1);
      await story.tidy();
      await story.assertPoints();
    },
  );

  storyTest(
    suite,
    'what was settled survives a restart, and a transfer that is repeated',
    async (story) => {
      await settle(story);
      const [first] = await openOver(story);
      assert.ok(first);
      await story.harness.write(first, DIFFERENT, 'parent');
      await story.reopen();
      const [again] = await openOver(story);
      assert.ok(again?.knownHashesPath);
      await story.harness.write(again, DIFFERENT, 'parent');
      await story.seal(P1, null, WHOLE);
      await story.assertPoints();
    },
  );

  storyTest(
    suite,
    'base seed is refused where nothing was settled, or it was discarded',
    async (story) => {
      await assert.rejects(openOver(story), { code: 'verification-failed' });
      await settle(story);
      await story.store.discardPartial({ ...story.command(), pointId: P1 }, NEVER);
      await assert.rejects(openOver(story), { code: 'verification-failed' });
      await story.replicate('p1', null, WHOLE);
      await story.assertPoints();
    },
  );

  storyTest(suite, 'an image file is described and read, as far as is wanted', async (story) => {
    const path = await exported(story);
    const file = { key: VDA, path, format: null };
    const sizeBytes = BLOCKS * BLOCK_BYTES;
    assert.deepEqual(await story.store.describeSeed([file], NEVER), [
      { key: VDA, format: 'qcow2', sizeBytes },
    ]);
    for (const shown of [BLOCKS, 2]) {
      const command = story.command();
      const sizeBytesMax = shown * BLOCK_BYTES;
      const files = [{ ...file, sizeBytesMax }];
      const [disk] = await story.store.openSeed({ ...command, files }, NEVER);
      assert.ok(disk);
      assert.equal(disk.sizeBytes, sizeBytesMax);
      const read = await story.harness.read(disk.endpoint, sizeBytesMax);
      assert.deepEqual(
        read,
        Array.from({ length: shown }, (_, i) => SEED.get(i) ?? 0),
      );
      await story.store.closeReading(command, NEVER);
    }
  });

  storyTest(
    suite,
    'a file that is not there, or a layer of a replica, is no seed',
    async (story) => {
      const path = await exported(story);
      const { disks } = await story.replicate('p1', null, WHOLE).then(() => story.branch('b1', P1));
      const [branch] = disks;
      assert.ok(branch);
      for (const wrong of [`${path}.gone`, branch.path]) {
        const file = { key: VDA, path: wrong, format: null };
        await assert.rejects(story.store.describeSeed([file], NEVER), { code: 'seed-unfit' });
      }
    },
  );
}

/** The partial holds the seed, and knows so. */
async function settle(story: Story): Promise<void> {
  const [disk] = await story.open(P1, null, EMPTY);
  assert.ok(disk);
  await story.harness.write(disk, SEED, 'zeros');
  const command = { ...story.command(), pointId: P1 };
  await story.store.settlePartial(command, NEVER);
  await story.store.settlePartial(command, NEVER);
}

function openOver(story: Story) {
  const sizeBytes = BLOCKS * BLOCK_BYTES;
  const disk = { key: VDA, sizeBytes, base: 'seed', wantsKnownHashes: true } as const;
  const request = { ...story.command(), pointId: P1, parentPointId: null, disks: [disk] };
  return story.store.openPartial(request, NEVER);
}

/** An image that stands alone, as a person might bring it. */
async function exported(story: Story): Promise<string> {
  const { key, replicaId } = story.command();
  const command = { key, replicaId, exportId: 'seed' };
  const disks = [{ key: VDA, sizeBytes: BLOCKS * BLOCK_BYTES }];
  const [disk] = await story.store.openExport({ ...command, disks }, NEVER);
  assert.ok(disk);
  await story.harness.write(disk, SEED, 'zeros');
  const { disks: files } = await story.store.sealExport({ ...command, about: null }, NEVER);
  assert.ok(files[0]);
  return files[0].path;
}
