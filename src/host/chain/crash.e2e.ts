/**
 * Dying at every named line. The store throws there, is abandoned as it is, and another one takes over the folder;
 * the same command is then given again, as a durable engine would.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { NEVER, type PointPlan, REPLICA, Story } from '../../conformance/replica-store/story.ts';
import { branchId, markName, pointId } from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';
import { type ChainHarness, createChainHarness, needsQemu } from './testing/chain-harness.ts';

const P1 = pointId('p1');
const P2 = pointId('p2');
const P3 = pointId('p3');
const BASE: PointPlan = {
  vda: {
    sizeBlocks: 8,
    base: 'none',
    writes: new Map([
      [0, 1],
      [1, 2],
    ]),
  },
};
const change = (...writes: (readonly [number, number])[]): PointPlan => ({
  vda: { sizeBlocks: 9, base: 'parent', writes: new Map(writes) },
});

const MARKED = { branchId: branchId('b1'), pointId: P2, mark: markName('us-b1') };

type Situation = {
  readonly harness: ChainHarness;
  readonly story: Story;
  /** From here on the store dies at the named line, every time. */
  readonly dieAt: (name: string) => void;
  readonly reached: Set<string>;
};

class Died extends Error {}

async function situation(): Promise<Situation> {
  const harness = await createChainHarness();
  const story = await Story.begin(harness);
  const reached = new Set<string>();
  let fatal: string | null = null;
  const onCrashPoint = (name: string) => {
    reached.add(name);
    if (name === fatal) throw new Died(name);
  };
  story.store = harness.openWith({ onCrashPoint });
  return {
    harness,
    story,
    reached,
    dieAt: (name) => {
      fatal = name;
    },
  };
}

type Scenario = {
  readonly prefixes: readonly string[];
  readonly prepare: (story: Story) => Promise<void>;
  readonly command: (story: Story) => Promise<unknown>;
  readonly check: (story: Story) => Promise<void>;
};

async function sound(story: Story): Promise<void> {
  await story.assertPoints();
  assert.deepEqual(await story.store.inspect(REPLICA, NEVER), []);
}

async function threePoints(story: Story): Promise<void> {
  await story.replicate('p1', null, BASE);
  await story.replicate('p2', P1, change([1, 3], [2, 4]));
  await story.replicate('p3', P2, change([0, 0], [8, 5]));
}

