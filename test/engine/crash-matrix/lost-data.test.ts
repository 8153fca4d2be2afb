/**
 * The controller dies at a call into the world, and everything that it knew is gone. What is rebuilt from the hosts must lead on
 * to a sound end by whatever way its phase allows: nothing is guessed, nobody's writes are lost, nothing is left behind.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OperationRecord } from '../../../src/domain/operation/operation.ts';
import type { Controller } from '../../../src/ports/controller.ts';
import { restartAgent } from '../../../src/simulator/calamities.ts';
import type { SimulatedVm } from '../../../src/simulator/vm.ts';
import { undoing } from '../failback-stage.ts';
import { options, Stage, VDA } from '../stage.ts';
import { STORIES } from './stories.ts';

const WHOLE = { hosts: null, sourceHost: null, repairs: false, isDryRun: false };
const SHUTDOWN = { shutdownDeadlineMs: 60_000, onMissedDeadline: 'power-off' } as const;
const SERVED = 14;

const TOLD = [
  'failover',
  'hop',
  'fence afterwards',
  'unfence',
  'undo failover',
  'failover to an archive',
  'failback',
  'another pass of a failback',
  'switchover',
  'cancel failback',
  'commit failback',
  'undo failback',
] as const;

/** Two ways lead on: home with what the replica wrote, or back to what production had. */
const WAYS = ['home', 'back'] as const;
type Way = (typeof WAYS)[number];

/** Of the moments of an operation, every nth is tried where time is short. */
const STEP = (process.env.UNDERSTUDY_MATRIX ?? 'sample') === 'sample' ? 6 : 1;

for (const [index, name] of TOLD.entries()) {
  test(`${name}: the controller dies, and its data with it`, async (t) => {
    let count = 0;
    for (let nth = 1 + (index % STEP); await loseAt(name, nth, index + nth); nth += STEP)
      count += 1;
    t.diagnostic(`${count} times, always to a sound end`);
  });
}

/** False when the operation had fewer calls. */
async function loseAt(name: (typeof TOLD)[number], nth: number, salt: number): Promise<boolean> {
  await using stage = await Stage.open();
  const { prepare, act } = STORIES[name] ?? assert.fail(`there is no story ${name}`);
  await prepare(stage);
  const serving = [...stage.recovery.vms.values()].find(({ power }) => power === 'running');
  (serving ?? stage.vm).write(VDA, SERVED, 'served');
  const before = stage.world.faults.happened.length;
  stage.world.faults.on('*', nth, 'crash-after');
  await act(stage).catch(() => null); // a dead controller answers nobody
  const fault = stage.world.faults.happened[before];
  if (fault === undefined) return false;
  const way = WAYS[salt % WAYS.length] ?? 'home';
  const where = `${name}, lost at ${nth}: ${fault}; then ${way}`;
  await stage.loseData();
  for (const host of [stage.production, stage.recovery]) restartAgent(stage.world, host);
  await assertRebuilt(stage, where);
  const wasHome = name === 'commit failback' && (await stage.replica()).phase === 'Ready';
  const wasMoved = (await leadOn(stage, way, where)) || wasHome;
  await assertSound(stage, wasMoved, where);
  return true;
}

async function assertRebuilt(stage: Stage, where: string): Promise<void> {
  const { folders } = await stage.run(stage.life.controller.rebuild(WHOLE, options));
  const told = folders.map(({ outcome, notes }) => [outcome, outcome === 'rebuilt' ? '' : notes]);
  assert.deepEqual(told, [['rebuilt', '']], where);
}

/** Until it is ready again; whether what the replica wrote came home. */
async function leadOn(stage: Stage, way: Way, where: string): Promise<boolean> {
  const done = async (begin: (controller: Controller) => Promise<OperationRecord>) => {
    const ended = await stage.finish(begin);
    assert.equal(ended.state, 'succeeded', `${where}: ${ended.kind}: ${ended.error?.message}`);
  };
  let wasMoved = false;
  for (let move = 0; move < 6; move += 1) {
    const { phase } = await stage.replica();
    if (phase === 'Ready') return wasMoved;
    if (phase === 'Failover')
      await done((it) => it.undoFailover('web-replica', { force: false }, options));
    else if (phase === 'ReadyToSwitch' && way === 'back') {
      await done((it) => it.cancelFailback('web-replica', options));
    } else if (phase === 'ReadyToSwitch') {
      await done((it) => it.switchOver('web-replica', SHUTDOWN, options));
    } else {
      wasMoved = !(way === 'back' && (await undone(stage, where)));
      if (wasMoved) await done((it) => it.commitFailback('web-replica', options));
    }
  }
  throw new Error(`${where}: it goes in circles`);
}

/** False where the commit had begun to merge. */
async function undone(stage: Stage, where: string): Promise<boolean> {
  const ended = await stage.finish((it) => it.undoFailback('web-replica', undoing(false), options));
  if (ended.state === 'succeeded') return true;
  assert.equal(ended.error?.code, 'failback-merged', `${where}: ${ended.error?.message}`);
  return false;
}

async function assertSound(stage: Stage, wasMoved: boolean, where: string): Promise<void> {
  // What nobody knows of any more is found by its looks, as the runbook says.
  await stage.finish((it) => it.rescan('web-replica', true, options));
  // An old mark of production waits for the next run, as after any other.
  const told = (await stage.violations('whenIdle')).filter(
    (one) => !/ of web has marks /.test(one),
  );
  assert.deepEqual(told, [], where);
  const temporaries = await stage.life.ports.catalog.temporaries();
  assert.deepEqual(temporaries, [], where);
  if (stage.vm.power === 'off') stage.vm.start();
  assert.ok(isConnected(stage.vm), `${where}: production is connected`);
  if (wasMoved) assert.equal(stage.vm.read(VDA, SERVED), 'served', where);
  else assert.equal(stage.vm.read(VDA, 1), 'three', where);
  assert.equal((await stage.replicate()).state, 'succeeded', `the next run after ${where}`);
  assert.deepEqual(await stage.violations('whenIdle'), [], `the next run after ${where}`);
}

function isConnected({ state }: SimulatedVm): boolean {
  return state.nics.every((nic) => nic.isConnected);
}
