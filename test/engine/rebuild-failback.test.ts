/** The controller's data is lost in the middle of a failback: what is found again is how far it was, and every way on works. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES, MIB } from '../../src/domain/bytes.ts';
import type { FailbackOrder } from '../../src/ports/orders.ts';
import type { RebuildReport } from '../../src/ports/rebuild-report.ts';
import { restartAgent } from '../../src/simulator/calamities.ts';
import {
  assertIncremental,
  commit,
  done,
  failback as failbackOf,
  replicaVm,
  switchOver,
  undoing,
} from './failback-stage.ts';
import { options, Stage, VDA, VDB } from './stage.ts';

const WHOLE = { hosts: null, sourceHost: null, repairs: false, isDryRun: false };
/** It switches over by itself, and carries changes over: neither may a rebuild do. */
const failback = (stage: Stage, order: Partial<FailbackOrder> = {}) =>
  failbackOf(stage, { switchover: { type: 'automatic' }, applyChanges: true, ...order });
const undoFailback = (stage: Stage) =>
  stage.finish((it) => it.undoFailback('web-replica', undoing(false), options));

async function failedOver(stage: Stage): Promise<void> {
  await stage.protect();
  stage.vm.write(VDA, 1, 'replicated');
  await stage.replicate();
  stage.vm.write(VDA, 7, 'never replicated');
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  replicaVm(stage).write(VDA, 10, 'by the replica');
}

async function lost(stage: Stage): Promise<RebuildReport['folders'][number]> {
  await stage.loseData();
  for (const host of [stage.production, stage.recovery]) restartAgent(stage.world, host);
  return rebuilt(stage);
}

async function rebuilt(stage: Stage): Promise<RebuildReport['folders'][number]> {
  const { folders } = await stage.run(stage.life.controller.rebuild(WHOLE, options));
  return folders[0] ?? assert.fail('nothing was found');
}

test('ready to switch: nothing that was moved is trusted, and nobody is switched over by himself', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  replicaVm(stage).write(VDB, 3, 'while ready to switch');
  const before = await stage.replica();
  const folder = await lost(stage);
  assert.equal(folder.phase, 'ReadyToSwitch');
  assert.match(folder.notes.join(' '), /failback to web on production is ready to switch over/);
  const after = await stage.replica();
  const { home, layers, id, startedAt, appliesChanges, hasStoppedHome } =
    before.failback ?? assert.fail();
  const kept = { home, layers, id, startedAt, appliesChanges, hasStoppedHome };
  const {
    home: h,
    layers: l,
    id: i,
    startedAt: s,
    appliesChanges: a,
    ...rest
  } = after.failback ?? assert.fail();
  assert.deepEqual(
    {
      home: h,
      layers: l,
      id: i,
      startedAt: s,
      appliesChanges: a,
      hasStoppedHome: rest.hasStoppedHome,
    },
    kept,
  );
  assert.deepEqual([rest.switchover.type, rest.syncedMark], ['manual', null]);
  await stage.world.clock.advance(60_000);
  await stage.tick();
  assert.equal((await stage.replica()).phase, 'ReadyToSwitch');
  const { result } = await switchOver(stage);
  assert.equal(
    (result as { sentBytes: number }).sentBytes,
    3 * BLOCK_BYTES,
    'what differs, and nothing more',
  );
  assert.deepEqual(
    [stage.vm.read(VDA, 7), stage.vm.read(VDA, 10), stage.vm.read(VDB, 3)],
    ['boot-7', 'by the replica', 'while ready to switch'],
  );
  await commit(stage);
  await assertIncremental(stage);
});

test('switched over: committed, or undone and begun again', async () => {
  for (const way of ['commit', 'undo'] as const) {
    await using stage = await Stage.open();
    await failedOver(stage);
    await failback(stage);
    await switchOver(stage);
    const { failback: before } = await stage.replica();
    const folder = await lost(stage);
    assert.equal(folder.phase, 'Failback');
    assert.match(folder.notes.join(' '), /production VM web on production is running. Now decide/);
    const { failback: after } = await stage.replica();
    const {
      runningAfterMs: _r,
      answeringAfterMs: _a,
      switchedAt: _s,
      ...switched
    } = before?.switched ?? assert.fail();
    const found = after?.switched ?? assert.fail();
    assert.deepEqual({ ...found, ...switched }, found);
    assert.deepEqual(await stage.violations('whenIdle'), []);
    stage.vm.write(VDA, 12, 'since the switchover');
    if (way === 'undo') {
      assert.equal((await undoFailback(stage)).state, 'succeeded');
      assert.equal(replicaVm(stage).read(VDA, 10), 'by the replica');
      assert.equal((await lost(stage)).phase, 'Failover', 'and lost once more');
      await failback(stage);
      await switchOver(stage);
    }
    await commit(stage);
    assert.equal(stage.vm.read(VDA, 12), way === 'undo' ? 'boot-12' : 'since the switchover');
    assert.equal(stage.vm.read(VDA, 10), 'by the replica');
    await assertIncremental(stage);
  }
});

test('cancelled after the loss, production is as it was, and the undo of the failover starts it', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  assert.equal((await stage.failover('latest', 'none')).state, 'succeeded');
  stage.vm.write(VDA, 7, 'meanwhile');
  await failback(stage);
  assert.equal(stage.vm.power, 'off');
  await lost(stage);
  await done(stage, (it) => it.cancelFailback('web-replica', options));
  assert.equal((await lost(stage)).phase, 'Failover');
  assert.equal((await stage.undo()).state, 'succeeded');
  assert.deepEqual([stage.vm.power, stage.vm.read(VDA, 7)], ['running', 'meanwhile']);
  await assertIncremental(stage);
});

