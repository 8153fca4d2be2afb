/** Jobs with windows: runs begin by the clock in them only, whatever else happens. The world begins on a Thursday at midnight. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatInstant } from '../../src/domain/instant.ts';
import { parseWindow } from '../../src/domain/replication/window.ts';
import { scheduleRuns } from '../../src/engine/scheduler.ts';
import { options, Stage, VDB } from './stage.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const windows = ['02:00-04:00'].map(parseWindow);

async function runs({ life }: Stage): Promise<number> {
  return (await life.ports.durable.operations({ kind: 'replicate', limit: 100 })).length;
}

async function nextRunAt({ life }: Stage): Promise<string> {
  const { nextRunAt: at } = await life.controller.job('nightly', options);
  return at === null ? 'none' : formatInstant(at);
}

test('the next run is told, and begun, in the window', async () => {
  await using stage = await Stage.open();
  await stage.protect({ isScheduled: true, windows, rpoSeconds: 24 * 3600 });
  assert.equal(await nextRunAt(stage), '2026-01-01T02:00:00.000Z');
  await stage.tick();
  assert.equal(await runs(stage), 0);
  await stage.world.clock.advance(2 * HOUR_MS);
  await stage.tick();
  assert.equal(await runs(stage), 1);
  // A fifth of the RPO before the deadline the window is closed; before the deadline it opens again.
  assert.match(await nextRunAt(stage), /^2026-01-02T02:00/);
});

test('a run that is under way when the window closes goes on', async () => {
  await using stage = await Stage.open();
  await stage.protect({ isScheduled: true, windows, bytesPerSecondMax: 1024 });
  await stage.world.clock.advance(4 * HOUR_MS - MINUTE_MS);
  stage.vm.write(VDB, 1, 'long');
  await stage.tick();
  assert.ok(stage.world.clock.now() > Date.parse('2026-01-01T04:00:00Z'), 'it took long');
  const [run] = await stage.life.ports.durable.operations({ kind: 'replicate', limit: 1 });
  assert.equal(run?.state, 'succeeded');
});

test('a window that passed while nobody looked is waited for again; a run by hand waits for none', async () => {
  await using stage = await Stage.open();
  await stage.protect({ isScheduled: true, windows });
  await stage.world.clock.advance(5 * HOUR_MS);
  await stage.tick();
  assert.equal(await runs(stage), 0);
  assert.equal(await nextRunAt(stage), '2026-01-02T02:00:00.000Z');
  assert.equal((await stage.replicate()).state, 'succeeded');
});

test('a breach that the window causes is told before the deadline, with the window and when it opens', async () => {
  await using stage = await Stage.open();
  const { id } = await stage.protect({ isScheduled: true, windows, rpoSeconds: 6 * 3600 });
  const told = async () => {
    await stage.run(scheduleRuns(stage.life.ports, options));
    return (await stage.life.ports.catalog.conditions(id)).find(
      (one) => one.name === 'rpo-breached',
    );
  };
  await stage.replicate();
  assert.equal(await told(), undefined, 'the window before the deadline is still to come');
  await stage.world.clock.advance(5 * HOUR_MS);
  const held = 'no run begins by the clock outside 02:00-04:00 UTC, the next at 2026-01-02T02:00';
  assert.match(
    (await told())?.message ?? '',
    new RegExp(`is about to be older than 21600 s .*${held}`),
  );
  await stage.world.clock.advance(2 * HOUR_MS);
  assert.match((await told())?.message ?? '', new RegExp(`is older than 21600 s .*${held}`));
  assert.equal((await stage.replicate()).state, 'succeeded');
});

test('an RPO that no window can keep is a warning before the job is made, once', async () => {
  await using stage = await Stage.open();
  const { controller } = stage.life;
  const request = stage.jobRequest({ isScheduled: true, windows, rpoSeconds: 6 * 3600 });
  const { type, findings } = await stage.run(controller.createJob(request, options));
  assert.equal(type, 'created');
  assert.deepEqual(
    findings.flatMap((vm) => vm.findings.map(({ severity, element }) => [severity, element])),
    [['warns', 'windows']],
  );
  const byHand = stage.jobRequest({ name: 'by hand', windows });
  await stage.run(controller.deleteJob('nightly', options));
  const silent = await stage.run(controller.createJob(byHand, options));
  assert.deepEqual(
    silent.findings.flatMap((vm) => vm.findings),
    [],
  );
});
