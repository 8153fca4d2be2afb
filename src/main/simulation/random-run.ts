/**
 * One random run: steps drawn from a seed, played on a simulated site, with the observers of the invariants looking on after
 * every step. A step's draws depend on the seed and its number only, so that steps can be left out to find those that matter.
 */
import { createRandom, type Random } from '../../simulator/random.ts';
import { BRANCH_WISHES } from './branch-wishes.ts';
import { calmDown, revive } from './calm.ts';
import { type Chronicle, createChronicle } from './chronicle.ts';
import { FAILBACK_WISHES } from './failback-wishes.ts';
import { GUARD_WISHES } from './guard-wishes.ts';
import type { LifeSpec } from './life.ts';
import { HOSTS, populate } from './random-world.ts';
import type { Move, Scene } from './scene.ts';
import { SEED_WISHES } from './seed-wishes.ts';
import { Site } from './site.ts';
import { TEST_WISHES } from './test-wishes.ts';
import { TROUBLES } from './troubles.ts';
import { WISHES } from './wishes.ts';

export type RunSpec = {
  readonly seed: number;
  /** The numbers of the steps to play, ascending. */
  readonly steps: readonly number[];
  readonly sabotage?: LifeSpec['sabotage'];
};

export type RunResult = {
  /** Empty: every invariant held throughout. */
  readonly violations: readonly string[];
  /** The step after which they were seen; null: at the end, or none. */
  readonly failedAt: number | null;
  readonly log: readonly string[];
  readonly operations: number;
  readonly faults: number;
};

/** So many steps of storm, then a calm, in which everything must come to rest. */
const STORM_STEPS = 50;

const MOVES: readonly Move[] = [
  ...TROUBLES,
  ...WISHES,
  ...BRANCH_WISHES,
  ...FAILBACK_WISHES,
  ...TEST_WISHES,
  ...GUARD_WISHES,
  ...SEED_WISHES,
];

export async function playRandomRun(spec: RunSpec): Promise<RunResult> {
  const { seed, steps, sabotage } = spec;
  const chronicle = createChronicle();
  const common = { seed, hosts: HOSTS, hasScheduler: true, observer: chronicle };
  await using site = await Site.open(sabotage === undefined ? common : { ...common, sabotage });
  chronicle.watch(site.world);
  await populate(site);
  const { violations, failedAt } = await playSteps(site, chronicle, { seed, steps }).catch(
    stumbled,
  );
  for (const text of violations) chronicle.say(`VIOLATED: ${text}`);
  return {
    violations,
    failedAt,
    log: chronicle.lines,
    operations: await countOperations(site),
    faults: site.world.faults.happened.length,
  };
}

/** A bug of the simulation itself must not end a soak that others would go on in. */
function stumbled(error: unknown): Outcome {
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { violations: [`the run stumbled: ${what}`], failedAt: null };
}

type Outcome = Pick<RunResult, 'violations' | 'failedAt'>;

async function playSteps(site: Site, chronicle: Chronicle, spec: RunSpec): Promise<Outcome> {
  const random = createRandom({ seed: spec.seed });
  const troubles: Scene['troubles'] = new Map();
  let storm = 0;
  for (const step of spec.steps) {
    const due = Math.floor(step / STORM_STEPS);
    if (due > storm) {
      storm = due;
      chronicle.say('--- calm');
      const violations = await calmDown({ site, troubles, turn: spec.seed + storm });
      if (violations.length > 0) return { violations, failedAt: step };
    }
    await playStep(site, chronicle, troubles, { step, random: random.fork(`step ${step}`) });
    if (!site.isControlled) continue; // nobody to ask what is recorded; the next step begins with a new life
    const violations = await site.violations('everyStep');
    if (violations.length > 0) return { violations, failedAt: step };
  }
  chronicle.say('--- calm');
  return {
    violations: await calmDown({ site, troubles, turn: spec.seed + storm }),
    failedAt: null,
  };
}

async function playStep(
  site: Site,
  chronicle: Chronicle,
  troubles: Scene['troubles'],
  { step, random }: { readonly step: number; readonly random: Random },
): Promise<void> {
  while (await revive(site)) chronicle.say('a controller starts');
  const all = (await site.living.ports.catalog.replicas()).map(({ value }) => value);
  const replicas = all.filter(({ phase }) => phase !== 'Permanent' && phase !== 'Removed');
  const move = pickMove(random);
  const line = chronicle.reserve();
  const what = await act(move, { site, random, replicas, troubles });
  line(what === null ? null : `> ${step}: ${what}`);
  chronicle.look();
  await site.world.clock.advance(pauseMs(random));
  chronicle.look();
}

/** A planned fault may strike in the middle of a wish: whoever uttered it hears nothing. */
async function act(move: Move, scene: Scene): Promise<string | null> {
  try {
    return await move.act(scene);
  } catch (error) {
    if (scene.site.isControlled) throw error;
    return `${move.name}: the controller died`;
  }
}

function pickMove(random: Random): Move {
  const total = MOVES.reduce((sum, { weight }) => sum + weight, 0);
  let left = random.below(Math.round(total * 10)) / 10;
  for (const move of MOVES) {
    left -= move.weight;
    if (left < 0) return move;
  }
  return random.pick(MOVES);
}

/** Mostly less than an operation takes, sometimes long enough for the scheduler to get things done. */
function pauseMs(random: Random): number {
  const span = random.pick([0, 50, 500, 2000, 5000, 30_000, 120_000, 400_000]);
  return span === 0 ? 0 : random.below(span);
}

async function countOperations(site: Site): Promise<number> {
  if (!site.isControlled) return 0;
  return (await site.living.ports.durable.operations({ limit: 1_000_000 })).length;
}
