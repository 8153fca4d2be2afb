/** A record lost while layers were being merged: what was readable before must be readable after the repair. */
import assert from 'node:assert/strict';
import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { NEVER, type PointPlan, REPLICA, Story } from '../../conformance/replica-store/story.ts';
import { type PointId, pointId } from '../../domain/ids.ts';
import { systemProcesses } from '../../system/processes.ts';
import {
  type ChainHarness,
  createChainHarness,
  needsQemu,
  writeFills,
} from './testing/chain-harness.ts';

const [P0, P1, P2, P3] = ['p0', 'p1', 'p2', 'p3'].map(pointId) as [
  PointId,
  PointId,
  PointId,
  PointId,
];
const writes = (base: 'none' | 'parent', ...blocks: (readonly [number, number])[]): PointPlan => ({
  vda: { sizeBlocks: 8, base, writes: new Map(blocks) },
});

type Replica = { readonly harness: ChainHarness; readonly story: Story; readonly folder: string };

function lossTest(name: string, run: (replica: Replica) => Promise<void>): void {
  test(name, async () => {
    await using harness = await createChainHarness();
    const story = await Story.begin(harness);
    await story.replicate('p0', null, writes('none', [0, 1], [1, 2]));
    await story.replicate('p1', P0, writes('parent', [1, 3], [2, 4]));
    await run({ harness, story, folder: join(harness.storageFolder, REPLICA) });
  });
}

/** Loses the record, and repairs until there is nothing left to repair. */
async function loseAndRepair({ story, folder }: Replica): Promise<void> {
  await rm(join(folder, 'replica.json'));
  await story.reopen();
  for (let round = 0; round < 8; round += 1) {
    const findings = await story.store.inspect(REPLICA, NEVER);
    if (findings.length === 0) return;
    const dropped = findings.filter(({ repair }) => repair === 'drop-points');
    assert.deepEqual(dropped, [], 'nothing that can be read is given up');
    await story.store.repair({ ...story.command(), findings }, NEVER);
  }
  assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
}

async function imageOf({ story, folder }: Replica, id: PointId): Promise<string> {
  const point = (await story.store.points(REPLICA, NEVER)).find((each) => each.id === id);
  return join(folder, 'layers', point?.disks[0]?.layerId ?? '', 'vda.qcow2');
}

describe('a record lost in the middle of a merge', { skip: needsQemu }, () => {
  for (const [upper, lower] of [
    [P1, P0],
    [P2, P1],
  ] as const) {
    lossTest(`two hidden layers, ${upper} half in ${lower}`, async (replica) => {
      const { story } = replica;
      await story.replicate('p2', P1, writes('parent', [2, 5], [3, 6]));
      const content = { p1: [[1, 3]], p2: [[2, 5]] } as const;
      const into = await imageOf(replica, lower);
      const branch = await story.branch('b1', P2);
      await story.retire(P0);
      await story.retire(P1);
      await story.store.deleteBranch({ ...story.command(), branchId: branch.id }, NEVER);
      await chmod(into, 0o644);
      await writeFills(into, 'qcow2', new Map(content[upper === P1 ? 'p1' : 'p2']));
      await loseAndRepair(replica);
      await story.assertPoints();
      await story.replicate('p3', P2, writes('parent', [4, 7]));
      await story.tidy();
      await story.assertPoints();
    });
  }

  lossTest(
    'a layer with two children, of which one was put over the merged layer',
    async (replica) => {
      const { story, harness, folder } = replica;
      await story.replicate('p2', P1, writes('parent', [3, 5]));
      const file = join(folder, 'points', 'p2.json');
      const point = JSON.parse(await readFile(file, 'utf8'));
      // As if sealed before its parent: then the next point lies over that one, too.
      await writeFile(file, JSON.stringify({ ...point, sealedAt: point.sealedAt - 90_000 }));
      await story.replicate('p3', P1, writes('parent', [4, 6]));
      const real = systemProcesses();
      let rebased = 0;
      const run: typeof real.run = (command, options) => {
        if (command.arguments[0] === 'rebase') rebased += 1;
        if (rebased > 1) throw new Error('died');
        return real.run(command, options);
      };
      story.store = harness.openWith({ processes: { ...real, run } });
      await assert.rejects(story.retire(P0), { code: 'unexpected' });
      story.content.delete(P0);
      await loseAndRepair(replica);
      await story.assertPoints();
      await story.tidy();
      await story.assertPoints();
    },
  );

  lossTest('half merged under a branch that is open', async (replica) => {
    const { story } = replica;
    await story.replicate('p2', P1, writes('parent', [2, 5], [3, 6]));
    const [into, branch] = [await imageOf(replica, P0), await story.branch('b1', P2)];
    await story.retire(P0);
    await chmod(into, 0o644);
    await writeFills(into, 'qcow2', new Map([[1, 3]]));
    await loseAndRepair(replica);
    await story.assertPoints();
    await story.store.deleteBranch({ ...story.command(), branchId: branch.id }, NEVER);
    await story.tidy();
    await loseAndRepair(replica);
    await story.assertPoints();
  });
});
void P3;
