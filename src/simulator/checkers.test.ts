import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  branchId,
  failbackId,
  jobId,
  markName,
  operationId,
  type PointId,
  pointId,
  replicaId,
  vmId,
} from '../domain/ids.ts';
import { instant } from '../domain/instant.ts';
import type { Phase } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { rotLayer, tamperLayer } from './calamities.ts';
import { type CatalogueView, createCheckers, EMPTY_VIEW } from './checkers.ts';
import { served } from './mover.ts';
import {
  createTwoHosts,
  LEDGER,
  NEVER,
  PRODUCTION,
  RECOVERY,
  REPLICA,
  ROOT,
  replicateOnce,
} from './two-hosts.ts';
import type { SimulatedVm } from './vm.ts';

async function replicated() {
  const hosts = createTwoHosts();
  const { world, vm } = hosts;
  const controller = world.connect();
  const point = await world.clock.run(replicateOnce({ controller, vm, name: 'pt-1' }));
  const view = (phase: Phase, changes: Partial<CatalogueView> = {}): CatalogueView => ({
    ...EMPTY_VIEW,
    replicas: [replicaIn(phase, point.id, vm.id)],
    points: new Map([[REPLICA, [point]]]),
    ...changes,
  });
  const checkers = createCheckers();
  assert.deepEqual(checkers.whenIdle(world, view('Ready')), []);
  return { ...hosts, controller, point, view, checkers };
}

function replicaIn(phase: Phase, newestPointId: PointId, source: string): Replica {
  return {
    id: REPLICA,
    jobId: jobId('job-1'),
    sourceHostId: PRODUCTION,
    sourceVmId: vmId(source),
    sourceVmName: 'web',
    targetHostId: RECOVERY,
    name: 'web-replica',
    targetVmId: null,
    phase,
    epoch: 1,
    newestPointId,
    seed: null,
    failover: null,
    failback: null,
    formerSource: null,
    leftFencedNics: [],
    archives: [],
    createdAt: instant(0),
  };
}

test('a removed mark is told, one lost with its power or replaced by a newer point is not', async () => {
  const { world, vm, view, checkers } = await replicated();
  vm.losePower();
  assert.deepEqual(checkers.everyStep(world, view('Ready')), []);
  const second = await replicated();
  second.vm.image(ROOT).marks.clear();
  const [violation] = second.checkers.everyStep(second.world, second.view('Ready'));
  assert.match(violation ?? '', /mark .* was removed/);
});

test('a mark that was lost with its power before its point was sealed is not told', async () => {
  const { world, vm, view } = await replicated();
  vm.image(ROOT).marks.clear();
  vm.image(LEDGER).marks.clear();
  vm.powerLosses += 1;
  const unsealed = createCheckers(); // its first look at a world in which the point is not there yet
  const { replicas } = world.host(RECOVERY);
  const folders = [...replicas];
  replicas.clear();
  unsealed.everyStep(world, view('Ready'));
  for (const [id, folder] of folders) replicas.set(id, folder);
  assert.deepEqual(unsealed.everyStep(world, view('Ready')), []);
});

test('a disk that a failback parks without a layer over it keeps its mark where it was', async () => {
  const { world, controller, vm, view, checkers } = await replicated();
  const { productionDisks } = await controller.hosts.commands(PRODUCTION);
  const own = vm.image(LEDGER);
  vm.stop();
  const key = 'op-test/step' as Parameters<typeof productionDisks.lay>[0]['key'];
  const root = {
    key: ROOT,
    sizeBytes: vm.image(ROOT).sizeBytes,
    base: 'disk',
    since: null,
  } as const;
  const command = { key, replicaId: REPLICA, epoch: 1, failbackId: failbackId('fb-1') };
  await world.clock.run(productionDisks.lay({ ...command, vmId: vm.id, disks: [root] }, NEVER));
  assert.deepEqual(checkers.everyStep(world, view('Failover')), []);
  own.marks.clear();
  assert.match(checkers.everyStep(world, view('Failover')).join(), /mark .* was removed/);
});

test('a mark that production lost with its power before a commit named it is not told, a removed one is', async () => {
  const lost = await committed((vm) => vm.losePower());
  assert.doesNotMatch(lost, /us-pt-2 was removed/);
  const removed = await committed((vm) => {
    for (const { key } of vm.state.disks) vm.image(key).marks.clear();
  });
  assert.match(removed, /mark .*us-pt-2 was removed/);
});

