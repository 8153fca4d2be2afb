import assert from 'node:assert/strict';
import { UnderstudyError } from '../../domain/error.ts';
import { pointId } from '../../domain/ids.ts';
import { hashesOf, NEVER, type PointPlan, REPLICA, type StoreTest, storyTest } from './story.ts';

const P1 = pointId('p1');
const P2 = pointId('p2');

/** Block 300 lies under the second node of the hash tree. */
const BASE: PointPlan = {
  vda: {
    sizeBlocks: 320,
    base: 'none',
    writes: new Map([
      [0, 1],
      [1, 2],
      [255, 3],
      [300, 4],
    ]),
  },
  vdb: { sizeBlocks: 8, base: 'none', writes: new Map([[7, 9]]) },
};
const CHANGES: PointPlan = {
  vda: {
    sizeBlocks: 320,
    base: 'parent',
    writes: new Map([
      [1, 0],
      [2, 5],
      [300, 6],
    ]),
  },
  vdb: { sizeBlocks: 8, base: 'parent', writes: new Map() },
};

export function partialTests(suite: StoreTest): void {
  storyTest(
    suite,
    'points read as written, and their roots are those of the whole content',
    async (story) => {
      await story.replicate('p1', null, BASE);
      await story.replicate('p2', P1, CHANGES);
      await story.assertPoints();
      await story.reopen();
      await story.assertPoints();
      assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
    },
  );

  storyTest(
    suite,
    'a partial point is not listed, and is found again after a restart',
    async (story) => {
      await story.fill(await story.open(P1, null, BASE), BASE);
      assert.deepEqual(await story.store.points(REPLICA, NEVER), []);
      await story.reopen();
      await story.open(P1, null, BASE);
      await story.seal(P1, null, BASE);
      await story.assertPoints();
    },
  );

  storyTest(suite, 'sealing again answers the same point', async (story) => {
    const first = await story.replicate('p1', null, BASE);
    assert.deepEqual(await story.seal(P1, null, BASE), first);
    await story.reopen();
    assert.deepEqual(await story.seal(P1, null, BASE), first);
    await story.assertPoints();
  });

  storyTest(suite, 'a discarded partial leaves nothing; a sealed point stays', async (story) => {
    const sealed = await story.replicate('p1', null, BASE);
    await story.fill(await story.open(P2, P1, CHANGES), CHANGES);
    for (const id of [P2, P2, P1, pointId('never-there')]) {
      const answer = await story.store.discardPartial({ ...story.command(), pointId: id }, NEVER);
      assert.deepEqual(answer, id === P1 ? sealed : null);
    }
    await story.assertPoints();
    await assert.rejects(story.seal(P2, P1, CHANGES), { code: 'point-missing' });
    assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
    await story.replicate('p2', P1, CHANGES);
    await story.assertPoints();
  });

  storyTest(suite, 'only the newest point can be lain over', async (story) => {
    await story.replicate('p1', null, BASE);
    await story.replicate('p2', P1, CHANGES);
    const refused = { code: 'parent-not-newest' };
    await assert.rejects(story.open(pointId('p3'), P1, CHANGES), refused);
    await assert.rejects(story.open(pointId('p3'), pointId('gone'), CHANGES), refused);
    const over = { ...CHANGES, vdc: { sizeBlocks: 1, base: 'parent', writes: new Map() } } as const;
    await assert.rejects(story.open(pointId('p3'), P2, over), { code: 'invalid-request' });
  });

  storyTest(
    suite,
    'disks grow, start anew, appear and disappear; older points stay',
    async (story) => {
      await story.replicate('p1', null, BASE);
      await story.replicate('p2', P1, {
        vda: {
          sizeBlocks: 600,
          base: 'parent',
          writes: new Map([
            [319, 11],
            [599, 12],
          ]),
        },
        vdb: { sizeBlocks: 4, base: 'none', writes: new Map([[0, 13]]) },
      });
      await story.replicate('p3', P2, {
        vda: { sizeBlocks: 600, base: 'parent', writes: new Map([[0, 0]]) },
        vdc: { sizeBlocks: 2, base: 'none', writes: new Map() },
      });
      await story.assertPoints();
    },
  );

  storyTest(suite, 'known hashes are of everything the layer reads when opened', async (story) => {
    await story.replicate('p1', null, BASE);
    await story.replicate('p2', P1, CHANGES);
    const plan: PointPlan = {
      vda: { sizeBlocks: 320, base: 'parent', writes: new Map(), wantsKnownHashes: true },
      vdb: { sizeBlocks: 8, base: 'parent', writes: new Map() },
    };
    const [vda, vdb] = await story.open(pointId('p3'), P2, plan);
    assert.ok(vda !== undefined && vda.knownHashesPath !== null);
    assert.equal(vdb?.knownHashesPath, null);
    const known = await story.harness.hashes(vda.knownHashesPath);
    assert.deepEqual(known, hashesOf(story.contentOf(P2, 'vda')));
  });

  storyTest(suite, 'state files of the point come with its branches', async (story) => {
    await story.fill(await story.open(P1, null, BASE), BASE);
    const nvram = await story.harness.sidecar('nvram', 'boot order');
    const tpm = await story.harness.sidecar('tpm', 'secrets');
    await story.seal(P1, null, BASE, [nvram, tpm]);
    const { sidecars } = await story.branch('b1', P1);
    const texts = await Promise.all(sidecars.map(({ path }) => story.harness.sidecarText(path)));
    assert.deepEqual(
      sidecars.map(({ name }) => name),
      ['nvram', 'tpm'],
    );
    assert.deepEqual(texts, ['boot order', 'secrets']);
  });

  storyTest(
    suite,
    'staged state files are there for the seal, and go with the partial',
    async (story) => {
      const { store, harness } = story;
      const P3 = pointId('p3');
      await story.fill(await story.open(P1, null, BASE), BASE);
      const sidecars = [await harness.sidecar('nvram', 'boot order')];
      const command = { ...story.command(), pointId: P1, sidecars };
      await store.stageSidecars(command, NEVER);
      const staged = await store.stageSidecars(command, NEVER);
      const found = (await store.inspect(REPLICA, NEVER)).map(({ kind }) => kind);
      assert.ok(found.every((kind) => kind === 'partial-left'));
      await story.seal(P1, null, BASE, staged);
      assert.deepEqual(await store.stageSidecars(command, NEVER), staged);
      const [kept] = (await story.branch('b1', P1)).sidecars;
      assert.equal(await harness.sidecarText(kept?.path ?? ''), 'boot order');
      const missing = store.stageSidecars({ ...command, pointId: P3 }, NEVER);
      await assert.rejects(
        missing,
        (error) => error instanceof UnderstudyError && error.code === 'point-missing',
      );
      await story.open(P3, P1, CHANGES);
      const again = await store.stageSidecars({ ...command, pointId: P3 }, NEVER);
      await store.discardPartial({ ...story.command(), pointId: P3 }, NEVER);
      await assert.rejects(harness.sidecarText(again[0]?.path ?? ''));
      assert.deepEqual(await store.inspect(REPLICA, NEVER), []);
    },
  );

  storyTest(
    suite,
    'a branch goes on with the state files it is given, its point does not',
    async (story) => {
      const { store, harness } = story;
      await story.fill(await story.open(P1, null, BASE), BASE);
      await story.seal(P1, null, BASE, [await harness.sidecar('nvram', 'boot order')]);
      const { id } = await story.branch('b1', P1);
      const sidecars = [
        await harness.sidecar('nvram', 'other order'),
        await harness.sidecar('tpm', 'secrets'),
      ];
      const command = { ...story.command(), branchId: id, sidecars };
      await store.keepSidecars(command, NEVER);
      await store.keepSidecars(command, NEVER);
      const textsOf = async (name: string) => {
        const branch = await story.branch(name, P1);
        const texts = branch.sidecars.map(({ path }) => harness.sidecarText(path));
        return Promise.all(texts);
      };
      const gone = [{ name: 'nvram', path: `${sidecars[0]?.path}-gone` }] as const;
      await assert.rejects(
        store.keepSidecars({ ...command, sidecars: gone }, NEVER),
        (error) => error instanceof UnderstudyError && error.code === 'invalid-file',
      );
      assert.deepEqual(await textsOf('b1'), ['other order', 'secrets']);
      assert.deepEqual(await textsOf('b2'), ['boot order']);
    },
  );
}
