/** Failback on a simulated world: only what differs moves, nothing is lost, and every way out leads somewhere sound. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES, MIB } from '../../src/domain/bytes.ts';
import { diskKey } from '../../src/domain/ids.ts';
import { transferSlots } from '../../src/engine/control/run-job.ts';
import type { Controller } from '../../src/ports/controller.ts';
import type { FailbackOrder } from '../../src/ports/orders.ts';
import { addDisk, losePower, resizeDisk } from '../../src/simulator/calamities.ts';
import { differenceBetween, readVmDisk } from '../../src/simulator/observation.ts';
import {
  addElsewhere,
  assertIncremental,
  assertTookOver,
  cancel,
  commit,
  done,
  facts,
  failback,
  failedOver,
  MANUAL,
  replicaVm,
  SHUTDOWN,
  stateOf,
  switchOver,
  undo,
} from './failback-stage.ts';
import { options, Stage, VDA, VDB } from './stage.ts';

test('the whole way home: copied live, switched over, committed, and protected incrementally', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  const moved = await failback(stage);
  assert.deepEqual(facts(await stage.replica()), ['ReadyToSwitch', true, true]);
  assert.equal(replicaVm(stage).power, 'running', 'the replica serves on');
  assert.throws(() => stage.vm.start(), /no such file/, 'production cannot be started by hand');
  // Block 7 of production is put back, blocks 10 and 3 of the replica come over: nothing else.
  assert.equal((moved.result as { sentBytes: number }).sentBytes, 3 * BLOCK_BYTES);
  assert.deepEqual(await stage.violations('whenIdle'), []);

  replicaVm(stage).write(VDA, 11, 'while ready to switch');
  await switchOver(stage);
  const switched = await stage.replica();
  assert.deepEqual(facts(switched), ['Failback', true, true]);
  assert.deepEqual([stage.vm.power, replicaVm(stage).power], ['running', 'off']);
  await assertTookOver(stage);
  assert.equal(stage.vm.read(VDA, 11), 'while ready to switch');
  assert.notEqual(switched.failback?.switched?.answeringAfterMs, null);
  assert.deepEqual(await stage.violations('everyStep'), []);

  stage.vm.write(VDA, 12, 'back home');
  await commit(stage);
  assert.deepEqual(facts(await stage.replica()), ['Ready', false, false]);
  assert.equal(stage.vm.read(VDA, 12), 'back home');
  assert.deepEqual(await stage.violations('whenIdle'), []);
  await assertIncremental(stage);
  const points = await stage.life.ports.catalog.points((await stage.replica()).id);
  assert.equal(points.at(-1)?.disks[0]?.sentBytes, BLOCK_BYTES, 'only what was written since');
});

test('from an older point: newer points stay, and what they hold is put back', async () => {
  await using stage = await Stage.open();
  await failedOver(stage, 0);
  const moved = await failback(stage);
  // Blocks 1 and 2 of the newer points and 7 of production are put back; 10 and 3 come over.
  assert.equal((moved.result as { sentBytes: number }).sentBytes, 5 * BLOCK_BYTES);
  await switchOver(stage);
  await assertTookOver(stage);
  assert.deepEqual(
    [0, 1, 2, 7].map((block) => stage.vm.read(VDA, block)),
    ['run-0', 'boot-1', 'boot-2', 'boot-7'],
  );
  await commit(stage);
  const points = await stage.life.ports.catalog.points((await stage.replica()).id);
  assert.equal(points.length, 4);
  await assertIncremental(stage);
});

for (const [what, spoil] of [
  ['production lost its marks with its power', (stage: Stage) => stage.production],
  ['the replica lost its marks with its power', (stage: Stage) => stage.recovery],
] as const) {
  test(`${what}: what differs is found by its hashes, and nothing more is moved`, async () => {
    await using stage = await Stage.open();
    await failedOver(stage);
    if (spoil(stage) === stage.production) stage.vm.image(VDA).marks.clear();
    else {
      losePower(stage.world, stage.recovery);
      replicaVm(stage).start();
    }
    const moved = await failback(stage);
    assert.equal((moved.result as { sentBytes: number }).sentBytes, 3 * BLOCK_BYTES);
    await switchOver(stage);
    await assertTookOver(stage);
    await commit(stage);
    await assertIncremental(stage);
  });
}

test('the replica loses power while ready to switch: everything is looked at again', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  replicaVm(stage).write(VDA, 15, 'moved by the first pass');
  await failback(stage);
  // Changed back to what the restore point has: no comparison with the point would find that it must be moved.
  replicaVm(stage).write(VDA, 15, 'boot-15');
  losePower(stage.world, stage.recovery);
  replicaVm(stage).start();
  await switchOver(stage);
  await assertTookOver(stage);
  assert.equal(stage.vm.read(VDA, 15), 'boot-15');
  await commit(stage);
  await assertIncremental(stage);
});

test('undo: production stops, its disks are as before, the replica goes on from the switchover', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  const before = readVmDisk(stage.vm, VDA);
  await failback(stage);
  await switchOver(stage);
  const state = await stateOf(stage, VDA);
  stage.vm.write(VDA, 13, 'dropped by the undo');
  await undo(stage);
  assert.deepEqual(facts(await stage.replica()), ['Failover', true, false]);
  assert.deepEqual([stage.vm.power, replicaVm(stage).power], ['off', 'running']);
  assert.equal(differenceBetween(readVmDisk(stage.vm, VDA), before), null);
  assert.equal(differenceBetween(readVmDisk(replicaVm(stage), VDA), state), null);
  assert.deepEqual(await stage.violations('whenIdle'), []);
  // And once more, to the end.
  await failback(stage);
  await switchOver(stage);
  await commit(stage);
  await assertIncremental(stage);
});

test('cancel: the replica never stopped, and undoing the failover starts production again', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  await cancel(stage);
  assert.deepEqual(facts(await stage.replica()), ['Failover', true, false]);
  assert.equal(replicaVm(stage).power, 'running');
  assert.deepEqual(await stage.violations('whenIdle'), []);
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.equal(stage.vm.read(VDA, 7), 'never replicated', 'production has what it had');
  assert.equal(stage.vm.power, 'running');
  await assertIncremental(stage);
});

test('production that runs is shut down for it, and started again when the failback fails', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await stage.failover('latest', 'none');
  stage.world.faults.on('production.mover.transfer', 1, 'fail', { code: 'target-full' });
  const failed = await stage.finish((controller) =>
    controller.failback('web-replica', MANUAL, options),
  );
  assert.equal(failed.state, 'failed');
  assert.equal(stage.vm.power, 'running');
  assert.deepEqual(facts(await stage.replica()), ['Failover', true, false]);
  await stage.sweep();
  assert.deepEqual(await stage.violations('whenIdle'), []);
  assert.equal(stage.vm.power, 'running', 'the sweeper leaves production alone');
  await failback(stage);
  assert.equal(stage.vm.power, 'off');
});

test('a saved memory image of production is never resumed over new disks', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  stage.vm.save();
  await stage.failover();
  const refused = await stage.finish((controller) =>
    controller.failback('web-replica', MANUAL, options),
  );
  assert.deepEqual([refused.state, refused.error?.code], ['failed', 'saved-state-present']);
  assert.equal(stage.vm.describe().hasSavedState, true, 'nothing was thrown away');
  await failback(stage, { discardSavedState: true });
  await switchOver(stage);
  await assertTookOver(stage);
});

test('a switchover at a time that has passed is refused, because it would be now', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  const at = stage.world.clock.now();
  const order = { ...MANUAL, switchover: { type: 'at', at } } as const;
  const { controller } = stage.life;
  for (const ask of [
    () => controller.failback('web-replica', order, options),
    () => controller.previewFailback('web-replica', order, options),
  ]) {
    await assert.rejects(ask(), /has passed; to switch over as soon as possible/);
  }
  assert.equal((await stage.replica()).phase, 'Failover');
});

test('switchover by itself: automatic, at a time, and when little is left', async () => {
  for (const [switchover, hours] of [
    [{ type: 'automatic' }, 0.01],
    [{ type: 'at', at: 0 }, 2],
    [{ type: 'below', bytes: MIB }, 0.1],
  ] as const) {
    await using stage = await Stage.open();
    await failedOver(stage);
    const at = stage.world.clock.now() + 3600 * 1000;
    const order =
      switchover.type === 'at' ? { ...switchover, at: at as typeof switchover.at } : switchover;
    await failback(stage, { switchover: order as FailbackOrder['switchover'] });
    for (let tick = 0; tick < 400; tick += 1) {
      await stage.world.clock.advance((hours * 3600 * 1000) / 400);
      await stage.tick();
    }
    const { phase, failback: record } = await stage.replica();
    assert.equal(phase, 'Failback', switchover.type);
    if (switchover.type === 'at') assert.ok((record?.switched?.switchedAt ?? 0) >= at);
    await assertTookOver(stage);
  }
});

test('what a failback will take is told from what earlier ones took', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  const preview = () =>
    stage.run(stage.life.controller.previewFailback('web-replica', MANUAL, options));
  const before = await preview();
  assert.deepEqual([before.expectedDowntimeMs, before.measuredMoves], [null, 0]);
  await failback(stage);
  await switchOver(stage);
  const took = (await stage.replica()).failback?.switched?.runningAfterMs;
  assert.ok(took !== undefined && took !== null);
  await undo(stage);
  const after = await preview();
  assert.deepEqual([after.expectedDowntimeMs, after.measuredMoves], [took, 1]);
});

test('to a VM that is made elsewhere: the job follows it, the next run is incremental', async () => {
  await using stage = await Stage.open();
  const elsewhere = await addElsewhere(stage);
  await failedOver(stage);
  stage.production.isUnreachable = true;
  const to = { type: 'new', host: 'elsewhere', name: 'web-2' } as const;
  const preview = await stage.run(
    stage.life.controller.previewFailback('web-replica', { ...MANUAL, to }, options),
  );
  assert.equal(preview.expectedCopyMs, null, 'all is copied, not only the branch');
  assert.match(preview.consequence, /^All that the replica's disks hold is copied/);
  await failback(stage, { to });
  const slots = await transferSlots(stage.life.ports, await stage.replica());
  const hosts = slots.map(({ name }) => name).filter((name) => name.startsWith('transfer:'));
  assert.deepEqual(hosts.toSorted(), ['transfer:elsewhere', 'transfer:recovery']);
  await switchOver(stage);
  const made = [...elsewhere.vms.values()][0];
  if (made === undefined) throw new Error('no VM was made');
  assert.deepEqual([made.state.name, made.power], ['web-2', 'running']);
  await assertTookOver(stage, made);
  await commit(stage);
  const replica = await stage.replica();
  assert.deepEqual([replica.sourceHostId, replica.sourceVmId], [elsewhere.id, made.id]);
  const [job] = await stage.life.ports.catalog.jobs();
  assert.deepEqual(
    [job?.value.sourceHostId, job?.value.vms.map(({ vmId }) => vmId)],
    [elsewhere.id, [made.id]],
  );
  made.write(VDA, 20, 'at the new place');
  await assertIncremental(stage);
});

test('no other VM takes the place of a source that runs connected, as both dry runs say', async () => {
  await using stage = await Stage.open();
  await addElsewhere(stage);
  await stage.protect();
  await stage.replicate();
  await stage.failover('latest');
  const to = { type: 'new', host: 'elsewhere', name: 'web-2' } as const;
  const { controller } = stage.life;
  const ahead = () =>
    stage.run(controller.previewFailback('web-replica', { ...MANUAL, to }, options));
  assert.equal((await ahead()).refusedBecause, 'the source VM web runs and is connected');
  const order = { ...MANUAL, to };
  const refused = await stage.finish((it) => it.failback('web-replica', order, options));
  assert.deepEqual([refused.state, refused.error?.code], ['failed', 'source-serves']);
  stage.vm.stop();
  assert.equal((await ahead()).refusedBecause, null);
  await failback(stage, { to });
  stage.vm.start();
  const last = await stage.run(controller.previewSwitchOver('web-replica', options));
  assert.equal(last.refusedBecause, 'the source VM web runs and is connected');
});

test('to a restored copy: only what differs from the point is moved', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  const copy = stage.world.addVm(stage.production, {
    name: 'web-restored',
    disks: [
      { key: VDA, sizeBytes: 8 * MIB },
      { key: VDB, sizeBytes: 16 * MIB },
    ],
  });
  copy.start();
  for (let block = 0; block < 20; block += 1) copy.write(VDA, block, `boot-${block}`);
  copy.stop();
  const moved = await failback(stage, { to: { type: 'copy', host: null, vm: 'web-restored' } });
  // The copy lacks what the three runs wrote, and what the replica wrote.
  assert.equal((moved.result as { sentBytes: number }).sentBytes, 5 * BLOCK_BYTES);
  await switchOver(stage);
  await assertTookOver(stage, copy);
  await commit(stage);
  await assertIncremental(stage);
});

test('a disk of production that is larger than its replica is not cut off', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  resizeDisk(stage.vm, VDA, 12 * MIB);
  const refused = await stage.finish((controller) =>
    controller.failback('web-replica', MANUAL, options),
  );
  assert.deepEqual([refused.state, refused.error?.code], ['failed', 'failback-refused']);
});

test('changes of the configuration are shown, and carried over only when asked for', async () => {
  for (const applyChanges of [false, true]) {
    await using stage = await Stage.open();
    await failedOver(stage);
    replicaVm(stage).state.memoryBytes = 1024 * MIB;
    const order = { ...MANUAL, applyChanges };
    const preview = await stage.run(
      stage.life.controller.previewFailback('web-replica', order, options),
    );
    assert.deepEqual(
      preview.changes.map(({ type }) => type),
      ['memory'],
    );
    const own = stage.vm.state.memoryBytes;
    await failback(stage, { applyChanges });
    await switchOver(stage);
    assert.equal(stage.vm.state.memoryBytes, applyChanges ? 1024 * MIB : own);
    await undo(stage);
    assert.equal(stage.vm.state.memoryBytes, own, 'as before');
  }
});

test('what was changed while ready to switch is shown before, and carried over when the switchover is asked to', async () => {
  for (const applyChanges of [false, true]) {
    await using stage = await Stage.open();
    await failedOver(stage);
    await failback(stage, { applyChanges: !applyChanges });
    replicaVm(stage).state.cpuCount = 4;
    const preview = await stage.run(
      stage.life.controller.previewSwitchOver('web-replica', options),
    );
    assert.deepEqual(preview.changes, [{ type: 'cpus', from: 1, to: 4 }]);
    assert.deepEqual([preview.homePower, preview.refusedBecause], ['off', null]);
    await done(stage, (controller) =>
      controller.switchOver('web-replica', { ...SHUTDOWN, applyChanges }, options),
    );
    assert.equal(stage.vm.state.cpuCount, applyChanges ? 4 : 1);
    const later = stage.life.controller.previewSwitchOver('web-replica', options);
    await assert.rejects(stage.run(later), { code: 'not-allowed-in-phase' });
  }
});

test('a disk added to the replica while ready to switch, and one grown: both come along, the rest is not copied again', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  const vm = replicaVm(stage);
  const vdc = diskKey('vdc');
  vm.stop();
  addDisk(stage.world, stage.recovery, vm, { key: vdc, sizeBytes: 4 * MIB });
  resizeDisk(vm, VDB, 24 * MIB);
  vm.start();
  vm.write(vdc, 1, 'on the new disk');
  vm.write(vdc, 2, 'on the new disk');
  vm.write(VDB, 300, 'in the new part');
  const nowhere = ['production.hypervisor.start', 1, 'fail', { code: 'vm-not-off' }] as const;
  stage.world.faults.on(...nowhere);
  const failed = await stage.finish((controller) =>
    controller.switchOver('web-replica', SHUTDOWN, options),
  );
  assert.equal(failed.state, 'failed');
  vm.write(vdc, 2, 'changed again');
  const switched = await switchOver(stage);
  assert.equal((switched.result as { sentBytes: number }).sentBytes, BLOCK_BYTES);
  await assertTookOver(stage);
  await commit(stage);
  assert.equal((await stage.replicate()).state, 'succeeded');
  const newest = (await stage.life.ports.catalog.points((await stage.replica()).id)).at(-1);
  assert.deepEqual(
    newest?.disks.map((disk) => disk.transfer),
    ['incremental', 'incremental', 'full'],
  );
  assert.deepEqual(await stage.violations('whenIdle'), []);
});

test('a failback that is asked for again is the one that is known, whatever it has made meanwhile', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  const seeded = { ...options, seed: 'aaaaaaaaaaaaaaaaaaaaaaaa' };
  const to = { type: 'new', host: 'production', name: 'web-2' } as const;
  const order = { ...MANUAL, to };
  const again = (controller: Controller) => controller.failback('web-replica', order, seeded);
  const first = await done(stage, again);
  await switchOver(stage);
  assert.equal((await done(stage, again)).id, first.id);
});
