/** Layers read again by the mover itself, not by a stand-in: zeros over a parent, a grown disk, a lost record. */
import assert from 'node:assert/strict';
import { chmod, readdir, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { NEVER, type PointPlan, REPLICA, Story } from '../../conformance/replica-store/story.ts';
import { pointId } from '../../domain/ids.ts';
import type { Mover } from '../../ports/mover.ts';
import { systemClock } from '../../system/clock.ts';
import { createMover } from '../mover/mover.ts';
import {
  type ChainHarness,
  createChainHarness,
  needsQemu,
  writeFills,
} from './testing/chain-harness.ts';

const P1 = pointId('p1');
const P2 = pointId('p2');
const plan = (
  base: 'none' | 'parent',
  sizeBlocks: number,
  ...blocks: (readonly [number, number])[]
): PointPlan => ({ vda: { sizeBlocks, base, writes: new Map(blocks) } });

async function begin(
  mover: Mover,
): Promise<{ harness: ChainHarness; story: Story; folder: string }> {
  const harness = await createChainHarness();
  const inside = { ...harness, open: async () => harness.openWith({ verifier: mover }) };
  const story = await Story.begin(inside);
  await story.replicate('p1', null, plan('none', 300, [0, 1], [1, 2], [299, 3]));
  await story.replicate('p2', P1, plan('parent', 310, [1, 0], [2, 4], [309, 5]));
  await story.replicate('p3', P2, plan('parent', 310, [299, 0], [0, 6]));
  return { harness, story, folder: join(harness.storageFolder, REPLICA) };
}

async function imagesOf(folder: string): Promise<readonly string[]> {
  const layers = await readdir(join(folder, 'layers'));
  return layers.map((name) => join(folder, 'layers', name, 'vda.qcow2'));
}

async function repairAll(story: Story): Promise<readonly string[]> {
  const findings = await story.store.inspect(REPLICA, NEVER);
  await story.store.repair({ ...story.command(), findings }, NEVER);
  return (await story.store.inspect(REPLICA, NEVER)).map(({ repair }) => repair);
}

test('the mover accepts layers that were only touched, and a rebuilt record', {
  skip: needsQemu,
}, async () => {
  const { harness, story, folder } = await begin(createMover({ clock: systemClock(), workers: 1 }));
  await using _ = harness;
  for (const image of await imagesOf(folder)) await utimes(image, 1, 1);
  assert.deepEqual(await repairAll(story), []);
  await rm(join(folder, 'replica.json'));
  assert.deepEqual(await repairAll(story), ['rehash-layer', 'rehash-layer', 'rehash-layer']);
  assert.deepEqual(await repairAll(story), []);
  await story.assertPoints();
});

test('the mover finds a block that was changed, cleared or added', {
  skip: needsQemu,
}, async () => {
  for (const change of [
    [2, 99],
    [2, 0],
    [200, 9],
    // Hides what the layer below holds, as trimming a mounted layer does: read alone, the layer has not changed.
    [0, 0],
  ] as const) {
    const { harness, story } = await begin(createMover({ clock: systemClock(), workers: 1 }));
    await using _ = harness;
    const [, middle] = await story.store.points(REPLICA, NEVER);
    const layer = middle?.disks[0]?.layerId ?? '';
    const image = join(harness.storageFolder, REPLICA, 'layers', layer, 'vda.qcow2');
    await chmod(image, 0o644);
    await writeFills(image, 'qcow2', new Map([change]));
    assert.deepEqual(await repairAll(story), ['drop-points'], `block ${change[0]}`);
    assert.deepEqual(await repairAll(story), []);
    story.content.delete(P2);
    story.content.delete(pointId('p3'));
    await story.assertPoints();
  }
});
