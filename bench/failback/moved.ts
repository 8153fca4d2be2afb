/** What a failback moves, against the 64 KiB blocks that differ, counted by comparing both images. */
import { BLOCK, type BlockVm, MIB } from '../../test/e2e/stage/block-vm.ts';
import type { Image } from '../../test/e2e/stage/bytes.ts';
import { differingBytes, MOVED_LIMIT, sentBytesOf } from '../../test/e2e/stage/home.ts';
import { failOverBlockVm, succeed, writeReplica } from '../../test/e2e/stage/life.ts';
import type { Stage } from '../../test/e2e/stage/open-stage.ts';
import { heading, table, verdict } from '../system/figures.ts';

const DISK_BYTES = 256 * MIB;

type Case = {
  readonly name: string;
  /** How many points are newer than the one failed over to. */
  readonly newerPoints: number;
  readonly end: (vm: BlockVm, stage: Stage) => Promise<void>;
};

const shutDown = (vm: BlockVm) => vm.destroy();
const kill = (vm: BlockVm) => vm.hardKill();
const crash = async (_: BlockVm, { production }: Stage) => {
  await production.cutPower();
  await production.powerOn();
};

const CASES: readonly Case[] = [
  { name: 'newest point, source shut down', newerPoints: 0, end: shutDown },
  { name: 'newest point, source killed (-9)', newerPoints: 0, end: kill },
  { name: 'old point, source shut down', newerPoints: 2, end: shutDown },
  { name: 'old point, its host crashed', newerPoints: 2, end: crash },
];

export async function benchMoved(stage: Stage): Promise<void> {
  heading('What a failback moves, against what differs');
  const rows = [['', 'moved', 'differing', 'ratio']];
  let most = 0;
  for (const [number, each] of CASES.entries()) {
    const { moved, differing } = await measure(stage, each, number);
    const ratio = moved / differing;
    most = Math.max(most, ratio);
    rows.push([each.name, mib(moved), mib(differing), ratio.toFixed(3)]);
  }
  table(rows);
  console.log(`moved / differing: ${verdict(most, MOVED_LIMIT, '')}`);
}

const mib = (bytes: number) => `${(bytes / MIB).toFixed(2)} MiB`;

/** A VM of its own for each. Writes are of a database's page size, most in blocks of their own, some over each other. */
async function measure(stage: Stage, { newerPoints, end }: Case, number: number) {
  const disks = [{ sizeBytes: DISK_BYTES }];
  const vm = await stage.blockVm({ name: `moved-${number}`, disks });
  await vm.start();
  const protection = await stage.protect(vm.uuid, ['--keep', '9', '--quiesce', 'never']);
  await vm.write('vda', { offset: 0, length: 128 * MIB, value: 0xee });
  const chosen = await stage.replicate(protection);
  for (let newer = 1; newer <= newerPoints; newer += 1) {
    await scatter((write) => vm.write('vda', write), 20, newer);
    await stage.replicate(protection);
  }
  await scatter((write) => vm.write('vda', write), 40, 11);
  await end(vm, stage);
  const replica = await failOverBlockVm(stage, protection, '--point', chosen.id);
  await scatter((write) => writeReplica(stage, replica, 'vda', write), 60, 22);
  const first = await succeed(stage, 'failback', replica.id);
  await scatter((write) => writeReplica(stage, replica, 'vda', write), 10, 33);
  const now = ['--shutdown-deadline', '1s', '--on-missed-deadline', 'power-off'];
  const second = await succeed(stage, 'switch-over', replica.id, ...now);
  const own: Image = { path: vm.diskPath('vda'), format: 'qcow2' };
  const folder = `${stage.storageFolder}/${replica.id}/branches/${replica.failover?.branchId}`;
  const differing = await differingBytes(own, { path: `${folder}/vda.qcow2`, format: 'qcow2' });
  await vm.destroy();
  return { moved: sentBytesOf(first) + sentBytesOf(second), differing };
}

type Writing = (write: { offset: number; length: number; value: number }) => Promise<void>;

async function scatter(write: Writing, count: number, value: number): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const block = (index * 67 + value * 131) % (DISK_BYTES / BLOCK);
    await write({ offset: block * BLOCK + 4096, length: 8192, value });
  }
}