test('lost between the merge and the record: only the commit leads on', async () => {
  for (const call of ['commit', 'commit:merged'] as const) {
    await using stage = await Stage.open();
    await failedOver(stage);
    await failback(stage);
    await switchOver(stage);
    stage.world.faults.on(`production.productionDisks.${call}`, 1, 'crash-after');
    const begun = stage.life.controller.commitFailback('web-replica', options);
    await stage.run(begun).catch(() => null);
    await stage.until(() => stage.life.view.isDead());
    const folder = await lost(stage);
    assert.equal(folder.phase, 'Failback');
    assert.match(folder.notes.join(' '), /being committed.*commit-failback web-replica/);
    const refused = await undoFailback(stage);
    assert.deepEqual([refused.state, refused.error?.code], ['failed', 'failback-merged']);
    assert.equal(stage.vm.power, 'running', 'nobody touched it');
    await commit(stage);
    assert.equal(stage.vm.read(VDA, 10), 'by the replica');
    await assertIncremental(stage);
  }
});

test('nobody guesses: production that does not answer is waited for, and so are layers that no branch tells of', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  stage.production.isUnreachable = true;
  const away = await lost(stage);
  assert.equal(away.outcome, 'skipped');
  assert.match(
    away.notes.join(' '),
    /goes to production, which is not known here or does not answer/,
  );
  assert.deepEqual(await stage.life.ports.catalog.replicas(), []);
  stage.production.isUnreachable = false;
  for (const branch of [...stage.recovery.replicas.values()].flatMap(({ branches }) => [
    ...branches.values(),
  ])) {
    const { about } = branch;
    branch.about = null;
    const older = await rebuilt(stage);
    assert.equal(older.outcome, 'skipped');
    assert.match(older.notes.join(' '), /are laid at production, and its branch says nothing/);
    branch.about = about;
  }
  assert.equal((await rebuilt(stage)).phase, 'ReadyToSwitch');
});

test('layers that were to go when production did not answer still go, and production can be started', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  stage.production.isUnreachable = true;
  await done(stage, (it) => it.cancelFailback('web-replica', options));
  await done(stage, (it) => it.undoFailover('web-replica', { force: false }, options));
  stage.production.isUnreachable = false;
  assert.throws(() => stage.vm.start());
  assert.equal((await lost(stage)).phase, 'Ready');
  await stage.sweep();
  stage.vm.start();
  assert.equal(stage.vm.read(VDA, 7), 'never replicated');
  await assertIncremental(stage);
});

test('undone past a host that did not answer, and lost: both run, it is told, and a person decides', async () => {
  await using stage = await Stage.open();
  await failedOver(stage);
  await failback(stage);
  await switchOver(stage);
  stage.production.isUnreachable = true;
  await done(stage, (it) => it.undoFailback('web-replica', undoing(true), options));
  stage.production.isUnreachable = false;
  const folder = await lost(stage);
  assert.equal(folder.phase, 'Failback');
  assert.match(folder.notes.join(' '), /Its own VM runs, too/);
  const told = await stage.life.ports.catalog.conditions((await stage.replica()).id);
  assert.deepEqual(
    told.map(({ name }) => name),
    ['unfenced-source'],
  );
  assert.equal((await undoFailback(stage)).state, 'succeeded');
  assert.deepEqual([stage.vm.power, replicaVm(stage).power], ['off', 'running']);
});

test('committed to another VM and lost before the next run: that VM is protected, not the old one', async (t) => {
  let count = 0;
  for (let nth = 1; ; nth += 3) {
    await using stage = await Stage.open();
    await failedOver(stage);
    const copy = stage.world.addVm(stage.production, {
      name: 'web-restored',
      disks: [
        { key: VDA, sizeBytes: 8 * MIB },
        { key: VDB, sizeBytes: 16 * MIB },
      ],
    });
    await failback(stage, { to: { type: 'copy', host: null, vm: 'web-restored' } });
    await switchOver(stage);
    const before = stage.world.faults.happened.length;
    stage.world.faults.on('*', nth, 'crash-after');
    await stage.finish((it) => it.commitFailback('web-replica', options)).catch(() => null);
    const isOver = stage.world.faults.happened.length === before;
    stage.world.faults.clear();
    await lost(stage);
    if ((await stage.replica()).phase === 'Failback') await commit(stage);
    const replica = await stage.replica();
    assert.deepEqual([replica.phase, replica.sourceVmId], ['Ready', copy.id], `lost at ${nth}`);
    const [job] = await stage.life.ports.catalog.jobs();
    assert.deepEqual(
      job?.value.vms.map(({ vmId }) => vmId),
      [copy.id],
    );
    copy.write(VDA, 20, 'at the new place');
    await assertIncremental(stage);
    count += 1;
    if (isOver) break;
  }
  t.diagnostic(`${count} times`);
});

test('a fence made afterwards is found again, and lifting it connects what it disconnected', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await stage.failover('latest', 'none');
  await done(stage, (it) => it.fenceSource('web-replica', 'nics', options));
  const isConnected = () => stage.vm.state.nics.map((nic) => nic.isConnected);
  assert.ok(isConnected().every((one) => !one));
  const { failover: before } = await stage.replica();
  const folder = await lost(stage);
  assert.match(folder.notes.join(' '), /An undo connects the source again/);
  const { failover } = await stage.replica();
  assert.deepEqual([failover?.fence, failover?.fencedNics], [before?.fence, before?.fencedNics]);
  assert.notDeepEqual(failover?.fencedNics, []);
  await done(stage, (it) => it.unfenceSource('web-replica', true, options));
  assert.ok(isConnected().every((one) => one));
  await lost(stage);
  assert.deepEqual((await stage.replica()).failover?.fencedNics, []);
});