async function archivedOver(story: Story, id: typeof P1): Promise<void> {
  const branch = await story.branch('archived', id);
  const archive = { ...story.command(), branchId: branch.id, keepUntil: instant(1) };
  await story.store.archiveBranch(archive, NEVER);
}

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  replicate: {
    prefixes: ['open:', 'seal:'],
    prepare: async (story) => {
      await story.replicate('p1', null, BASE);
    },
    command: async (story) => {
      const plan = change([0, 9], [8, 8]);
      const points = await story.store.points(REPLICA, NEVER);
      const isSealed = points.some(({ id }) => id === P2);
      if (!isSealed) await story.fill(await story.open(P2, P1, plan), plan);
      await story.seal(P2, P1, plan);
    },
    check: sound,
  },
  discard: {
    prefixes: ['discard:'],
    prepare: async (story) => {
      await story.replicate('p1', null, BASE);
      await story.open(P2, P1, change());
    },
    command: (story) => story.store.discardPartial({ ...story.command(), pointId: P2 }, NEVER),
    check: async (story) => {
      await story.tidy();
      await sound(story);
    },
  },
  'retire the oldest': {
    prefixes: ['retire:', 'merge:'],
    prepare: async (story) => {
      await threePoints(story);
      await archivedOver(story, P2);
    },
    command: (story) => story.retire(P1),
    check: async (story) => {
      await sound(story);
      const archived = await story.readBranch(branchId('archived'), 'vda');
      assert.deepEqual(archived, story.contentOf(P2, 'vda'));
    },
  },
  'retire the newest': {
    prefixes: ['retire:', 'remove:'],
    prepare: threePoints,
    command: (story) => story.retire(P3),
    check: sound,
  },
  branch: {
    prefixes: ['branch:'],
    prepare: threePoints,
    command: (story) => story.store.createBranch({ ...story.command(), ...MARKED }, NEVER),
    check: sound,
  },
  'branch over an archive': {
    prefixes: ['branch:'],
    prepare: async (story) => {
      await threePoints(story);
      await story.store.createBranch({ ...story.command(), ...MARKED }, NEVER);
      const archive = { ...story.command(), branchId: MARKED.branchId, keepUntil: instant(1) };
      await story.store.archiveBranch(archive, NEVER);
    },
    command: (story) => {
      const over = { ...MARKED, branchId: branchId('over'), archiveId: MARKED.branchId };
      return story.store.createBranch({ ...story.command(), ...over }, NEVER);
    },
    check: sound,
  },
  'replicate beside newer points': {
    prefixes: ['open:', 'seal:'],
    prepare: threePoints,
    command: async (story) => {
      const plan = change([0, 9], [8, 8]);
      const id = pointId('p4');
      const points = await story.store.points(REPLICA, NEVER);
      if (!points.some((point) => point.id === id)) {
        await story.fill(await story.open(id, P1, plan, { mayBranchOff: true }), plan);
      }
      await story.seal(id, P1, plan);
    },
    check: sound,
  },
  archive: {
    prefixes: ['archive:'],
    prepare: async (story) => {
      await threePoints(story);
      await story.branch('archived', P2);
    },
    command: (story) => archivedOver(story, P2),
    check: sound,
  },
  promote: {
    prefixes: ['promote:'],
    prepare: async (story) => {
      await threePoints(story);
      await archivedOver(story, P1);
      const { disks } = await story.store.createBranch({ ...story.command(), ...MARKED }, NEVER);
      for (const disk of disks) await story.harness.flattenBranch(disk);
    },
    command: async (story) => {
      const { branchId: id } = MARKED;
      const branches = await story.store.branches(REPLICA, NEVER);
      if (!branches.some((branch) => branch.id === id)) return story.tidy();
      await story.store.promoteBranch({ ...story.command(), branchId: id }, NEVER);
    },
    check: async (story) => {
      story.content.clear();
      await sound(story);
    },
  },
};

describe('dying at every line', { skip: needsQemu }, () => {
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    test(name, async () => {
      const lines = await linesOf(scenario);
      assert.ok(lines.length > 0, 'the command has crash points');
      for (const line of lines) await dieOnce(scenario, line);
    });
  }
});

/** Runs the command once unharmed, which also says which lines it passes. */
async function linesOf(scenario: Scenario): Promise<readonly string[]> {
  const { harness, story, reached } = await situation();
  await using _ = harness;
  await scenario.prepare(story);
  reached.clear();
  await scenario.command(story);
  await scenario.check(story);
  return [...reached].filter((line) => scenario.prefixes.some((prefix) => line.startsWith(prefix)));
}

async function dieOnce(scenario: Scenario, line: string): Promise<void> {
  const { harness, story, dieAt } = await situation();
  await using _ = harness;
  await scenario.prepare(story);
  dieAt(line);
  await assert.rejects(scenario.command(story), { code: 'unexpected' }, `dies at ${line}`);
  await story.reopen();
  try {
    await pointsAreExact(story);
    await scenario.command(story);
    await scenario.check(story);
  } catch (error) {
    throw new Error(`after dying at "${line}"`, { cause: error });
  }
}

/** Before anything is repeated: every point that is listed reads as the model says. */
async function pointsAreExact(story: Story): Promise<void> {
  for (const point of await story.store.points(REPLICA, NEVER)) {
    if (story.content.has(point.id)) await story.assertPoint(point);
  }
}
