/**
 * The whole system on two private hosts: incremental runs, failover and undo, and the memory of the server.
 *
 *   node bench/system.ts [--rounds 5]
 *
 * Comparisons are alternated within this one run. Needs root, libvirt and QEMU, as the end-to-end tests do.
 */
import { parseArgs } from 'node:util';
import { openStage, type Stage, skipReason } from '../test/e2e/stage/open-stage.ts';
import { benchFailover } from './system/failover.ts';
import { heading, verdict } from './system/figures.ts';
import { benchIncremental } from './system/incremental.ts';
import { describeMachine, load, memoryOf } from './system/machine.ts';

const REST_LIMIT_MIB = 120;
/** After this long, memory that is only waiting for the collector has been collected. */
const REST_MS = 15_000;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    only: { type: 'string' },
  },
});
const rounds = Number(values.rounds);

const skip = skipReason();
if (skip !== false) {
  console.log(`The system is not measured: ${skip}.`);
} else {
  await using stage = await openStage();
  console.log(await describeMachine(stage.production));
  // The very first server after a change of the sources compiles them, and keeps the compiler's 20 MiB.
  await stage.server.restart();
  await rest();
  const atStart = memoryOf(serverPid(stage));
  if (values.only !== 'failover') await benchIncremental(stage, rounds);
  if (values.only !== 'incremental') await benchFailover(stage, rounds);
  await benchMemory(stage, atStart.restMib);
  console.log(`\nload after: ${load()}`);
}

async function benchMemory(stage: Stage, atStartMib: number): Promise<void> {
  heading('Memory of the server');
  await rest();
  const { restMib, ownMib, peakMib } = memoryOf(serverPid(stage));
  const most = Math.max(atStartMib, restMib);
  const mib = (value: number) => `${value.toFixed(0)} MiB`;
  console.log(
    `at rest: ${mib(atStartMib)} after start, ${mib(restMib)} after all runs; ${verdict(most, REST_LIMIT_MIB, 'MiB')}`,
  );
  console.log(
    `of these ${mib(ownMib)} are its own, the rest is the program file; most at any time: ${mib(peakMib)}`,
  );
}

function rest(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, REST_MS));
}

function serverPid({ server }: Stage): number {
  if (server.pid === undefined) throw new Error('the server does not run');
  return server.pid;
}
