/**
 * `npm run sim -- [--seed N | --seeds A-B] [--steps M] [--only 3,7-9] [--log]`: random runs in a simulated world.
 * `npm run sim:soak -- --minutes N [--seed N]`: ever new seeds for so long, or until stopped.
 *
 * Exit code 0: every invariant held. 1: one did not; the steps that matter are printed as a command. 2: wrong usage.
 */
import { parseArgs } from 'node:util';
import { playRandomRun, type RunResult, type RunSpec } from './simulation/random-run.ts';
import { formatSteps, parseSteps, shrinkRun } from './simulation/shrink.ts';

const USAGE = `npm run sim -- [--seed N | --seeds A-B] [--steps M] [--only STEPS] [--log]
npm run sim:soak -- [--minutes N] [--seed N] [--steps M]`;
const STEPS = 200;
const SHRINK_MS_MAX = 120_000;
const REPORT_EVERY_MS = 30_000;

process.exitCode = await main();

async function main(): Promise<number> {
  const options = readOptions();
  if (options === null) {
    console.error(USAGE);
    return 2;
  }
  return options.isSoak ? await soak(options) : await playSeeds(options);
}

type Options = {
  readonly isSoak: boolean;
  readonly seeds: readonly number[];
  readonly steps: readonly number[];
  readonly minutes: number;
  readonly showsLog: boolean;
};

function readOptions(): Options | null {
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: 'string', default: '1' },
        seeds: { type: 'string' },
        steps: { type: 'string', default: `${STEPS}` },
        only: { type: 'string' },
        log: { type: 'boolean', default: false },
        soak: { type: 'boolean', default: false },
        minutes: { type: 'string', default: 'Infinity' },
      },
    });
    const minutes = Number(values.minutes);
    if (Number.isNaN(minutes)) return null;
    return {
      isSoak: values.soak,
      seeds: parseSteps(values.seeds ?? values.seed),
      steps: parseSteps(values.only ?? `1-${values.steps}`),
      minutes,
      showsLog: values.log,
    };
  } catch {
    return null;
  }
}

async function playSeeds({ seeds, steps, showsLog }: Options): Promise<number> {
  let failed = 0;
  for (const seed of seeds) {
    const startedMs = performance.now();
    const result = await playRandomRun({ seed, steps });
    if (showsLog) console.log(result.log.join('\n'));
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    const { operations, faults, violations } = result;
    const verdict = violations.length === 0 ? 'every invariant held' : 'VIOLATED';
    const counts = `${steps.length} steps, ${operations} operations, ${faults} faults, ${seconds} s`;
    console.log(`seed ${seed}: ${verdict} (${counts})`);
    if (violations.length === 0) continue;
    failed += 1;
    await explain({ seed, steps }, result);
  }
  return failed === 0 ? 0 : 1;
}

/** Tells what failed, and the shortest way found to see it again. */
async function explain(spec: RunSpec, failure: RunResult): Promise<void> {
  for (const violation of failure.violations) console.log(`  ${violation}`);
  const until = performance.now() + SHRINK_MS_MAX;
  const mayGoOn = () => performance.now() < until;
  const fewer = await shrinkRun(spec, failure, { play: playRandomRun, mayGoOn });
  const { violations, log } = await playRandomRun(fewer);
  console.log(log.slice(-40).join('\n'));
  for (const violation of violations) console.log(`  ${violation}`);
  const only = formatSteps(fewer.steps);
  console.log(`See it again: npm run sim -- --seed ${spec.seed} --only ${only} --log`);
}

async function soak({ seeds, steps, minutes }: Options): Promise<number> {
  const startedMs = performance.now();
  const total = { seeds: 0, operations: 0, faults: 0, violations: 0 };
  let isStopped = false;
  let reportedMs = startedMs;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      isStopped = true;
    });
  }
  const elapsedMs = () => performance.now() - startedMs;
  const report = () => {
    const { seeds, operations, faults, violations } = total;
    const told = `${seeds} seeds, ${operations} operations, ${faults} faults, ${violations} violations`;
    console.log(`${(elapsedMs() / 60_000).toFixed(1)} min: ${told}`);
  };
  for (let seed = seeds[0] ?? 1; !isStopped && elapsedMs() < minutes * 60_000; seed += 1) {
    const result = await playRandomRun({ seed, steps });
    total.seeds += 1;
    total.operations += result.operations;
    total.faults += result.faults;
    if (result.violations.length > 0) {
      total.violations += 1;
      console.log(`seed ${seed}: VIOLATED`);
      await explain({ seed, steps }, result);
    }
    if (performance.now() - reportedMs < REPORT_EVERY_MS) continue;
    reportedMs = performance.now();
    report();
  }
  report();
  return total.violations === 0 ? 0 : 1;
}
