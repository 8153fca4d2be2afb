/** Several replicas of one VM, wished for at the same moment. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type HostId, hostId } from '../../src/domain/ids.ts';
import type { SimulatedHost } from '../../src/simulator/host.ts';
import { failback } from './failback-stage.ts';
import { failoverOrder, options, Stage, VDA } from './stage.ts';

/** Another replica of the VM, far away, with a restore point. */
async function protectFar(stage: Stage): Promise<SimulatedHost> {
  const far = stage.world.addHost({ id: hostId('far') });
  await stage.knowHost(far.id);
  await stage.protect({ name: 'far away', targetHost: 'far', replicaSuffix: '-far' });
  await stage.finish(async (controller) => {
    const [run] = await controller.runJob('far away', null, options);
    return run ?? assert.fail();
  });
  return far;
}

test('two replicas of one VM that are failed over in the same moment do not meet', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  const far = await protectFar(stage);
  stage.production.isUnreachable = true;
  const wishes = ['web-replica', 'web-far'].map((name) =>
    stage.life.controller.failover(name, failoverOrder('latest'), options),
  );
  await stage.run(Promise.allSettled(wishes));
  await stage.settleAll();
  const standIns = [stage.recovery, far].flatMap(({ vms }) => [...vms.values()]);
  const serving = standIns.filter(
    (vm) => vm.power === 'running' && vm.state.nics.some(({ isConnected }) => isConnected),
  );
  assert.equal(serving.length, 1);
});

test('a run that is asked for again is the one that is known, whatever began meanwhile', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await protectFar(stage);
  const seeded = { ...options, seed: 'aaaaaaaaaaaaaaaaaaaaaaaa' };
  const { controller } = stage.life;
  const [first] = await stage.run(controller.runJob('far away', null, seeded));
  await stage.settleAll();
  await stage.failover('latest', 'power-off');
  await failback(stage);
  await assert.rejects(stage.run(controller.runJob('far away', null, options)), {
    code: 'source-held',
  });
  const [again] = await stage.run(controller.runJob('far away', null, seeded));
  assert.equal(again?.id, first?.id);
});

test('a fence that a failed failover leaves to another replica is found again without the catalogue', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  const far = await protectFar(stage);
  const { faults } = stage.world;
  for (const nth of [1, 2, 3, 4, 5]) {
    faults.on('far.store.createBranch', nth, 'fail');
    if (nth > 1) faults.on('production.hypervisor.setNicsConnected', nth, 'fail');
  }
  const order = { ...failoverOrder('latest'), fence: 'nics' } as const;
  const stuck = await stage.finish((controller) => controller.failover('web-far', order, options));
  assert.equal(stuck.state, 'suspended');
  assert.equal((await stage.failover()).state, 'succeeded');
  await stage.finish((controller) => controller.retryOperation(stuck.id, options));
  const leftOfFar = async () => {
    const all = await stage.life.ports.catalog.replicas();
    return all.find(({ value }) => value.name === 'web-far')?.value.leftFencedNics;
  };
  const left = await leftOfFar();
  assert.equal(left?.length, 1);
  await stage.loseData();
  await stage.knowHost(far.id);
  const whole = { hosts: null, sourceHost: null, repairs: false, isDryRun: false };
  await stage.run(stage.life.controller.rebuild(whole, options));
  assert.deepEqual(await leftOfFar(), left);
});

test('a failover that is refused, as the other replica is moving, leaves the run alone that it would have stopped', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await protectFar(stage);
  const { controller, ports } = stage.life;
  const { faults } = stage.world;
  faults.on('far.mover.transfer', 1, 'slow', { delayMs: 20_000 });
  stage.vm.write(VDA, 1, 'moved for a while');
  const [run] = await stage.run(controller.runJob('far away', null, options));
  faults.on('recovery.hypervisor.start', 1, 'slow', { delayMs: 5_000 });
  await stage.run(controller.failover('web-replica', failoverOrder('latest'), options));
  await assert.rejects(
    stage.run(controller.failover('web-far', failoverOrder('latest'), options)),
    { code: 'sibling-moving' },
  );
  const { state } = await stage.run(ports.durable.settled(run?.id ?? assert.fail(), options));
  assert.equal(state, 'succeeded');
});

test('the host of a replica that was made permanent is removed: the other one is failed over, and it is told that nobody can tell', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await protectFar(stage);
  const { controller, ports } = stage.life;
  await stage.failover('latest', 'power-off');
  await stage.finish((of) => of.permanentFailover('web-replica', options));
  await stage.run(controller.deleteJob('nightly', options));
  await stage.run(controller.removeHost('recovery', options));
  // As the server's own directory, which has only hosts that the catalogue has.
  (stage.world.hosts as Map<HostId, SimulatedHost>).delete(stage.recovery.id);
  const order = failoverOrder('latest');
  const done = await stage.finish((of) => of.failover('web-far', order, options));
  assert.equal(done.state, 'succeeded', done.error?.message);
  const { id } = await stage.replica();
  const told = await ports.catalog.conditions(id);
  assert.match(told.map(({ message }) => message).join(), /web-replica, of another replica/);
});
