import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { NEVER, type PointPlan, REPLICA, Story } from '../../conformance/replica-store/story.ts';
import { pointId } from '../../domain/ids.ts';
import { replicaLayout } from './layout.ts';
import { createChainHarness, needsQemu } from './testing/chain-harness.ts';

const P1 = pointId('p1');
const ONE: PointPlan = { vda: { sizeBlocks: 4, base: 'none', writes: new Map([[1, 1]]) } };
const OTHER: PointPlan = { vda: { sizeBlocks: 4, base: 'none', writes: new Map([[2, 2]]) } };

describe('a partial point is flushed only when it is sealed', { skip: needsQemu }, () => {
  test('so after the kernel was started anew it is refused, made afresh, and holds nothing of before', async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    story.store = harness.openWith({ bootId: async () => 'first' });
    await story.fill(await story.open(P1, null, ONE), ONE);
    story.store = harness.openWith({ bootId: async () => 'second' });
    await assert.rejects(story.seal(P1, null, ONE), { code: 'verification-failed' });
    await story.fill(await story.open(P1, null, OTHER), OTHER);
    await story.seal(P1, null, OTHER);
    await story.assertPoints();
    assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
  });

  test('under the same kernel the death of any process loses nothing', async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    await story.fill(await story.open(P1, null, ONE), ONE);
    await story.reopen();
    await story.seal(P1, null, ONE);
    await story.assertPoints();
  });

  test('one of a version that flushed is taken as it is', async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    await story.fill(await story.open(P1, null, ONE), ONE);
    const path = replicaLayout(join(harness.storageFolder), REPLICA).record;
    const record = JSON.parse(await readFile(path, 'utf8'));
    assert.equal(typeof record.partials[0].bootId, 'string');
    delete record.partials[0].bootId;
    await writeFile(path, JSON.stringify(record));
    story.store = harness.openWith({ bootId: async () => 'another' });
    await story.seal(P1, null, ONE);
    await story.assertPoints();
  });
});
