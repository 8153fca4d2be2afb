/**
 * The way there and home on two private hosts: what a failback moves against what differs, what it takes on disks of different
 * sizes, and how long nobody serves in a planned failover and in a switchover.
 *
 *   node bench/failback.ts [--rounds 3] [--only moved|size|downtime]
 *
 * Needs root, libvirt and QEMU, as the end-to-end tests do.
 */
import { parseArgs } from 'node:util';
import { openStage, skipReason } from '../test/e2e/stage/open-stage.ts';
import { benchDiskSize } from './failback/disk-size.ts';
import { benchDowntime } from './failback/downtime.ts';
import { benchMoved } from './failback/moved.ts';
import { describeMachine, load } from './system/machine.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    only: { type: 'string' },
  },
});
const rounds = Number(values.rounds);
const isWanted = (name: string) => values.only === undefined || values.only === name;

const skip = skipReason();
if (skip !== false) {
  console.log(`Failback is not measured: ${skip}.`);
} else {
  await using stage = await openStage();
  console.log(await describeMachine(stage.production));
  if (isWanted('moved')) await benchMoved(stage);
  if (isWanted('size')) await benchDiskSize(stage, rounds);
  if (isWanted('downtime')) await benchDowntime(stage, rounds);
  console.log(`\nload after: ${load()}`);
}