/** What is told of a point that names the mark of a switchover, after something befell production in between. */
async function committed(befall: (vm: SimulatedVm) => void): Promise<string> {
  const { world, controller, recovery, point, vm, view, checkers } = await replicated();
  const { productionDisks } = await controller.hosts.commands(PRODUCTION);
  vm.stop();
  const key = 'op-test/step' as Parameters<typeof productionDisks.lay>[0]['key'];
  const command = { key, replicaId: REPLICA, epoch: 1, failbackId: failbackId('fb-1') };
  const mark = markName('us-pt-2');
  const disks = vm.state.disks.map(({ key: disk }) => {
    return { key: disk, sizeBytes: vm.image(disk).sizeBytes, base: 'disk', since: null } as const;
  });
  await world.clock.run(productionDisks.lay({ ...command, vmId: vm.id, disks }, NEVER));
  const given = { changes: [], sidecars: [], newVm: null };
  await world.clock.run(productionDisks.attach({ ...command, ...given, mark }, NEVER));
  vm.start();
  befall(vm);
  checkers.everyStep(world, view('Failback'));
  const second = {
    ...point,
    id: pointId('pt-2'),
    takenAt: instant(point.takenAt + 1), // of the replica, which is frozen elsewhere
    disks: point.disks.map((it) => ({ ...it, mark })),
  };
  recovery.replicas.get(REPLICA)?.points.set(second.id, { point: second, sidecars: new Map() });
  const points = new Map([[REPLICA, [point, second]]]);
  return checkers.everyStep(world, view('Ready', { points })).join();
}

test('a point that only one side knows is told', async () => {
  const { world, recovery, view, checkers } = await replicated();
  const none = view('Ready', { points: new Map() });
  assert.match(checkers.whenIdle(world, none).join(), /only in the store/);
  recovery.replicas.get(REPLICA)?.points.clear();
  assert.match(checkers.whenIdle(world, view('Ready')).join(), /only in the catalogue/);
});

test('a mark for nothing is told, unless a replica was made permanent and no run will ever take it away', async () => {
  const { world, vm, view, checkers } = await replicated();
  vm.image(ROOT).marks.set('us-old', { isOurs: true, dirty: new Set() });
  assert.match(checkers.whenIdle(world, view('Ready')).join(), /marks for nothing: us-old/);
  const [own = assert.fail()] = view('Ready').replicas;
  const other = { ...own, id: replicaId('rp-far'), phase: 'Permanent' } as const;
  const replicas = [own, other];
  const both = checkers.whenIdle(world, view('Ready', { replicas })).join();
  assert.doesNotMatch(both, /marks for nothing/);
});

test('what is left behind is told when idle, and only then', async () => {
  const { world, controller, point, view, checkers } = await replicated();
  const { store } = await controller.hosts.commands(RECOVERY);
  const key = 'op-test/step' as Parameters<typeof store.tidy>[0]['key'];
  const command = { key, replicaId: REPLICA, epoch: 1 };
  const branch = { ...command, branchId: branchId('br-1'), pointId: point.id };
  await world.clock.run(store.createBranch(branch, NEVER));
  await world.clock.run(store.openReading({ ...command, of: { pointId: point.id } }, NEVER));
  assert.deepEqual(checkers.everyStep(world, view('Ready')), []);
  const left = checkers.whenIdle(world, view('Ready')).join();
  for (const kind of ['endpoint', 'reading', 'table', 'branch br-1'])
    assert.ok(left.includes(kind));
});

test('a point that changes in silence is told; a tampered one is drift and not ours', async () => {
  const { world, recovery, point, view, checkers } = await replicated();
  const layerId = point.disks[0]?.layerId ?? assert.fail();
  const layer = recovery.replicas.get(REPLICA)?.layers.get(layerId) ?? assert.fail();
  tamperLayer(recovery, { replicaId: REPLICA, layerId }, 1, 'other');
  assert.deepEqual(checkers.everyStep(world, view('Ready')), []);
  layer.recordedIdentity = layer.image.identity;
  const violations = checkers.everyStep(world, view('Ready')).join();
  assert.match(violations, /is not its instant: block 1 is other/);
});

test('an archive that changes in silence is told; one over a tampered layer is not ours', async () => {
  const { world, controller, recovery, point, view, checkers } = await replicated();
  const { store } = await controller.hosts.commands(RECOVERY);
  const key = 'op-test/step' as Parameters<typeof store.tidy>[0]['key'];
  const branch = { key, replicaId: REPLICA, epoch: 1, branchId: branchId('br-1') };
  await world.clock.run(store.createBranch({ ...branch, pointId: point.id }, NEVER));
  const folder = recovery.replicas.get(REPLICA) ?? assert.fail();
  const archived = folder.branches.get(branch.branchId) ?? assert.fail();
  archived.keepUntil = instant(1);
  const told = () =>
    checkers.everyStep(world, view('Ready')).filter((text) => text.startsWith('archived branch'));
  assert.deepEqual(told(), []);
  const layerId = point.disks[0]?.layerId ?? assert.fail();
  tamperLayer(recovery, { replicaId: REPLICA, layerId }, 1, 'other');
  assert.deepEqual(told(), []);
  const layer = folder.layers.get(layerId) ?? assert.fail();
  layer.recordedIdentity = layer.image.identity;
  assert.deepEqual(told(), [], 'it begins anew');
  rotLayer(recovery, { replicaId: REPLICA, layerId }, 1, 'rotten');
  assert.match(told().join(), /block 1 is rotten/);
});

