/**
 * After the storm: everything is healed, nobody asks for anything new, and what was begun must come to an end. Then
 * nothing may be left over, and every replica that can be run must be brought up to date by the next run.
 */
import type { OperationRecord } from '../../domain/operation/operation.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { Versioned } from '../../ports/catalog.ts';
import type { Controller } from '../../ports/controller.ts';
import { undoOrder } from './failback-wishes.ts';
import type { Scene } from './scene.ts';
import { BY_HAND, type Site } from './site.ts';

/** The sweeper comes back after ten minutes at the latest. */
const REST_MS = 12 * 60_000;
const ATTEMPTS_MAX = 6;
const SWEEP_MS = 60_000;
const SWEEPS_MAX = 3;

type WayOut = {
  readonly name: string;
  readonly begin: (controller: Controller, replica: Replica) => Promise<OperationRecord>;
};

const UNDO: WayOut = {
  name: 'the undo of the failover',
  begin: (controller, { id }) => controller.undoFailover(id, { force: false }, BY_HAND),
};
const CANCEL: WayOut = {
  name: 'giving up the failback',
  begin: (controller, { id }) => controller.cancelFailback(id, BY_HAND),
};
const COMMIT: WayOut = {
  name: 'the commit of the failback',
  begin: (controller, { id }) => controller.commitFailback(id, BY_HAND),
};
const UNDO_FAILBACK: WayOut = {
  name: 'the undo of the failback',
  begin: (controller, { id }) => controller.undoFailback(id, undoOrder(false), BY_HAND),
};

/** By turns; what is left as it is goes on through the next storm. */
const WAYS_OUT: Partial<Record<Replica['phase'], readonly [WayOut | undefined, WayOut]>> = {
  Failover: [undefined, UNDO],
  ReadyToSwitch: [undefined, CANCEL],
  Failback: [COMMIT, UNDO_FAILBACK],
};

/** What is not as it must be; empty when all is well. */
export async function calmDown(
  scene: Omit<Scene, 'random' | 'replicas'> & {
    /** Even or odd: which way out is taken where there are two. */
    readonly turn: number;
  },
): Promise<readonly string[]> {
  const { site, troubles, turn } = scene;
  for (const heal of troubles.values()) heal();
  troubles.clear();
  site.world.faults.clear();
  if (hasHung(site)) site.life?.kill(); // a call that hangs for good ends with its process, as a person would have it
  await revive(site);
  await site.settleAll();
  if (await revive(site)) await site.settleAll(); // a call that was under way may have met its crash only now
  const stuck = await helpSuspended(site);
  await resumeJobs(site);
  await shutStartablesDown(site);
  await site.world.clock.advance(REST_MS);
  await site.settleAll();
  const replicas = await site.living.ports.catalog.replicas();
  const open = [...stuck, ...(await leftOver(site, replicas))];
  if (open.length > 0) return open;
  const resting = replicas.filter(({ value }) => !mayRun(value));
  const unfinished = [...(await runAll(site)), ...(await decideAll(site, turn))];
  return unfinished.length > 0 ? unfinished : await leftOver(site, resting);
}

/** Whatever is under way between replica and production can be brought to either end, now that nothing is in the way. */
async function decideAll(site: Site, turn: number): Promise<readonly string[]> {
  const failures: string[] = [];
  for (const { value: replica } of await site.living.ports.catalog.replicas()) {
    const way = WAYS_OUT[replica.phase]?.[turn % 2];
    if (way === undefined) continue;
    const ended = await takeWayOut(site, way, replica);
    // What another replica of the VM has begun ends first, in this calm or in another; or it went on by itself a moment ago.
    if (/^(succeeded|sibling-serves|not-allowed-in-phase)/.test(ended)) continue;
    failures.push(`${way.name} of ${replica.name}: ${ended}`);
  }
  return failures;
}

/** What is refused with advice is asked for again when a person has followed it: to repair changed layers, to shut the source down. */
async function takeWayOut(site: Site, way: WayOut, replica: Replica): Promise<string> {
  const begin = (controller: Controller) => way.begin(controller, replica);
  const ended = await outcome(site, begin);
  if (ended.startsWith('source-serves')) {
    site.world.host(replica.sourceHostId).vms.get(replica.sourceVmId)?.stop();
    return outcome(site, begin);
  }
  const conditions = await site.living.ports.catalog.conditions(replica.id);
  if (ended === 'succeeded' || !conditions.some(({ name }) => name === 'drifted')) return ended;
  const repaired = await repair(site, replica);
  return repaired === 'succeeded' ? outcome(site, begin) : `${ended}; the repair: ${repaired}`;
}

/**
 * A run that the schedule began may have failed this very moment: what it left is the sweeper's, who comes soon. A merge
 * that found no room is finished by the next run, which the `resting` have not had; and so is a retirement whose host fell silent
 * when it was done, so that the point is still listed.
 */
async function leftOver(
  site: Site,
  resting: readonly Versioned<Replica>[],
): Promise<readonly string[]> {
  const awaited = resting.flatMap(({ value: { id, name } }) => [
    new RegExp(`: merge of \\S+ of ${id} on `),
    new RegExp(`^restore point \\S+ of ${name} is only in the catalogue$`),
  ]);
  for (let sweep = 0; ; sweep += 1) {
    const violations = await site.violations('whenIdle');
    const left = violations.filter((text) => !awaited.some((one) => one.test(text)));
    if (left.length === 0 || sweep === SWEEPS_MAX) return left;
    await site.world.clock.advance(SWEEP_MS);
    await site.settleAll();
  }
}

