import { succeed } from '../../test/e2e/stage/life.ts';
import type { Stage } from '../../test/e2e/stage/open-stage.ts';
import { heading, median, seconds, verdict } from './figures.ts';
import { doneAfterMs, durationMs, stepMs, tabulateSteps } from './steps.ts';

const START_EXTRA_LIMIT_S = 0.3;
const UNDO_EXTRA_LIMIT_S = 1;

/**
 * Each round: fail over, stop and start the replica by hand on the same branch, undo. The source is off, as after
 * a loss: a guest of its own would take one of the processors.
 */
export async function benchFailover(stage: Stage, rounds: number): Promise<void> {
  heading('Failover of a VM with two disks, and its undo');
  const vm = await stage.guestVm();
  await vm.start();
  await vm.waitForHttp();
  const protection = await stage.protect(vm.uuid);
  for (let run = 0; run < 3; run += 1) await stage.replicate(protection);
  await vm.destroy();
  const { id } = await stage.replica(protection);
  const failovers = [];
  const undos = [];
  const startsMs: number[] = [];
  const destroysMs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    failovers.push(await succeed(stage, 'failover', id));
    const { targetVmId } = await stage.replica(protection);
    if (targetVmId === null) throw new Error('the replica has no VM');
    destroysMs.push(await timed(() => stage.recovery.virsh(['destroy', '--', targetVmId])));
    startsMs.push(await timed(() => stage.recovery.virsh(['start', '--', targetVmId])));
    undos.push(await succeed(stage, 'undo-failover', id));
  }
  const runningMs = failovers.map((each) => doneAfterMs(each, 'start-replica'));
  const extraMs = runningMs.map((ms, round) => ms - (startsMs[round] ?? Number.NaN));
  console.log(`request to running:  ${seconds(runningMs)}`);
  console.log(`virsh start:         ${seconds(startsMs)}`);
  console.log(
    `difference:          ${seconds(extraMs)}; ${verdict(median(extraMs) / 1000, START_EXTRA_LIMIT_S, 's')}`,
  );
  console.log('failover, by step (await-guest is the boot of the guest under TCG):');
  tabulateSteps(failovers);
  const wholeMs = undos.map(durationMs);
  const besidesMs = undos.map((each) => durationMs(each) - stepMs(each, 'power-off-replica'));
  console.log(`undo:                ${seconds(wholeMs)}`);
  console.log(`virsh destroy:       ${seconds(destroysMs)}`);
  console.log(
    `undo besides power-off: ${seconds(besidesMs)}; ${verdict(median(besidesMs) / 1000, UNDO_EXTRA_LIMIT_S, 's')}`,
  );
  console.log('undo, by step:');
  tabulateSteps(undos);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}
