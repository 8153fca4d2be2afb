/** How many journaled steps of real operations a second: replication, failover, undo, failback there and back. */
import type { OperationRecord } from '../../src/domain/operation/operation.ts';
import { BY_HAND, Site } from '../../src/main/simulation/site.ts';
import type { Controller } from '../../src/ports/controller.ts';
import { heading } from '../system/figures.ts';
import { costOf, countingObserver, protect } from './workload.ts';

const STEPS_MIN = 2_000;
const VMS = 8;
const ROUNDS = 12;
const HOME = {
  to: { type: 'original' },
  switchover: { type: 'manual' },
  discardSavedState: false,
  applyChanges: false,
  shutdownDeadlineMs: 120_000,
} as const;
const FAILOVER = {
  point: { type: 'latest' },
  reason: 'a benchmark',
  fence: 'power-off',
  acceptDuplicate: false,
} as const;
const SHUTDOWN = { shutdownDeadlineMs: 60_000, onMissedDeadline: 'power-off' } as const;

type Begin = (controller: Controller, replica: string) => Promise<OperationRecord>;

/** One round: every operation of a replica's life that leads back to where it began. */
const ROUND: readonly Begin[] = [
  (controller, replica) => controller.failover(replica, FAILOVER, BY_HAND),
  (controller, replica) => controller.undoFailover(replica, { force: false }, BY_HAND),
  (controller, replica) => controller.failover(replica, FAILOVER, BY_HAND),
  (controller, replica) => controller.failback(replica, HOME, BY_HAND),
  (controller, replica) => controller.switchOver(replica, SHUTDOWN, BY_HAND),
  (controller, replica) => controller.commitFailback(replica, BY_HAND),
];

export async function benchSteps(): Promise<void> {
  heading(`Journaled steps a second (${VMS} VMs at once, journal and catalogue in a file)`);
  const { counts, observer } = countingObserver();
  const hosts = ['production', 'recovery'];
  await using site = await Site.open({ seed: 1, hosts, hasScheduler: false, observer });
  const names = Array.from({ length: VMS }, (_, index) => `vm-${index}`);
  const [source = '', target = ''] = hosts;
  await protect(site, { source, target, names, everySeconds: null });
  const wholeRound = async () => {
    for (let run = 0; run < 3; run += 1) await replicateAll(site);
    for (const begin of ROUND) await forAll(site, names, begin);
  };
  await wholeRound(); // first replication and a warm engine
  const stepsBefore = counts.steps;
  const cost = await costOf(async () => {
    for (let round = 0; round < ROUNDS; round += 1) await wholeRound();
  });
  const steps = counts.steps - stepsBefore;
  if (counts.failed.length > 0) throw new Error(`not every operation succeeded: ${counts.failed}`);
  const operations = [...counts.succeeded].map(([kind, count]) => `${count} ${kind}`).join(', ');
  const rate = Math.round(steps / cost.cpuSeconds);
  console.log(`operations: ${operations}`);
  console.log(
    `${steps} steps in ${cost.cpuSeconds.toFixed(1)} s of processor time (${cost.wallSeconds.toFixed(1)} s by the wall): ` +
      `${rate} a second on one core; target >= ${STEPS_MIN}: ${rate >= STEPS_MIN ? 'met' : 'MISSED'}`,
  );
}

async function replicateAll(site: Site): Promise<void> {
  const [job] = await site.run(site.living.controller.jobs(BY_HAND));
  const answer = await site.ask((controller) =>
    controller.runJob(job?.job.id ?? '', null, BY_HAND),
  );
  if (answer.type !== 'begun') throw new Error(`no run was begun: ${answer.type}`);
  await site.settle(answer.operations.map(({ id }) => id));
}

async function forAll(site: Site, names: readonly string[], begin: Begin): Promise<void> {
  const answers = await Promise.all(
    names.map(async (name) => {
      const { id } = await site.replicaOf(name);
      return site.ask((controller) => begin(controller, id));
    }),
  );
  const begun = answers.flatMap((answer) => {
    if (answer.type === 'begun') return answer.operations;
    throw answer.type === 'refused' ? answer.error : new Error('no answer');
  });
  await site.settle(begun.map(({ id }) => id));
}
