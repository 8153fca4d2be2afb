/** Incremental runs: what they move, what they cost when nothing changed, and whether the size of a disk matters. */
import { operationDetailSchema } from '../../src/contract/operation.ts';
import { run } from '../../src/rig/command.ts';
import { BLOCK, type BlockVm, type Write } from '../../test/e2e/stage/block-vm.ts';
import type { Stage } from '../../test/e2e/stage/open-stage.ts';
import { describe, type Protection } from '../../test/e2e/stage/operator.ts';
import { heading, median, seconds, table, verdict } from './figures.ts';
import { durationMs, tabulateSteps } from './steps.ts';

const GIB = 1024 ** 3;
const TIB = 1024 ** 4;
const CHANGED_BLOCKS = 64;
const FIXED_COST_LIMIT_S = 0.7;
const MOVED_LIMIT = 1.05;

/**
 * On the first, 32 changes share a table of the qcow2 format, which covers 512 MiB; on the others each has one of its own. So what the
 * first and the second differ by is the tables, and the second and the third the size.
 */
const SIZES = ['1 GiB', '64 GiB', '1 TiB'] as const;
type Size = (typeof SIZES)[number];

type Contestant = {
  readonly vm: BlockVm;
  readonly protection: Protection;
  readonly sizeBytes: number;
};
type Run = Awaited<ReturnType<typeof replicate>>;

export async function benchIncremental(stage: Stage, rounds: number): Promise<void> {
  await benchFixedCost(stage, rounds);
  await benchSize(stage, rounds);
}

async function benchFixedCost(stage: Stage, rounds: number): Promise<void> {
  heading('Incremental run of a running VM with two disks, next to nothing changed');
  const { vm, protection } = await contestant(stage, 'idle', [GIB, GIB]);
  const runs: Record<'nothing' | 'one block', Run[]> = { nothing: [], 'one block': [] };
  for (let round = 0; round < rounds; round += 1) {
    runs.nothing.push(await replicate(stage, protection));
    await vm.write('vdb', { offset: round * 37 * BLOCK, length: 4096, value: 1 + round });
    runs['one block'].push(await replicate(stage, protection));
  }
  for (const [name, each] of Object.entries(runs)) {
    const durations = each.map(({ operation }) => durationMs(operation));
    const whole = verdict(median(durations) / 1000, FIXED_COST_LIMIT_S, 's');
    console.log(`${name} changed: ${seconds(durations)}; ${whole}`);
  }
  tabulateSteps(runs['one block'].map(({ operation }) => operation));
  await vm.destroy();
}

async function benchSize(stage: Stage, rounds: number): Promise<void> {
  heading(`The same ${CHANGED_BLOCKS} changes, spread over sparse disks of ${SIZES.join(', ')}`);
  const contestants = {
    '1 GiB': await contestant(stage, 'small', [GIB]),
    '64 GiB': await contestant(stage, 'large', [64 * GIB]),
    '1 TiB': await contestant(stage, 'vast', [TIB]),
  };
  const runs: Record<Size, Run[]> = { '1 GiB': [], '64 GiB': [], '1 TiB': [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const name of SIZES) {
      const { vm, protection, sizeBytes } = contestants[name];
      await vm.write('vda', ...changes(sizeBytes, round));
      runs[name].push(await replicate(stage, protection));
    }
  }
  for (const name of SIZES) {
    const { vm, protection } = contestants[name];
    const newest = (await stage.points(protection)).at(-1);
    if (newest !== undefined) await stage.requireExactVm(newest, vm);
    await vm.destroy();
  }
  table([
    ['', ...SIZES],
    ['run', ...all(runs, (each) => seconds(each.map(({ operation }) => durationMs(operation))))],
    ['moved / changed blocks', ...all(runs, (each) => ratioOf(each).toFixed(3))],
  ]);
  const ratio = Math.max(...SIZES.map((name) => ratioOf(runs[name])));
  console.log(`moved / changed: ${verdict(ratio, MOVED_LIMIT, '')}`);
  for (const name of SIZES) {
    console.log(`${name}, by step:`);
    tabulateSteps(runs[name].map(({ operation }) => operation));
  }
}

const all = (runs: Record<Size, Run[]>, say: (runs: readonly Run[]) => string) =>
  SIZES.map((name) => say(runs[name]));

const ratioOf = (runs: readonly Run[]) =>
  median(runs.map(({ sentBytes }) => sentBytes / (CHANGED_BLOCKS * BLOCK)));

/** Writes of a database's page size, each in a block of its own, evenly spread. */
function changes(sizeBytes: number, round: number): readonly Write[] {
  const strideBytes = sizeBytes / CHANGED_BLOCKS;
  return Array.from({ length: CHANGED_BLOCKS }, (_, index) => ({
    offset: index * strideBytes + ((round * 5) % 64) * BLOCK + 4096,
    length: 8192,
    value: 1 + ((round * 7 + index) % 255),
  }));
}

async function contestant(
  stage: Stage,
  name: string,
  sizes: readonly number[],
): Promise<Contestant> {
  const disks = sizes.map((sizeBytes) => ({ sizeBytes }));
  const vm = await stage.blockVm({ name, disks });
  await vm.start();
  const protection = await stage.protect(vm.uuid, ['--keep', '3', '--quiesce', 'never']);
  await vm.write('vda', { offset: 0, length: 16 * BLOCK, value: 9 });
  // Seed, and as many runs as are kept, so that each measured run also retires a point.
  for (let point = 0; point < 4; point += 1) await replicate(stage, protection);
  return { vm, protection, sizeBytes: sizes[0] ?? 0 };
}

async function replicate(stage: Stage, protection: Protection) {
  // Else the first commit of the run's journal would also pay for what the writes left in the page cache.
  await run('sync', ['-f', stage.folder]);
  const { id } = await stage.tryReplicate(protection);
  const operation = await stage.ask(['operation', 'show', id], operationDetailSchema);
  if (operation.state !== 'succeeded') throw new Error(describe(operation));
  const newest = (await stage.points(protection)).at(-1);
  const sentBytes = newest?.disks.reduce((sum, disk) => sum + disk.sentBytes, 0) ?? Number.NaN;
  return { operation, sentBytes };
}
