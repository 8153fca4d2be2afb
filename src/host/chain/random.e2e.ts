/** Random lives of a replica, compared after each step with a model that only knows bytes. */
import assert from 'node:assert/strict';
import { readdir, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertTold, told } from '../../conformance/replica-store/failback.ts';
import { NEVER, REPLICA, Story } from '../../conformance/replica-store/story.ts';
import { type BranchId, branchId, markName, type PointId } from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import { createChainHarness, needsQemu } from './testing/chain-harness.ts';

const BLOCKS = 12;

const writes = fc.dictionary(fc.nat(BLOCKS - 1).map(String), fc.nat(250), { maxKeys: 6 });
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('replicate'),
      writes,
      grow: fc.nat(2),
      seed: fc.nat(5),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('beside'), writes, seed: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('retire'), seed: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('branch'), writes, seed: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('archive'), seed: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete branch'), seed: fc.nat() }) },
  { weight: 1, arbitrary: fc.constant({ do: 'tidy' }) },
  { weight: 1, arbitrary: fc.constant({ do: 'reopen' }) },
);
type Step = {
  readonly do: string;
  readonly seed?: number;
  readonly grow?: number;
  readonly writes?: Readonly<Record<string, number>>;
};

type Branch = {
  readonly id: BranchId;
  readonly fills: readonly number[];
  /** What it wrote over its point. */
  readonly written: readonly number[];
  isArchived: boolean;
};

class Life {
  readonly story: Story;
  readonly branches: Branch[] = [];
  /** Points in the order of sealing that are still there. */
  points: PointId[] = [];
  #made = 0;

  constructor(story: Story) {
    this.story = story;
  }

  async take(step: Step): Promise<void> {
    if (step.do === 'replicate') await this.#replicate(step);
    else if (step.do === 'beside') await this.#beside(step);
    else if (step.do === 'retire') await this.#retire(step);
    else if (step.do === 'branch') await this.#branch(step);
    else if (step.do === 'archive') await this.#archive(step);
    else if (step.do === 'delete branch') await this.#deleteBranch(step);
    else if (step.do === 'tidy') await this.story.tidy();
    else await this.story.reopen();
  }

  /** Every sixth is a new base, as after a shrink. */
  async #replicate({ writes = {}, grow = 0, seed = 0 }: Step): Promise<void> {
    const parent = this.points.at(-1) ?? null;
    const below = parent === null ? [] : this.story.contentOf(parent, 'vda');
    const base = parent === null || seed === 0 ? 'none' : 'parent';
    const sizeBlocks = base === 'none' ? BLOCKS : below.length + grow;
    const plan = { vda: { sizeBlocks, base, writes: blocksOf(writes) } } as const;
    const point = await this.story.replicate(this.#name('p'), parent, plan);
    this.points.push(point.id);
  }

  /** Over any point, as what a failback brings: some lie off the timeline then. */
  async #beside({ writes = {}, seed = 0 }: Step): Promise<void> {
    const parent = this.points[seed % this.points.length];
    if (parent === undefined) return;
    const sizeBlocks = this.story.contentOf(parent, 'vda').length + (seed % 3);
    const plan = { vda: { sizeBlocks, base: 'parent', writes: blocksOf(writes) } } as const;
    const more = { mayBranchOff: true } as const;
    const point = await this.story.replicate(this.#name('p'), parent, plan, more);
    this.points.push(point.id);
  }