/** Since the controller began to live. */
function hasHung({ world, life }: Site): boolean {
  return world.faults.happened.slice(life?.faultsBefore).some((fault) => fault.endsWith(' hang'));
}

export async function revive(site: Site): Promise<boolean> {
  if (site.isControlled) return false;
  await site.run(site.startController());
  return true;
}

/** Somebody serves in the replica's place by now: its start is given up. */
const MEETING = ['started-beside-source', 'sibling-serves'];

/** With the cause gone, a retry must succeed. */
async function helpSuspended(site: Site): Promise<readonly string[]> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const suspended = await suspendedOperations(site);
    if (suspended.length === 0) return [];
    for (const operation of suspended) {
      const code = operation.error?.code ?? '';
      if (code === 'vm-not-off') await shutReplicaDown(site, operation);
      await site.ask((controller) =>
        MEETING.includes(code)
          ? controller.cancelOperation(operation.id, BY_HAND)
          : controller.retryOperation(operation.id, BY_HAND),
      );
    }
    await site.settleAll();
  }
  return (await suspendedOperations(site)).map(
    ({ kind, id, error }) => `${kind} ${id} stays suspended: ${error?.message}`,
  );
}

/** Somebody started it in the middle of the operation, which asks for this. */
async function shutReplicaDown(site: Site, { subject }: OperationRecord): Promise<void> {
  const replicas = await site.living.ports.catalog.replicas();
  const replica = replicas.find(({ value }) => value.id === subject)?.value;
  if (replica !== undefined) shutDown(site, replica);
}

/** Somebody started it while its host could not be told that production has taken over; the condition asks for this. */
async function shutStartablesDown(site: Site): Promise<void> {
  const { catalog } = site.living.ports;
  for (const { value: replica } of await catalog.replicas()) {
    const conditions = await catalog.conditions(replica.id);
    if (conditions.some(({ name }) => name === 'replica-startable')) shutDown(site, replica);
  }
}

function shutDown({ world }: Site, { targetHostId, targetVmId }: Replica): void {
  if (targetVmId !== null) world.host(targetHostId).vms.get(targetVmId)?.stop();
}

async function suspendedOperations(site: Site): Promise<readonly OperationRecord[]> {
  return (await site.openOperations()).filter(({ state }) => state === 'suspended');
}

async function resumeJobs(site: Site): Promise<void> {
  const { catalog } = site.living.ports;
  for (const { value } of await catalog.jobs()) {
    if (!value.isPaused) continue;
    await site.ask(async (controller) => {
      await controller.setJobPaused(value.id, false, BY_HAND);
      return [];
    });
  }
}

function mayRun({ phase, jobId }: Replica): boolean {
  return (phase === 'Pending' || phase === 'Ready') && jobId !== null;
}

/** 4 and 7 of the invariants end in this: wherever replication may go on, it does. */
async function runAll(site: Site): Promise<readonly string[]> {
  const failures: string[] = [];
  for (const { value: replica } of await site.living.ports.catalog.replicas()) {
    const { jobId, sourceVmId, name } = replica;
    if (!mayRun(replica) || jobId === null) continue;
    const repaired = await repair(site, replica);
    if (repaired !== 'succeeded') failures.push(`the repair of ${name}: ${repaired}`);
    const begin = (controller: Controller) => controller.runJob(jobId, [sourceVmId], BY_HAND);
    let ran = await outcome(site, begin);
    if (ran.startsWith('seed-unfit')) {
      // What it was to be compared with is gone since it was named: the error asks for another seed, or none.
      await site.ask((controller) => withoutSeed(controller, replica));
      ran = await outcome(site, begin);
    }
    if (ran !== 'succeeded' && !/^(vm-excluded|source-held)/.test(ran)) {
      failures.push(`the next run of ${name}: ${ran}`);
    }
  }
  return failures;
}

async function withoutSeed(controller: Controller, { id }: Replica): Promise<[]> {
  await controller.seedReplica(id, null, BY_HAND);
  return [];
}

/** What the first one reads again and finds to be another content, the second one drops. */
async function repair(site: Site, { id }: Replica): Promise<string> {
  const first = await outcome(site, (c) => c.rescan(id, true, BY_HAND));
  return first === 'succeeded' ? outcome(site, (c) => c.rescan(id, true, BY_HAND)) : first;
}

async function outcome(site: Site, begin: Parameters<Site['ask']>[0]): Promise<string> {
  let answer = await site.ask(begin);
  if (answer.type === 'refused' && isBusy(answer.error)) {
    await site.settleAll(); // what the schedule began a moment ago
    answer = await site.ask(begin);
  }
  if (answer.type === 'silent') return 'no answer';
  if (answer.type === 'refused') {
    const { error } = answer;
    return error instanceof Error && 'code' in error
      ? `${error.code}: ${error.message}`
      : `${error}`;
  }
  const [operation] = answer.operations;
  if (operation === undefined) return 'nothing was begun';
  await site.settle([operation.id]);
  const ended = await site.living.ports.durable.operation(operation.id);
  if (ended?.state === 'succeeded') return 'succeeded';
  return `${ended?.error?.code}: ${ended?.state}: ${ended?.error?.message}`;
}

function isBusy(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false;
  return error.code === 'operation-in-progress' || error.code === 'sibling-moving';
}
