/**
 * `npm run demo [-- --keep]`: shows on two private libvirt hosts what Understudy does, and checks what it says.
 *
 * Exit code 0: every claim held. 1: one did not, or something went wrong. 130: interrupted. In each case nothing is
 * left running, and nothing is left on disk but the cache.
 */
import { setMaxListeners } from 'node:events';
import { parseArgs } from 'node:util';
import { terminalColumns } from '../cli/table.ts';
import { keepOpen, protectBack } from './demo/keep.ts';
import { createOperator } from './demo/operator.ts';
import { createReport, formatSeconds } from './demo/report.ts';
import { replicaName, type Scene } from './demo/scene.ts';
import { logTails, prepareMachine, setStage } from './demo/stage.ts';
import { playStory } from './demo/story.ts';
import { closeWorkplace, isAbandoned, openWorkplace } from './demo/workplace.ts';

const { values: options } = parseArgs({ options: { keep: { type: 'boolean', default: false } } });
const report = createReport({
  isTerminal: process.stdout.isTTY === true,
  hasColours: process.stdout.isTTY === true && process.stdout.hasColors(),
  columns: () => terminalColumns(process.stdout.columns),
  write: (text) => {
    process.stdout.write(text);
  },
});
const ending = endingSignal();
process.exitCode = await perform();

async function perform(): Promise<number> {
  const cleaning = new AsyncDisposableStack();
  let exitCode = 1;
  try {
    await play(cleaning);
    exitCode = 0;
  } catch (error) {
    const reason: unknown = ending.signal.aborted ? ending.signal.reason : error;
    report.say(`stopped: ${reason instanceof Error ? reason.message : String(reason)}`);
    if (ending.isInterruption()) exitCode = 130;
  }
  // Whatever still listens or waits, such as the watch over the ledger, ends here.
  ending.abort(new Error('the demo is over'));
  try {
    report.meanwhile('ending everything and removing it');
    await cleaning.disposeAsync();
  } catch (error) {
    report.say(`cleaning up failed: ${String(error)}`);
    exitCode = 1;
  }
  return conclude(exitCode);
}

async function play(cleaning: AsyncDisposableStack): Promise<void> {
  const { signal } = ending;
  report.act('Set the stage: two hosts, a VM, a server');
  await prepareMachine(report, signal);
  const folder = await openWorkplace(report.say);
  cleaning.defer(async () => {
    await closeWorkplace(folder);
    report.claim(
      'nothing is left running, and nothing is left on disk but the cache',
      isAbandoned(folder),
    );
  });
  try {
    const stage = await setStage({ folder, cleaning, report, signal });
    const operator = createOperator(stage.server, report, signal);
    await playAndKeep({ ...stage, report, operator, signal });
  } catch (error) {
    if (!signal.aborted) for (const tail of await logTails(folder)) report.output(tail);
    throw error;
  }
}

async function playAndKeep(scene: Scene): Promise<void> {
  if (!options.keep) {
    await playStory(scene);
    return;
  }
  let url: string | null = null;
  try {
    ({ url } = await playStory(scene));
    await protectBack(scene, replicaName);
  } catch (error) {
    report.say(`stopped: ${String(error)}`);
    throw error;
  } finally {
    await keepOpen(scene, url);
  }
}

function conclude(exitCode: number): number {
  const { claimCount, failedClaims } = report;
  for (const claim of failedClaims) report.say(`not true: ${claim}`);
  const isGood = exitCode === 0 && failedClaims.length === 0;
  const outcome = isGood
    ? `All ${claimCount} claims hold.`
    : `${claimCount - failedClaims.length} of ${claimCount} claims hold; the demo ${exitCode === 0 ? 'failed' : 'did not finish'}.`;
  report.say(`${outcome} ${formatSeconds(report.elapsedMs())} in all.`);
  return isGood ? 0 : Math.max(exitCode, 1);
}

/**
 * Aborted when the demo is to end early. Repeated signals only ask for what is already under way: cleaning up must
 * not be cut short. Nor must an error that nobody caught prevent it, or an output that was closed.
 */
function endingSignal() {
  const controller = new AbortController();
  // Many things wait for it at the same time.
  setMaxListeners(0, controller.signal);
  let isInterruption = false;
  const interrupt = (reason: string): void => {
    isInterruption ||= !controller.signal.aborted;
    controller.abort(new Error(reason));
  };
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => interrupt(`interrupted by ${name}`));
  }
  process.stdout.on('error', () => interrupt('the output was closed'));
  process.on('uncaughtException', (error) => controller.abort(error));
  return {
    signal: controller.signal,
    abort: (reason: Error) => controller.abort(reason),
    isInterruption: () => isInterruption,
  };
}
