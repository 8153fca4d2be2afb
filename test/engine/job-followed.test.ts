/** Operations that change the job of their replica, which anybody may change meanwhile: they hold the replica, not the job. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OperationRecord } from '../../src/domain/operation/operation.ts';
import type { Controller } from '../../src/ports/controller.ts';
import { addElsewhere, failback, failedOver, switchOver } from './failback-stage.ts';
import { options, Stage } from './stage.ts';

/** Somebody pauses the job right after the operation has read what it is about to change. */
function pauseAfterReading(stage: Stage, read: 'job' | 'conditions'): void {
  const { catalog, durable } = stage.life.ports;
  let isGathering = false;
  durable.subscribe({
    onEvent: ({ type, step }) => {
      isGathering ||= type === 'step-started' && step === 'gather-changes';
    },
  });
  const real = catalog[read];
  Object.assign(catalog, {
    [read]: async (id: Parameters<typeof real>[0]) => {
      const found = await real(id as never);
      if (!isGathering) return found;
      Object.assign(catalog, { [read]: real });
      await stage.life.controller.setJobPaused('nightly', true, options);
      return found;
    },
  });
}

async function endsWell(
  stage: Stage,
  read: 'job' | 'conditions',
  begin: (controller: Controller) => Promise<OperationRecord>,
): Promise<void> {
  pauseAfterReading(stage, read);
  const { state, error } = await stage.finish(begin);
  assert.equal(state, 'succeeded', error?.message);
}

const jobs = async (stage: Stage) =>
  (await stage.life.ports.catalog.jobs()).map(({ value }) => value);

test('a replica is deleted while its job is paused: both are true afterwards', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await endsWell(stage, 'job', (it) => it.deleteReplica('web-replica', options));
  const [job] = await jobs(stage);
  assert.equal(job?.isPaused, true);
  assert.match(job.vms[0]?.excludedBecause ?? '', /removed/);
});

test('a failover is made permanent while the job is paused', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await endsWell(stage, 'conditions', (it) => it.permanentFailover('web-replica', options));
  const [job] = await jobs(stage);
  assert.equal(job?.isPaused, true);
  assert.match(job.vms[0]?.excludedBecause ?? '', /permanent/);
});

test('a failback to another place is committed while the job is paused', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  const { id } = await addElsewhere(stage);
  await failback(stage, { to: { type: 'new', host: id, name: 'web-new' } });
  await switchOver(stage);
  await endsWell(stage, 'conditions', (it) => it.commitFailback('web-replica', options));
  const [job] = await jobs(stage);
  assert.deepEqual([job?.isPaused, job?.sourceHostId], [true, id]);
});
