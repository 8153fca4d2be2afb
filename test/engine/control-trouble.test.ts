/** What people ask for at the wrong moment, twice, or of something that is half there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostId } from '../../src/domain/ids.ts';
import { findOperation, resolve } from '../../src/engine/control/references.ts';
import { sweepAll } from '../../src/engine/scheduler.ts';
import { failedOver, MANUAL, switchOver, undo } from './failback-stage.ts';
import { failoverOrder, options, Stage } from './stage.ts';

function addSecondVm(stage: Stage): void {
  const vm = stage.world.addVm(stage.production, {
    name: 'mail',
    disks: [{ key: 'vda' as never, sizeBytes: 1024 * 1024 }],
  });
  vm.start();
}

test('running a whole job runs what can be run; one VM that cannot does not stop the others', async () => {
  await using stage = await Stage.open();
  addSecondVm(stage);
  await stage.protect({ vms: ['web', 'mail'] });
  const { controller, ports } = stage.life;
  await stage.run(controller.runJob('nightly', null, options));
  await stage.settleAll();
  await stage.failover();
  const begun = await stage.run(controller.runJob('nightly', null, options));
  await stage.settleAll();
  assert.equal(begun.length, 1);
  await assert.rejects(stage.run(controller.runJob('nightly', ['web'], options)), {
    code: 'not-allowed-in-phase',
  });
  const mail = (await ports.catalog.replicas()).find(({ value }) => value.sourceVmName === 'mail');
  assert.ok(mail !== undefined);
  assert.equal((await ports.catalog.points(mail.value.id)).length, 2);
});

test('a misspelt network, and a replica beside its source, are warnings of the job, said once', async () => {
  await using stage = await Stage.open();
  addSecondVm(stage);
  const request = stage.jobRequest({
    vms: ['web', 'mail'],
    targetHost: 'production',
    networkMap: { lna: null },
  });
  const { type, findings } = await stage.run(stage.life.controller.createJob(request, options));
  assert.equal(type, 'created');
  assert.deepEqual(
    findings.map((vm) => vm.findings.map(({ severity, element }) => `${severity} ${element}`)),
    [['warns host', 'warns network lna'], []],
  );
});

test('a job of which no VM can run says why', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await stage.failover();
  await assert.rejects(stage.replicate(), { code: 'not-allowed-in-phase' });
});

test('a host that cannot be proved leaves no record, whatever the reason', async () => {
  await using stage = await Stage.open();
  const { controller, ports } = stage.life;
  stage.world.addHost({ id: 'host-aaaaaaaaaaaaaaaaaaaaaaaa' as never });
  const request = {
    name: 'third',
    kind: 'simulated',
    address: 'sim:third',
    storageFolder: '/third/replicas',
    scratchFolder: null,
    transferSlots: 2,
    testSlots: 2,
    storageReserveBytes: null,
  } as const;
  const seeded = { ...options, seed: 'aaaaaaaaaaaaaaaaaaaaaaaa' };
  const fault = 'host-aaaaaaaaaaaaaaaaaaaaaaaa.hypervisor.describe';
  const details = { path: '/run/libvirt', who: 'us', reason: 'no', fix: 'chmod' };
  stage.world.faults.on(fault, 1, 'fail', { code: 'access-denied', details });
  await assert.rejects(stage.run(controller.addHost(request, seeded)), { code: 'access-denied' });
  assert.equal((await ports.catalog.hosts()).length, 2);
  await stage.run(controller.addHost(request, seeded));
  assert.equal((await ports.catalog.hosts()).length, 3);
});

test('an operation is found by its id however many came after it', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  const { id } = await stage.replicate();
  const { durable } = stage.life.ports;
  const forgetful = { ...durable, operations: async () => [] };
  assert.equal((await findOperation(forgetful, id)).id, id);
  await assert.rejects(findOperation(forgetful, 'Not an id!'), { code: 'operation-missing' });
});

test('a replica is not taken over by a new job while something is under way with it', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  const { controller, ports } = stage.life;
  await stage.run(controller.deleteJob('nightly', options));
  stage.world.faults.on('recovery.store.createBranch', 1, 'slow', { delayMs: 5000 });
  const order = failoverOrder('latest');
  const begun = await stage.run(controller.failover('web-replica', order, options));
  await stage.until(() => stage.world.faults.happened.length === 1);
  await assert.rejects(stage.protect(), { code: 'operation-in-progress' });
  const done = await stage.run(ports.durable.settled(begun.id, options));
  assert.equal(done.state, 'succeeded', done.error?.message);
  assert.equal((await stage.protect()).phase, 'Failover');
});

test('a VM that was made permanent does not share its name with the replica that follows it', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await stage.failover('latest', 'power-off');
  await stage.finish((controller) => controller.permanentFailover('web-replica', options));
  const { controller } = stage.life;
  assert.equal((await controller.replica('web-replica', options)).replica.phase, 'Permanent');
  await stage.run(controller.deleteJob('nightly', options));
  await stage.protect();
  assert.equal((await controller.replica('web-replica', options)).replica.phase, 'Pending');
});

test('two jobs made at once do not get one name', async () => {
  await using stage = await Stage.open();
  addSecondVm(stage);
  const results = await Promise.allSettled([
    stage.protect({ vms: ['web'] }),
    stage.protect({ vms: ['mail'] }),
  ]);
  assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  assert.equal((await stage.life.ports.catalog.jobs()).length, 1);
});

test('one request sent twice at once makes one job, and both hear of it', async () => {
  await using stage = await Stage.open();
  const { controller } = stage.life;
  const seeded = { ...options, seed: 'aaaaaaaaaaaaaaaaaaaaaaaa' };
  const made = await stage.run(
    Promise.all([0, 1, 2].map(() => controller.createJob(stage.jobRequest(), seeded))),
  );
  const ids = made.map((one) => (one.type === 'created' ? one.job.job.id : null));
  assert.deepEqual(new Set(ids), new Set(['job-aaaaaaaaaaaaaaaaaaaaaaaa']));
  const other = { ...stage.jobRequest(), name: 'other' };
  await assert.rejects(stage.run(controller.createJob(other, options)), {
    message: /made by job nightly\./,
  });
});

test('a preview says that a source that does not answer cannot be fenced', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  stage.production.isUnreachable = true;
  const order = failoverOrder('latest', 'power-off');
  const { controller } = stage.life;
  const preview = await stage.run(controller.previewFailover('web-replica', order, options));
  assert.match(preview.refusedBecause ?? '', /cannot be fenced/);
});

test('a storage folder that lets no VM through blocks a job, and a preview of a failover warns of it', async () => {
  await using stage = await Stage.open();
  stage.recovery.isStorageClosedToVms = true;
  await assert.rejects(stage.protect(), /storage folder/);
  stage.recovery.isStorageClosedToVms = false;
  await stage.protect();
  await stage.replicate();
  const order = failoverOrder('latest');
  const warnings = async () =>
    (await stage.run(stage.life.controller.previewFailover('web-replica', order, options)))
      .warnings;
  const closed = /^Target, storage folder: VMs may not pass/;
  assert.ok(!(await warnings()).some((warning) => closed.test(warning)));
  stage.recovery.isStorageClosedToVms = true;
  assert.ok((await warnings()).some((warning) => closed.test(warning)));
  stage.recovery.isUnreachable = true;
  assert.ok((await warnings()).some((warning) => /target host does not answer/.test(warning)));
});

test('an answer goes only to an operation that may ask', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  const { controller } = stage.life;
  const [run] = await stage.run(
    controller.operations({ subject: null, kind: null, open: false, limit: 1 }, options),
  );
  assert.ok(run !== undefined);
  await assert.rejects(stage.run(controller.answerOperation(run.id, 'wait', options)), {
    code: 'operation-not-asking',
  });
});

test('refusals name the replica and the VM as people know them', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  const { controller } = stage.life;
  await assert.rejects(stage.run(controller.runJob('nightly', ['nope'], options)), {
    message: 'Job nightly has no VM nope. See `understudy job show nightly`.',
  });
  await assert.rejects(
    stage.run(controller.undoFailover('web-replica', { force: false }, options)),
    {
      message: /^Replica web-replica is in phase Ready.*Allowed now: job run, failover/,
    },
  );
  await stage.run(controller.verify('web-replica', null, options));
  await assert.rejects(stage.run(controller.deleteReplica('web-replica', options)), {
    message: /^web-replica is busy with operation op-/,
  });
  await stage.settleAll();
});

test('of a thousand candidates a few are named', async () => {
  const items = Array.from({ length: 1000 }, (_, index) => ({
    id: `op-${index}`,
    name: `op-${index}`,
  }));
  const missing = () => assert.fail();
  assert.throws(() => resolve(items, 'op-', missing), {
    message: /could mean more than one: op-0, op-1, op-2, op-3, op-4, 995 more\./,
  });
});

test('two hosts cannot share a storage folder', async () => {
  await using stage = await Stage.open();
  const { controller, ports } = stage.life;
  const [host] = await ports.catalog.hosts();
  assert.ok(host !== undefined);
  const { storageFolder } = host.value;
  for (const folder of [storageFolder, `${storageFolder}/below`, '/']) {
    const request = { ...host.value, name: 'third', storageFolder: folder, scratchFolder: null };
    await assert.rejects(stage.run(controller.addHost(request, options)), {
      code: 'storage-taken',
    });
  }
  assert.equal((await ports.catalog.hosts()).length, 2);
});

test('housekeeping makes way for whoever ends a job or makes one, and is done later', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  const { controller, ports } = stage.life;
  const { faults } = stage.world;
  faults.on('recovery.mover.transfer', 1, 'hang');
  const [run] = await stage.run(controller.runJob('nightly', null, options));
  await stage.until(() => faults.happened.length === 1);
  stage.production.isUnreachable = true;
  await stage.run(controller.cancelOperation(run?.id ?? '', options));
  await stage.settleAll();
  stage.production.isUnreachable = false;
  const orders: (() => Promise<unknown>)[] = [
    () => stage.run(controller.deleteJob('nightly', options)),
    () => stage.protect(),
  ];
  for (const order of orders) {
    const before = faults.happened.length;
    faults.clear();
    faults.on('production.pointSource.end', 1, 'hang');
    await stage.world.clock.advance(3_600_000);
    await stage.run(sweepAll(ports, options));
    await stage.until(() => faults.happened.length > before);
    await order();
  }
  faults.clear();
  await stage.world.clock.advance(3_600_000);
  await stage.sweep();
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('a host that a failback goes to is not removed while it is undecided', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  const spare = stage.world.addHost({ id: hostId('spare') });
  await stage.knowHost(spare.id);
  const { controller, ports } = stage.life;
  const removal = () => stage.run(controller.removeHost('spare', options));
  const order = { ...MANUAL, to: { type: 'new', host: 'spare', name: 'web-2' } } as const;
  const { id } = await stage.run(controller.failback('web-replica', order, options));
  await assert.rejects(removal, { code: 'host-in-use' });
  await stage.run(ports.durable.settled(id, options));
  await assert.rejects(removal, { code: 'host-in-use' });
  await switchOver(stage);
  await assert.rejects(removal, { code: 'host-in-use' });
  await undo(stage);
  await removal();
});
