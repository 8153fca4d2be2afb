/** A job that is changed, and one that is only looked at before it is made. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB } from '../../src/domain/bytes.ts';
import type { ChangeJob } from '../../src/ports/job-orders.ts';
import { replicaVm } from './failback-stage.ts';
import { options, Stage, VDA } from './stage.ts';

async function change(stage: Stage, order: ChangeJob, seed: string | null = null) {
  const work = stage.life.controller.changeJob('nightly', order, { ...options, seed });
  const changed = await stage.run(work);
  return changed.type === 'changed' ? changed : assert.fail(JSON.stringify(changed.findings));
}

const preview = (stage: Stage, order: ChangeJob) =>
  stage.run(stage.life.controller.previewJobChange('nightly', order, options));

const jobOf = async (stage: Stage) => (await stage.life.ports.catalog.jobs())[0]?.value;

async function withPoints(stage: Stage): Promise<void> {
  await stage.protect();
  for (let run = 0; run < 3; run += 1) await stage.replicate();
}

test('a change is one operation of the history, with what was changed in its result and in one line', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  const { operationId, changes } = await change(stage, { rpoSeconds: 300, name: 'shop' });
  const { durable } = stage.life.ports;
  const query = { subject: 'shop', kind: 'change-job', open: false, limit: 9 } as const;
  const [operation] = await stage.life.controller.operations(query, options);
  assert.equal(operation?.id, operationId);
  assert.deepEqual(operation?.result, { changes });
  const notes = (await durable.history(operation.id, 0)).filter(({ type }) => type === 'note');
  assert.deepEqual(
    notes.map(({ message }) => message),
    ['name: nightly → shop; RPO: 15m → 5m'],
  );
  assert.deepEqual([(await jobOf(stage))?.name, (await jobOf(stage))?.rpoSeconds], ['shop', 300]);
});

test('what is so already begins nothing, and the same request repeated answers the same', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  const same = await change(stage, { rpoSeconds: 900 });
  assert.deepEqual([same.operationId, same.changes], [null, []]);
  const seed = 'a'.repeat(24);
  const first = await change(stage, { rpoSeconds: 300 }, seed);
  const again = await change(stage, { rpoSeconds: 300 }, seed);
  assert.deepEqual([again.operationId, again.changes], [first.operationId, first.changes]);
  const all = await stage.life.ports.durable.operations({ kind: 'change-job', limit: 9 });
  assert.equal(all.length, 1);
});

test('a preview changes nothing, and tells of restore points that would go', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  const before = await jobOf(stage);
  const told = await preview(stage, { retention: { keepLast: 1 } });
  assert.equal(told.job.job.retention.keepLast, 1);
  assert.match(
    told.findings[0]?.findings[0]?.message ?? '',
    /2 of the 3 restore points of web-rep/,
  );
  assert.deepEqual(await jobOf(stage), before);
  assert.equal(
    (await stage.life.ports.durable.operations({ kind: 'change-job', limit: 9 })).length,
    0,
  );
});

test('a name that is taken, a VM of another job and tests without a period are refused', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.world.clock.run(
    stage.life.controller.createJob(
      { ...stage.jobRequest({ name: 'other', targetHost: 'production' }), replicaSuffix: '.x' },
      options,
    ),
  );
  const at = [{ type: 'tcp', address: '10.0.0.5', port: 22 }] as const;
  for (const [order, code] of [
    [{ name: 'other' }, 'name-taken'],
    [{ answers: [{ vm: 'mail', at }] }, 'vm-not-in-job'],
    [{ testing: { probes: [] } }, 'invalid-request'],
    // The addresses of one of them would be lost.
    [
      {
        answers: [
          { vm: 'web', at },
          { vm: stage.vm.id, at: [] },
        ],
      },
      'invalid-request',
    ],
  ] as const) {
    await assert.rejects(change(stage, order), { code });
    await assert.rejects(preview(stage, order), { code });
  }
});

test('two jobs that are to have one name in the same moment: one has it', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.protect({ name: 'other', targetHost: 'production', replicaSuffix: '.x' });
  const { controller, ports } = stage.life;
  const renamed = ['nightly', 'other'].map((job) =>
    controller.changeJob(job, { name: 'shop' }, options),
  );
  const outcomes = await stage.run(Promise.allSettled(renamed));
  const refused = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []));
  assert.deepEqual(refused, ['name-taken']);
  const names = (await ports.catalog.jobs()).map(({ value }) => value.name);
  assert.equal(names.filter((name) => name === 'shop').length, 1);
});

test('networks: what the target has not got is told before, also while the source is lost', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  stage.production.isUnreachable = true;
  const { findings } = await preview(stage, { networks: { 'network:default': 'nowhere' } });
  const messages = findings.flatMap((vm) => vm.findings.map(({ message }) => message));
  assert.equal(messages.length, 1);
  assert.match(messages[0] ?? '', /nowhere/);
  const slip = await preview(stage, { networks: { lna: null } });
  assert.match(slip.findings[0]?.findings[0]?.message ?? '', /No NIC is plugged into it/);
});

test('networks can be set right while nobody answers, and the failover afterwards has them', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  stage.production.isUnreachable = true;
  stage.recovery.isUnreachable = true;
  const { findings } = await change(stage, { networks: { 'network:default': null } });
  assert.match(findings[0]?.findings[0]?.message ?? '', /A host did not answer/);
  stage.recovery.isUnreachable = false;
  assert.equal((await stage.failover('latest')).state, 'succeeded');
  assert.ok(replicaVm(stage).state.nics.every(({ isConnected }) => !isConnected));
  const again = await preview(stage, { networks: { 'network:default': 'network:default' } });
  assert.match(again.changes[0]?.takesEffect ?? '', /web-replica stands in and keeps its own/);
});

test('a target that hangs is waited for once, however many VMs the job has', async () => {
  await using stage = await Stage.open();
  const vms = ['mail', 'shop', 'wiki'];
  for (const name of vms) {
    stage.world.addVm(stage.production, { name, disks: [{ key: VDA, sizeBytes: MIB }] });
  }
  await stage.protect({ vms: ['web', ...vms] });
  await stage.replicate();
  await stage.settleAll();
  for (let nth = 1; nth <= 8; nth += 1) {
    stage.world.faults.on('recovery.hypervisor.preflightTarget', nth, 'hang');
  }
  const began = stage.world.clock.monotonicMs();
  const { findings } = await preview(stage, { networks: { 'network:default': null } });
  assert.ok(stage.world.clock.monotonicMs() - began < 15_000);
  const unasked = findings.filter((vm) =>
    vm.findings.some(({ message }) => message.startsWith('A host did not answer')),
  );
  assert.equal(unasked.length, 4);
});

test('networks that change while a run is under way are in the replica VM at its end', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  const { controller, ports } = stage.life;
  const [run] = await stage.run(controller.runJob('nightly', null, options));
  await stage.until(() => stage.vm.freeze !== null);
  await change(stage, { networks: { 'network:default': 'network:dr' } });
  await stage.run(ports.durable.settled(run?.id ?? assert.fail(), options));
  assert.equal(replicaVm(stage).state.nics[0]?.network, 'network:dr');
  assert.deepEqual(await ports.catalog.conditions((await stage.replica()).id), []);
});

test('a change that makes a replica impossible is refused, one that leaves it so is not', async () => {
  await using stage = await Stage.open();
  await withPoints(stage);
  const { catalog, hosts } = stage.life.ports;
  const job = (await jobOf(stage)) ?? assert.fail();
  const real = await hosts.ports(job.targetHostId);
  const preflightTarget: typeof real.hypervisor.preflightTarget = async ({ networkMap }) =>
    networkMap.lan === 'bad' || networkMap.lan === 'worse'
      ? [{ severity: 'blocks', element: 'network', message: `${networkMap.lan} cannot be.` }]
      : [{ severity: 'blocks', element: 'machine', message: 'There is none such.' }];
  const ports = { ...real, hypervisor: { ...real.hypervisor, preflightTarget } };
  stage.life.ports.hosts.ports = async () => ports;
  const blocked = await stage.run(
    stage.life.controller.changeJob('nightly', { networks: { lan: 'bad' } }, options),
  );
  assert.equal(blocked.type, 'blocked');
  assert.deepEqual((await catalog.job(job.id))?.value.networkMap, {});
  assert.equal((await change(stage, { networks: { lan: 'good' } })).type, 'changed');
});

test('a job that is only previewed leaves nothing behind and says what it would take over', async () => {
  await using stage = await Stage.open();
  const ask = () => stage.run(stage.life.controller.previewJob(stage.jobRequest(), options));
  const [made] = (await ask()).replicas;
  assert.deepEqual(made, { name: 'web-replica', sourceVmName: 'web', pointCount: null });
  const { catalog } = stage.life.ports;
  assert.deepEqual([await catalog.jobs(), await catalog.replicas()], [[], []]);
  await withPoints(stage);
  await assert.rejects(ask(), { code: 'name-taken' });
  await stage.life.controller.deleteJob('nightly', options);
  assert.equal((await ask()).replicas[0]?.pointCount, 3);
  assert.equal((await stage.replica()).jobId, null);
  const blocked = { ...stage.jobRequest(), targetHost: 'nowhere' };
  await assert.rejects(stage.life.controller.previewJob(blocked, options), {
    code: 'host-missing',
  });
});