test('operations: two at once, one forgotten, one that never ended', async () => {
  const { world, view, checkers } = await replicated();
  const operation = (id: string): CatalogueView['operations'][number] => ({
    id: id as CatalogueView['operations'][number]['id'],
    kind: 'replicate',
    subject: REPLICA,
    title: '',
    state: 'running',
    input: null,
    result: null,
    error: null,
    isCancelRequested: false,
    createdAt: instant(0),
    startedAt: instant(0),
    endedAt: null,
  });
  const operations = [operation('op-1'), operation('op-2')];
  const told = checkers.whenIdle(
    world,
    view('Ready', { operations, acknowledged: ['op-1', 'op-3'] }),
  );
  assert.match(
    told.join(),
    /several operations change rp-web.*op-3 was acknowledged.*still running/,
  );
});

test('replication in Failover and a running replica in Ready are told', async () => {
  const { world, recovery, controller, point, vm, view, checkers } = await replicated();
  const { store, hypervisor } = await controller.hosts.commands(RECOVERY);
  const key = 'op-test/step' as Parameters<typeof store.tidy>[0]['key'];
  const command = { key, replicaId: REPLICA, epoch: 1 };
  const opened = await world.clock.run(
    store.openPartial(
      {
        ...command,
        pointId: 'pt-2' as PointId,
        parentPointId: point.id,
        disks: [{ key: ROOT, sizeBytes: 64 * 65_536, base: 'parent', wantsKnownHashes: false }],
      },
      NEVER,
    ),
  );
  assert.deepEqual(checkers.everyStep(world, view('Failover')), []);
  const [disk] = opened;
  world.endpoints.view(served(disk?.target ?? assert.fail())).write?.(0, 'late');
  assert.match(checkers.everyStep(world, view('Failover')).join(), /in phase Failover/);

  const branch = { ...command, branchId: branchId('br-1'), pointId: point.id };
  const { disks } = await world.clock.run(store.createBranch(branch, NEVER));
  const request = { ...command, name: 'web-replica', source: point.vm, vmId: null, disks };
  const rest = { networkMap: {}, connectNics: false, sidecars: [] };
  const id = await world.clock.run(hypervisor.defineReplica({ ...request, ...rest }, NEVER));
  recovery.vms.get(id)?.start();
  assert.match(checkers.everyStep(world, view('Ready')).join(), /is Ready and its VM is running/);
  const accepted = new Set<string>([vm.id]);
  recovery.vms.get(id)?.stop();
  const idle = checkers.whenIdle(world, view('Ready', { acceptedDuplicates: accepted }));
  assert.match(idle.join(), /could be started from/);
});

test('a source that its host holds for nothing, or does not hold, is told', async () => {
  const { world, production, vm, view, checkers } = await replicated();
  const guardedHosts = new Set([PRODUCTION]);
  production.guard = 'active';
  const held = { vmId: vm.id, replicaId: REPLICA, epoch: 1, since: instant(0), reason: 'a test' };
  production.held.set('web', held);
  const idle = checkers.whenIdle(world, view('Ready', { guardedHosts }));
  assert.match(idle.join(), /web on production is held back, and .* is Ready/);
  production.held.clear();
  assert.deepEqual(checkers.whenIdle(world, view('Ready', { guardedHosts })), []);
  const serving = view('Failover').replicas.map((replica) => ({ ...replica, failover: FAILOVER }));
  const told = checkers.whenIdle(world, view('Failover', { guardedHosts, replicas: serving }));
  assert.match(told.join(), /web on production is not held back/);
});

const FAILOVER: Replica['failover'] = {
  pointId: pointId('pt-1'),
  branchId: branchId('br-1'),
  overBranchId: null,
  operationId: operationId('op-1'),
  reason: 'a test',
  fence: 'none',
  fencedNics: [],
  isDuplicateAccepted: false,
  isSourceReleased: false,
  startedAt: instant(0),
  isConnected: true,
  connectionBecause: 'the source is off',
  runningAfterMs: 1,
  answeringAfterMs: null,
  answeredBy: null,
};
