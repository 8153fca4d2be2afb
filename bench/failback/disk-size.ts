/** The same differences on a small disk and on a vast sparse one: the time of a failback is to follow the differences. */
import { BLOCK, type BlockVm } from '../../test/e2e/stage/block-vm.ts';
import { failOverBlockVm, order, succeed, writeReplica } from '../../test/e2e/stage/life.ts';
import type { Stage } from '../../test/e2e/stage/open-stage.ts';
import { describe } from '../../test/e2e/stage/operator.ts';
import { heading, seconds, table } from '../system/figures.ts';
import { durationMs, stepMs, tabulateSteps } from '../system/steps.ts';

const GIB = 1024 ** 3;
const CHANGED_BLOCKS = 48;
const SIZES = [GIB, 64 * GIB] as const;

type End = { readonly name: string; readonly end: (vm: BlockVm) => Promise<void> };
const ENDS: readonly End[] = [
  { name: 'source shut down, marks kept', end: (vm) => vm.destroy() },
  { name: 'source killed, marks lost', end: (vm) => vm.hardKill() },
];

export async function benchDiskSize(stage: Stage, rounds: number): Promise<void> {
  for (const [number, { name, end }] of ENDS.entries()) {
    heading(
      `The same ${2 * CHANGED_BLOCKS} differing blocks on 1 GiB and on 64 GiB sparse: ${name}`,
    );
    const ids = [];
    for (const sizeBytes of SIZES) {
      ids.push(await standIn(stage, `size-${number}-${sizeBytes / GIB}`, sizeBytes, end));
    }
    const runs: Run[][] = SIZES.map(() => []);
    for (let round = 0; round < rounds; round += 1) {
      for (const [index, id] of ids.entries()) runs[index]?.push(await failback(stage, id));
    }
    table([
      ['', '1 GiB', '64 GiB'],
      ['phase one', ...runs.map((each) => seconds(each.map(durationMs)))],
      [
        '  copying',
        ...runs.map((each) => seconds(each.map((run) => stepMs(run, 'pass-1/copy-home')))),
      ],
    ]);
    for (const [index, size] of ['1 GiB', '64 GiB'].entries()) {
      console.log(`${size}, by step:`);
      tabulateSteps(runs[index] ?? []);
    }
  }
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
  sizeBytes: number,
  end: End['end'],
): Promise<string> {
  const vm = await stage.blockVm({ name, disks: [{ sizeBytes }] });
  await vm.start();
  const protection = await stage.protect(vm.uuid, ['--quiesce', 'never']);
  await vm.write('vda', { offset: 0, length: 64 * BLOCK, value: 9 });
  await stage.replicate(protection);
  const strideBytes = sizeBytes / CHANGED_BLOCKS;
  for (let index = 0; index < CHANGED_BLOCKS; index += 1) {
    await vm.write('vda', { offset: index * strideBytes + 65 * BLOCK, length: 8192, value: 1 });
  }
  await end(vm);
  const replica = await failOverBlockVm(stage, protection);
  for (let index = 0; index < CHANGED_BLOCKS; index += 1) {
    const write = { offset: index * strideBytes + 70 * BLOCK, length: 8192, value: 2 };
    await writeReplica(stage, replica, 'vda', write);
  }
  return replica.id;
}
