/** Replication and the room at its target: refused before it touches the source, ended at the reserve, in nobody else's way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/domain/bytes.ts';
import type { FaultKind } from '../../src/simulator/faults.ts';
import { options, Stage, VDA, VDB } from './stage.ts';

const BLOCK = 64 * KIB;

/** So much is free at the target from now on; the reserve is asked for, and so the same whatever the size. */
async function leaveFree(
  { recovery, life }: Stage,
  freeBytes: number,
  storageReserveBytes: number | null = MIB,
): Promise<void> {
  recovery.storage.capacityBytes = recovery.storage.usedBytes + freeBytes;
  const known = await life.ports.catalog.host(recovery.id);
  assert.ok(known);
  const host = { ...known.value, storageReserveBytes };
  const { version: expectedVersion } = known;
  await life.ports.catalog.apply([{ type: 'host-saved', host, expectedVersion }]);
}

function free({ recovery: { storage } }: Stage): number {
  return storage.capacityBytes - storage.usedBytes;
}

function writeBlocks({ vm }: Stage, count: number, value: string): void {
  for (let block = 0; block < count; block += 1) vm.write(VDB, block, `${value} ${block}`);
}

/** Points that moved only so much each. */
async function replicateTimes(stage: Stage, times: number, blocks: number): Promise<void> {
  for (let time = 0; time < times; time += 1) {
    writeBlocks(stage, blocks, `run ${time} at ${stage.world.clock.monotonicMs()}`);
    assert.equal((await stage.replicate()).state, 'succeeded');
  }
}

const freezes = ({ world }: Stage) => world.faults.calls('production.pointSource.freeze');

async function points(stage: Stage) {
  return stage.life.ports.catalog.points((await stage.replica()).id);
}

async function assertUnharmed(stage: Stage): Promise<void> {
  assert.deepEqual(stage.vm.pauses, []);
  assert.deepEqual(await stage.violations('whenIdle'), []);
}

/** With room the next run has everything since the last point, and only that. */
async function assertGoesOn(stage: Stage): Promise<void> {
  await leaveFree(stage, 100 * MIB);
  assert.equal((await stage.replicate()).state, 'succeeded');
  const transfers = (await points(stage)).at(-1)?.disks.map(({ transfer }) => transfer);
  assert.deepEqual(transfers, ['incremental', 'incremental']);
  await assertUnharmed(stage);
}

test('a first run needs what the source holds beside the reserve, and is refused before anything is frozen', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  const held = 20 * BLOCK;
  await leaveFree(stage, MIB + held - 1);
  const refused = await stage.replicate();
  assert.equal(refused.state, 'failed');
  assert.equal(refused.error?.code, 'target-full');
  assert.equal(
    refused.error?.message,
    'The storage at /recovery/replicas of host recovery has too little room: 2.25 MiB are free, and the run needs about ' +
      '1.25 MiB beside the 1.00 MiB that are kept in reserve. Make room; the next run continues from the last restore point.',
  );
  assert.equal(freezes(stage), 0);
  assert.equal(stage.recovery.replicas.size, 0, 'nothing was made there');
  await assertUnharmed(stage);
  await leaveFree(stage, MIB + held);
  assert.equal((await stage.replicate()).state, 'succeeded');
  await assertUnharmed(stage);
});

test('a source that does not say what it holds is let through to whoever says what is wrong with it', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  stage.world.faults.on('production.hypervisor.allocatedBytes', 1, 'fail');
  assert.equal((await stage.replicate()).state, 'succeeded');
});

test('later runs need what runs lately needed, and what came from the source before stays as it was', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await replicateTimes(stage, 3, 32);
  const before = freezes(stage);
  await leaveFree(stage, 3 * MIB - 1);
  writeBlocks(stage, 32, 'refused');
  const refused = await stage.replicate();
  assert.equal(refused.error?.code, 'target-full');
  assert.match(refused.error?.message ?? '', /needs about 2\.00 MiB beside the 1\.00 MiB/);
  assert.equal(freezes(stage), before);
  await assertUnharmed(stage);
  await assertGoesOn(stage);
});

test('a run that writes more than was expected ends at the reserve, and leaves it untouched', async () => {
  await using stage = await Stage.open();
  await stage.protect({ bytesPerSecondMax: MIB });
  await stage.replicate();
  await leaveFree(stage, 8 * MIB, 4 * MIB);
  const before = free(stage);
  writeBlocks(stage, 200, 'too much');
  let least = before;
  const onProgress = () => {
    least = Math.min(least, free(stage));
  };
  using _listening = stage.life.ports.durable.subscribe({ onProgress });
  const ended = await stage.replicate();
  assert.equal(ended.error?.code, 'target-full', ended.error?.message);
  assert.match(ended.error?.message ?? '', /4\.00 MiB are kept in reserve/);
  assert.ok(least > 2 * MIB && least <= 4 * MIB, `${least} were left`);
  assert.equal(free(stage), before, 'nothing half-written is left');
  await assertUnharmed(stage);
  await assertGoesOn(stage);
});

