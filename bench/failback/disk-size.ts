/** The time of a failback is to follow what differs, not the disk: the same differences on two sizes, and more of them on the larger. */
import { BLOCK, type BlockVm } from '../../test/e2e/stage/block-vm.ts';
import { failOverBlockVm, order, succeed, writeReplica } from '../../test/e2e/stage/life.ts';
import type { Stage } from '../../test/e2e/stage/open-stage.ts';
import { describe } from '../../test/e2e/stage/operator.ts';
import { heading, median, seconds, table, verdict } from '../system/figures.ts';
import { durationMs, stepMs, tabulateSteps } from '../system/steps.ts';

const GIB = 1024 ** 3;
/** What 64 times the disk may add: the noise of a short operation. */
const GROWTH_LIMIT = 1.25;

/** `changes`: at production, and as many at the replica, in blocks of their own. */
type Shape = { readonly name: string; readonly sizeBytes: number; readonly changes: number };
const SMALL: Shape = { name: '1 GiB', sizeBytes: GIB, changes: 48 };
const LARGE: Shape = { name: '64 GiB', sizeBytes: 64 * GIB, changes: 48 };
const MANY: Shape = { name: '64 GiB, 20 x as many', sizeBytes: 64 * GIB, changes: 960 };
const SHAPES = [SMALL, LARGE, MANY] as const;

type End = { readonly name: string; readonly end: (vm: BlockVm) => Promise<void> };
const ENDS: readonly End[] = [
  { name: 'source shut down, marks kept', end: (vm) => vm.destroy() },
  { name: 'source killed, marks lost', end: (vm) => vm.hardKill() },
];

export async function benchDiskSize(stage: Stage, rounds: number): Promise<void> {
  for (const [number, { name, end }] of ENDS.entries()) {
    heading(`Failback of ${2 * SMALL.changes} differing blocks, sparse disks: ${name}`);
    const ids = [];
    for (const [index, shape] of SHAPES.entries()) {
      ids.push(await standIn(stage, `size-${number}-${index}`, shape, end));
    }
    const runs: Run[][] = SHAPES.map(() => []);
    for (let round = 0; round < rounds; round += 1) {
      for (const [index, id] of ids.entries()) runs[index]?.push(await failback(stage, id));
    }
    tell(runs);
  }
}

function tell(runs: readonly (readonly Run[])[]): void {
  const copyMs = (run: Run) => stepMs(run, 'pass-1/copy-home');
  table([
    ['', ...SHAPES.map(({ name }) => name)],
    ['phase one', ...runs.map((each) => seconds(each.map(durationMs)))],
    ['  copying', ...runs.map((each) => seconds(each.map(copyMs)))],
  ]);
  const [small = Number.NaN, large = Number.NaN] = runs.map((each) => median(each.map(durationMs)));
  const growth = large / small;
  console.log(
    `64 times the disk takes ${growth.toFixed(2)} times as long: ${verdict(growth, GROWTH_LIMIT, 'x')}`,
  );
  console.log(`${LARGE.name}, by step:`);
  tabulateSteps(runs[1] ?? []);
}

type Run = Awaited<ReturnType<typeof failback>>;

/** Given up again, so that the next one has all to do once more. */
async function failback(stage: Stage, replicaId: string) {
  const operation = await order(stage, 'failback', replicaId);
  if (operation.state !== 'succeeded') throw new Error(describe(operation));
  await succeed(stage, 'cancel-failback', replicaId);
  return operation;
}

async function standIn(
  stage: Stage,
  name: string,
  { sizeBytes, changes }: Shape,
  end: End['end'],
): Promise<string> {
  const vm = await stage.blockVm({ name, disks: [{ sizeBytes }] });
  await vm.start();
  const protection = await stage.protect(vm.uuid, ['--quiesce', 'never']);
  await vm.write('vda', { offset: 0, length: 64 * BLOCK, value: 9 });
  await stage.replicate(protection);
  const strideBytes = Math.floor(sizeBytes / changes / BLOCK) * BLOCK;
  for (let index = 0; index < changes; index += 1) {
    await vm.write('vda', { offset: index * strideBytes + 65 * BLOCK, length: 8192, value: 1 });
  }
  await end(vm);
  const replica = await failOverBlockVm(stage, protection);
  for (let index = 0; index < changes; index += 1) {
    const write = { offset: index * strideBytes + 70 * BLOCK, length: 8192, value: 2 };
    await writeReplica(stage, replica, 'vda', write);
  }
  return replica.id;
}