  async #retire({ seed = 0 }: Step): Promise<void> {
    const id = this.points[seed % this.points.length];
    if (id === undefined) return;
    await this.story.retire(id);
    this.points = this.points.filter((each) => each !== id);
  }

  async #branch({ writes = {}, seed = 0 }: Step): Promise<void> {
    const point = this.points[seed % this.points.length];
    if (point === undefined) return;
    const id = branchId(this.#name('b'));
    const mark = seed % 3 === 0 ? {} : { mark: markName(`us-${id}`) };
    const command = { ...this.story.command(), branchId: id, pointId: point, ...mark };
    const { disks } = await this.story.store.createBranch(command, NEVER);
    const blocks = blocksOf(writes);
    const { harness } = this.story;
    for (const disk of disks) {
      await (seed % 3 === 1
        ? harness.crashBranch(disk, blocks)
        : harness.writeBranch(disk, blocks));
    }
    const below = this.story.contentOf(point, 'vda');
    const fills = below.map((fill, index) => blocks.get(index) ?? fill);
    this.branches.push({ id, fills, written: [...blocks.keys()], isArchived: false });
  }

  async #archive({ seed = 0 }: Step): Promise<void> {
    const branch = this.branches[seed % this.branches.length];
    if (branch === undefined) return;
    const command = { ...this.story.command(), branchId: branch.id, keepUntil: instant(1) };
    await this.story.store.archiveBranch(command, NEVER);
    branch.isArchived = true;
  }

  async #deleteBranch({ seed = 0 }: Step): Promise<void> {
    const at = seed % Math.max(1, this.branches.length);
    const [branch] = this.branches.splice(at, 1);
    if (branch === undefined) return;
    await this.story.store.deleteBranch({ ...this.story.command(), branchId: branch.id }, NEVER);
  }

  async check(): Promise<void> {
    await this.story.assertPoints();
    for (const { id, fills, written } of this.branches) {
      assert.deepEqual(await this.story.readBranch(id, 'vda'), fills, `branch ${id}`);
      const blocks = await told(this.story, id);
      assert.deepEqual(
        blocks,
        written.toSorted((a, b) => a - b),
        `writes of branch ${id}`,
      );
    }
    for (const from of this.points) {
      for (const to of this.points) await assertTold(this.story, from, to);
    }
    assert.deepEqual(await this.story.store.inspect(REPLICA, NEVER), []);
  }

  /** Every layer looks changed, and none is. */
  async touchAll(folder: string): Promise<void> {
    for (const name of await readdir(join(folder, 'layers'))) {
      await utimes(join(folder, 'layers', name, 'vda.qcow2'), 1, 1);
    }
    await this.#repairAll();
  }

  async loseRecord(folder: string): Promise<void> {
    if (this.points.length === 0) return;
    await rm(join(folder, 'replica.json'));
    await this.story.reopen();
    await this.#repairAll();
  }

  async #repairAll(): Promise<void> {
    for (let round = 0; round < 8; round += 1) {
      const findings = await this.story.store.inspect(REPLICA, NEVER);
      const lost = findings.filter(({ repair }) => repair === 'drop-points' || repair === 'none');
      assert.deepEqual(lost, [], 'everything can be repaired');
      if (findings.length === 0) return;
      await this.story.store.repair({ ...this.story.command(), findings }, NEVER);
    }
  }

  #name(prefix: string): string {
    this.#made += 1;
    return `${prefix}${this.#made}`;
  }
}

function blocksOf(writes: Readonly<Record<string, number>>): ReadonlyMap<number, number> {
  return new Map(Object.entries(writes).map(([index, fill]) => [Number(index), fill]));
}

test('random lives keep every point and branch exact', { skip: needsQemu }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 14 }), async (steps) => {
      await using harness = await createChainHarness();
      const life = new Life(await Story.begin(harness));
      // Something to begin with, so that few runs already say much.
      for (const fill of [1, 2, 3]) {
        await life.take({ do: 'replicate', seed: 1, writes: { 0: fill, [fill]: fill, 5: 0 } });
      }
      for (const each of steps) await life.take(each);
      await life.check();
      await life.story.tidy();
      await life.check();
      await life.touchAll(join(harness.storageFolder, REPLICA));
      await life.check();
      await life.loseRecord(join(harness.storageFolder, REPLICA));
      await life.check();
    }),
    { numRuns: Number(process.env.CHAIN_RUNS ?? 2) },
  );
});
