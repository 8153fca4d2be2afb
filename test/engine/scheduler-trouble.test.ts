/** The scheduler when something is wrong: nobody starves, nothing spins, no clock stops it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rememberNothing } from '../../src/engine/run-facts.ts';
import { scheduleRuns, sweepAll } from '../../src/engine/scheduler.ts';
import { options, Stage, VDA } from './stage.ts';

async function points(stage: Stage) {
  return stage.life.ports.catalog.points((await stage.replica()).id);
}

async function count(stage: Stage, kind: 'replicate' | 'sweep'): Promise<number> {
  return (await stage.life.ports.durable.operations({ kind, limit: 1000 })).length;
}

/** So many seconds, with one look at the jobs in each. */
async function seconds(stage: Stage, many: number, look = scheduleRuns): Promise<void> {
  for (let second = 0; second < many; second += 1) {
    await stage.run(look(stage.life.ports, options));
    await stage.world.clock.advance(1000);
  }
}

test('a replica whose record is damaged does not keep the others from being replicated', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect({ isScheduled: true });
  const { catalog } = stage.life.ports;
  const broken = {
    ...stage.life.ports,
    catalog: {
      ...catalog,
      replicas: async () => {
        const [known] = await catalog.replicas();
        if (known === undefined) return [];
        return [{ ...known, value: { ...known.value, id: 'rp-broken' as typeof id } }, known];
      },
      points: (of: typeof id) =>
        of === id ? catalog.points(of) : Promise.reject(new Error('cannot be read')),
    },
  };
  await assert.rejects(stage.run(scheduleRuns(broken, options)), /cannot be read/);
  await stage.settleAll();
  assert.equal((await points(stage)).length, 1);
});

test('nothing is remembered of a replica that is gone', async () => {
  await using stage = await Stage.open();
  await stage.protect({ isScheduled: true });
  await stage.run(scheduleRuns(stage.life.ports, options));
  await stage.settleAll();
  const { ports } = stage.life;
  const remembered = rememberNothing();
  const sizes = () => Object.values(remembered).map(({ size }) => size);
  await stage.run(scheduleRuns(ports, options, remembered));
  assert.deepEqual(sizes(), [1, 1, 1]);
  const catalog = { ...ports.catalog, replicas: async () => [] };
  await stage.run(scheduleRuns({ ...ports, catalog }, options, remembered));
  assert.deepEqual(sizes(), [0, 0, 0]);
});

test('a run that fails is repeated ever more slowly', async () => {
  await using stage = await Stage.open();
  await stage.protect({ isScheduled: true, rpoSeconds: 600 });
  stage.production.isUnreachable = true;
  await seconds(stage, 600);
  const runs = await count(stage, 'replicate');
  assert.ok(runs >= 3 && runs <= 12, `${runs} runs in ten minutes`);
});

test('a run that a person cancels is not begun again within the second', async () => {
  await using stage = await Stage.open();
  await stage.protect({ isScheduled: true });
  stage.world.faults.on('recovery.store.openPartial', 1, 'hang');
  const { controller, ports } = stage.life;
  await stage.run(scheduleRuns(ports, options));
  await stage.until(() => stage.world.faults.happened.length === 1);
  const [run] = await ports.durable.operations({ open: true, limit: 1 });
  await stage.run(controller.cancelOperation(run?.id ?? '', options));
  await stage.settleAll();
  await seconds(stage, 3);
  assert.equal(await count(stage, 'replicate'), 1);
  await seconds(stage, 10);
  assert.equal(await count(stage, 'replicate'), 2);
});

test('a host that stays away is not swept every few seconds', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  stage.world.faults.on('recovery.mover.transfer', 1, 'hang');
  await stage.run(stage.life.controller.runJob('nightly', null, options));
  await stage.until(() => stage.world.faults.happened.length === 1);
  stage.production.isUnreachable = true;
  const [run] = await stage.life.ports.durable.operations({ open: true, limit: 1 });
  await stage.run(stage.life.controller.cancelOperation(run?.id ?? '', options));
  await stage.settleAll();
  for (let round = 0; round < 240; round += 1) {
    await stage.run(sweepAll(stage.life.ports, options));
    await stage.world.clock.advance(15_000);
  }
  const sweeps = await count(stage, 'sweep');
  assert.ok(sweeps >= 3 && sweeps <= 15, `${sweeps} sweeps in an hour`);
  stage.production.isUnreachable = false;
  await stage.world.clock.advance(900_000);
  await stage.sweep();
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('a clock that was ahead for one run does not stop the schedule when it is right again', async () => {
  await using stage = await Stage.open();
  await stage.protect({ isScheduled: true, rpoSeconds: 600 });
  stage.world.clock.jumpWall(365 * 24 * 3600 * 1000);
  await stage.tick();
  assert.equal((await points(stage)).length, 1);
  stage.world.clock.jumpWall(-365 * 24 * 3600 * 1000);
  stage.vm.write(VDA, 1, 'after the clock was set');
  await seconds(stage, 600);
  await stage.settleAll();
  assert.ok((await points(stage)).length > 1, 'replication goes on');
  await seconds(stage, 60);
  assert.ok((await count(stage, 'replicate')) < 6, 'and does not spin');
});

test('a breach is told no more once nothing is promised: paused, or failed over', async () => {
  await using stage = await Stage.open();
  await stage.protect({ isScheduled: true, rpoSeconds: 600 });
  await stage.tick();
  stage.production.isUnreachable = true;
  await stage.world.clock.advance(601_000);
  await stage.tick();
  assert.deepEqual(await stage.conditionNames(), ['rpo-breached']);
  await stage.run(stage.life.controller.setJobPaused('nightly', true, options));
  await stage.tick();
  assert.deepEqual(await stage.conditionNames(), []);
  await stage.run(stage.life.controller.setJobPaused('nightly', false, options));
  await stage.tick();
  assert.deepEqual(await stage.conditionNames(), ['rpo-breached']);
});

test('what was said to be about to happen is told anew when it has, with the time it began', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect({ isScheduled: true, rpoSeconds: 600 });
  await stage.tick();
  stage.production.isUnreachable = true;
  await stage.world.clock.advance(560_000);
  await stage.tick();
  const [before] = await stage.life.ports.catalog.conditions(id);
  assert.match(before?.message ?? '', /is about to be older/);
  await stage.world.clock.advance(60_000);
  await stage.tick();
  const [after] = await stage.life.ports.catalog.conditions(id);
  assert.match(after?.message ?? '', /is older/);
  assert.equal(after?.since, before?.since);
});
