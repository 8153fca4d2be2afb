/**
 * Every operation, stopped before and after every call into the world and at every write of the journal, then resumed
 * by a new controller on the same file. Each must come to its end with every invariant intact. The number of troubles is
 * printed; a failing one names the operation and the call, and `n` to stop there again.
 *
 * How much of it is run is a matter of time: `npm run check` takes samples, `npm test` all there is (UNDERSTUDY_MATRIX=whole).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asUnderstudyError } from '../../../src/domain/error.ts';
import { failbackHolding } from '../../../src/domain/failover/siblings.ts';
import { type HostId, type VmId, vmId } from '../../../src/domain/ids.ts';
import type { Replica } from '../../../src/domain/replica/replica.ts';
import type { FaultKind } from '../../../src/simulator/faults.ts';
import { connectedByIdentity } from '../../../src/simulator/observation.ts';
import { Stage } from '../stage.ts';
import type { Story } from './situations.ts';
import { STORIES } from './stories.ts';
import { STORIES_OF_TWO } from './stories-of-two.ts';

export const ALL_STORIES: Readonly<Record<string, Story>> = { ...STORIES, ...STORIES_OF_TWO };

type Trouble = FaultKind | 'journal';

/** Makes trouble at the nth call (or moment of the journal); false when the operation had fewer. */
async function stopAt(story: Story, nth: number, trouble: Trouble): Promise<boolean> {
  await using stage = await Stage.open();
  await story.prepare(stage);
  if (trouble === 'journal') stage.crashAtJournalPoint(nth);
  else stage.world.faults.on('*', nth, trouble);
  const before = stage.world.faults.happened.length;
  await story.act(stage).catch(() => null); // a dead controller answers nobody
  const fault = stage.diedAt ?? stage.world.faults.happened[before];
  if (fault === undefined) return false;
  if (stage.life.view.isDead()) await stage.restart();
  await stage.settleAll();
  story.heal?.(stage);
  if (HOST_TROUBLES.includes(trouble)) {
    await helpAfterwards(stage, story);
    story.heal?.(stage);
  }
  await assertSound(stage, `${trouble} at ${nth}: ${fault}`);
  return true;
}

export const HOST_TROUBLES: readonly Trouble[] = [
  'away-before',
  'away-after',
  'agent-before',
  'agent-after',
  'power-before',
  'power-after',
];

/** What the operator does when the host is back: retries what waits for a person, then asks again for what was wanted. */
async function helpAfterwards(stage: Stage, { act, afterwards = act }: Story): Promise<void> {
  await stage.world.clock.advance(10 * 60_000);
  const { durable } = stage.life.ports;
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const open = await durable.operations({ open: true, limit: 9 });
    const suspended = open.filter(({ state }) => state === 'suspended');
    // Refused where an undo that waits has put the branch away already.
    if (suspended.length > 0) await startServing(stage).catch(() => null);
    for (const { id, error } of suspended) {
      if (error?.code === 'started-beside-source') await stopSources(stage);
      await durable.retry(id);
    }
    await stage.settleAll();
  }
  await startServing(stage);
  await afterwards(stage).catch(() => null); // what was done already is refused
  await stage.settleAll();
}

/** As that error advises: a source that came back, or was never stopped, makes room for its replica. */
async function stopSources(stage: Stage): Promise<void> {
  for (const { sourceHostId, sourceVmId } of await replicasOf(stage)) {
    stage.world.host(sourceHostId).vms.get(sourceVmId)?.stop();
  }
}

/** What served before its host lost power has its disks, and nobody who starts it. */
async function startServing(stage: Stage): Promise<void> {
  for (const { phase, targetHostId, targetVmId, failback } of await replicasOf(stage)) {
    const standsIn = phase === 'Failover' || phase === 'ReadyToSwitch' || phase === 'Permanent';
    if (standsIn) startAlone(stage, targetHostId, targetVmId);
    if (phase === 'Failback') startAlone(stage, stage.production.id, failback?.home.vmId ?? null);
  }
}

/** Nobody starts what would meet another one of the same machine, which has gone on without it. */
function startAlone({ world }: Stage, hostId: HostId, id: VmId | null): void {
  const vm = world.host(hostId).vms.get(id ?? vmId(''));
  if (vm === undefined) return;
  const others = connectedByIdentity(world).get(vm.state.identity) ?? [];
  const meets = others.length > 0 && vm.state.nics.some(({ isConnected }) => isConnected);
  if (!meets) vm.start();
}

async function replicasOf(stage: Stage): Promise<readonly Replica[]> {
  return (await stage.life.ports.catalog.replicas()).map(({ value }) => value);
}

async function assertSound(stage: Stage, where: string): Promise<void> {
  const open = await stage.life.ports.durable.operations({ open: true, limit: 10 });
  const told = open.map(({ kind, state, error }) => [kind, state, error?.message]);
  assert.deepEqual(told, [], where);
  await stage.watch();
  await stage.sweep();
  assert.deepEqual(await stage.violations('whenIdle'), [], where);
  const all = await replicasOf(stage);
  for (const replica of all) await assertGoesOn(stage, replica, all, where);
}

/** The next run brings it up to date, unless a failback of another replica of the VM has its source's disks. */
async function assertGoesOn(
  stage: Stage,
  replica: Replica,
  all: readonly Replica[],
  where: string,
): Promise<void> {
  const { phase, jobId, name } = replica;
  if ((phase !== 'Ready' && phase !== 'Pending') || jobId === null) return;
  const ended = await stage.replicate(jobId).then(
    ({ state, error }) => error?.message ?? state,
    (error) => asUnderstudyError(error).code,
  );
  const wanted = failbackHolding(replica, all) === null ? 'succeeded' : 'source-held';
  assert.equal(ended, wanted, `the next run of ${name} after ${where}`);
  assert.deepEqual(
    await stage.violations('whenIdle'),
    [],
    `the next run of ${name} after ${where}`,
  );
}

/** Of the moments of an operation, every nth is tried. */
const STRIDES = {
  sample: { controller: 11, hosts: 61 },
  whole: { controller: 1, hosts: 1 },
} as const;

function stride(of: 'controller' | 'hosts'): number {
  const share = process.env.UNDERSTUDY_MATRIX ?? 'sample';
  const strides = Object.entries(STRIDES).find(([name]) => name === share)?.[1];
  if (strides === undefined)
    throw new Error(`UNDERSTUDY_MATRIX is none of ${Object.keys(STRIDES)}`);
  return strides[of];
}

/** Declares a test for each story: these troubles at its moments, each beginning at another one where only some are tried. */
export function testEveryStory(
  what: string,
  troubles: readonly Trouble[],
  isFit: (name: string) => boolean = () => true,
): void {
  const share = stride(
    troubles.some((trouble) => HOST_TROUBLES.includes(trouble)) ? 'hosts' : 'controller',
  );
  for (const [index, [name, story]] of Object.entries(ALL_STORIES).entries()) {
    if (!isFit(name)) continue;
    const step = share * (story.stride ?? 1);
    test(`${name}: ${what}`, async (t) => {
      let count = 0;
      // Where time is short, one is enough for what is like another story.
      const only = share > 1 && story.stride !== undefined ? index % troubles.length : null;
      for (const [offset, trouble] of troubles.entries()) {
        if (only !== null && only !== offset) continue;
        const first = 1 + ((index + offset * 2) % step);
        for (let nth = first; await stopAt(story, nth, trouble); nth += step) count += 1;
      }
      if (share === 1) assert.ok(count > 0);
      t.diagnostic(`${count} times, always to a sound end`);
    });
  }
}