test('the copy of a seed ends at the reserve, too', async () => {
  await using stage = await Stage.open();
  const disks = [{ key: VDA, sizeBytes: 8 * MIB }];
  const old = stage.world.addVm(stage.recovery, { name: 'old', disks });
  old.start();
  for (let block = 0; block < 120; block += 1) old.write(VDA, block, `old ${block}`);
  old.stop();
  await stage.protect({ seeds: [{ vm: 'web', from: { type: 'vm', vm: 'old' } }] });
  await leaveFree(stage, 6 * MIB, 4 * MIB);
  const ended = await stage.replicate();
  assert.match(ended.error?.message ?? '', /4\.00 MiB are kept in reserve/);
  assert.equal(freezes(stage), 0);
  assert.equal(free(stage), 6 * MIB);
  await assertUnharmed(stage);
});

for (const kind of ['fail', 'hang', 'slow'] satisfies readonly FaultKind[]) {
  test(`no answer about room while blocks move (${kind}) is no reason to stop them`, async () => {
    await using stage = await Stage.open();
    await stage.protect();
    await stage.replicate();
    writeBlocks(stage, 20, 'more');
    // The first is asked before the freeze.
    stage.world.faults.on('recovery.store.room', 2, kind);
    const { id, state } = await stage.replicate();
    assert.equal(state, 'succeeded');
    assert.deepEqual(stage.world.faults.happened, [`recovery.store.room ${kind}`]);
    const events = await stage.life.ports.durable.history(id, 0);
    assert.ok(!events.some(({ type }) => type === 'step-retrying'));
    await assertUnharmed(stage);
  });
}

test('what retention does not want any more goes before a run is refused for it', async () => {
  await using stage = await Stage.open();
  const hour = 3600;
  const tiers = [{ everySeconds: 60, forSeconds: hour }];
  await stage.protect({ retention: { keepLast: 1, tiers } });
  await stage.replicate();
  for (let time = 0; time < 3; time += 1) {
    await stage.world.clock.advance(120_000);
    await replicateTimes(stage, 1, 32);
  }
  assert.equal((await points(stage)).length, 4);
  await stage.world.clock.advance(2 * hour * 1000);
  await leaveFree(stage, 2 * MIB);
  writeBlocks(stage, 32, 'late');
  assert.equal((await stage.replicate()).state, 'succeeded');
  assert.equal((await points(stage)).length, 1);
  await assertUnharmed(stage);
});

test('nothing but replication keeps to the reserve: a failover, its undo, a planned failover', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await leaveFree(stage, MIB, 50 * MIB);
  assert.equal((await stage.replicate()).error?.code, 'target-full');
  assert.equal((await stage.failover('latest', 'power-off')).state, 'succeeded');
  assert.equal((await stage.undo()).state, 'succeeded');
  stage.vm.start();
  writeBlocks(stage, 4, 'last');
  const order = {
    reason: 'maintenance',
    passesMax: 3,
    lastDeltaMsMax: 5000,
    shutdownDeadlineMs: 60_000,
    onMissedDeadline: 'power-off',
  } as const;
  const moved = await stage.finish((c) => c.plannedFailover('web-replica', order, options));
  assert.equal(moved.state, 'succeeded', moved.error?.message);
  await assertUnharmed(stage);
});

/** What the preflight says of room: for each VM that it says something of. */
async function roomFindings(stage: Stage, vms: readonly string[]): Promise<readonly string[]> {
  const request = stage.jobRequest({ name: 'another', vms });
  const creation = await stage.run(stage.life.controller.createJob(request, options));
  return creation.findings.flatMap(({ vm, findings }) =>
    findings
      .filter(({ element }) => element === 'storage')
      .map(({ severity, message }) => `${creation.type}: ${vm.name} ${severity}: ${message}`),
  );
}

test('a job is not made of VMs that do not fit at the target, all of them together', async () => {
  await using stage = await Stage.open();
  const disks = [{ key: VDA, sizeBytes: 8 * MIB }];
  const mail = stage.world.addVm(stage.production, { name: 'mail', disks });
  mail.start();
  for (let block = 0; block < 16; block += 1) mail.write(VDA, block, `mail ${block}`);
  await leaveFree(stage, 3 * MIB);
  assert.deepEqual(await roomFindings(stage, ['web', 'mail']), [
    'blocked: mail blocks: Its first restore point needs about 1.00 MiB; at /recovery/replicas on host recovery 3.00 MiB are ' +
      'free, other VMs of the job need about 1.25 MiB, and 1.00 MiB are kept in reserve. Make room there.',
  ]);
  assert.deepEqual(await stage.life.ports.catalog.jobs(), []);
  await leaveFree(stage, 3.3 * MIB);
  const [just = ''] = await roomFindings(stage, ['web', 'mail']);
  assert.match(just, /^created: mail warns: .* only just enough/);
});

test('a VM that has points there already needs no room for a first one', async () => {
  await using stage = await Stage.open();
  await stage.protect();
  await stage.replicate();
  await stage.run(stage.life.controller.deleteJob('nightly', options));
  await leaveFree(stage, 2 * MIB);
  assert.deepEqual(await roomFindings(stage, ['web']), []);
  assert.equal((await stage.life.ports.catalog.jobs()).length, 1);
});
