import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES } from '../domain/bytes.ts';
import { markName, operationId, operationKey } from '../domain/ids.ts';
import { DEFAULT_SCRATCH, type ScratchPolicy } from '../domain/job/job.ts';
import { createCheckers, EMPTY_VIEW, noGuestWasPaused } from './checkers.ts';
import {
  createTwoHosts,
  LEDGER,
  NEVER,
  PRODUCTION,
  RECOVERY,
  ROOT,
  replicateOnce,
} from './two-hosts.ts';

const KEY = operationKey(operationId('op-test'), 'freeze');
const SCRATCH: ScratchPolicy = { quotaBytes: null, reserveBytes: 0, deadlineMs: 3_600_000 };

async function frozen(scratch: ScratchPolicy = SCRATCH, scratchBytes = 1000 * BLOCK_BYTES) {
  const hosts = createTwoHosts({ production: { scratchBytes } });
  const { world, vm } = hosts;
  const { pointSource } = await world.connect().hosts.commands(PRODUCTION);
  const request = {
    key: KEY,
    vmId: vm.id,
    disks: [ROOT, LEDGER],
    mark: markName('us-test'),
    since: {},
    quiesce: 'if-possible',
    scratch,
  } as const;
  const point = await world.clock.run(pointSource.freeze(request, NEVER));
  const watch = (signal: AbortSignal) =>
    pointSource.watch({ key: KEY, vmId: vm.id, scratch, frozenAt: point.takenAt }, { signal });
  return { ...hosts, pointSource, request, point, watch };
}

test('the frozen view stands still while the guest writes, and scratch pays for it', async () => {
  const { world, vm, production, pointSource, point } = await frozen();
  const [disk] = point.disks;
  assert.ok(disk !== undefined);
  const view = world.endpoints.view(disk.endpoint);
  vm.write(ROOT, 0, 'overwritten');
  vm.write(ROOT, 0, 'and again');
  vm.write(ROOT, 40, 'new');
  assert.deepEqual([view.read(0), view.read(40)], ['boot-0', 0]);
  assert.equal(production.scratch.usedBytes, 2 * BLOCK_BYTES);
  assert.equal(view.allocated().includes(40), false);
  await world.clock.run(pointSource.end({ key: KEY, vmId: vm.id }, NEVER));
  assert.equal(production.scratch.usedBytes, 0);
  assert.throws(() => world.endpoints.view(disk.endpoint), { code: 'connection-lost' });
});

test('the same key answers the same point, another one ends what was left over', async () => {
  const { world, pointSource, request, point } = await frozen();
  assert.deepEqual(await world.clock.run(pointSource.freeze(request, NEVER)), point);
  const other = { ...request, key: operationKey(operationId('op-other'), 'freeze') };
  await world.clock.run(pointSource.freeze(other, NEVER));
  const left = { key: request.key, vmId: request.vmId };
  assert.equal((await world.clock.run(pointSource.check(left, NEVER))).isIntact, false);
});

test('a slow link and a busy guest: the point is still one instant', async () => {
  const { world, vm } = createTwoHosts();
  const controller = world.connect();
  world.link(PRODUCTION, RECOVERY).bytesPerSecond = 65_536;
  await world.clock.advance(200_000);
  const before = vm.ledger().at(-1) ?? 0;
  await world.clock.run(replicateOnce({ controller, vm, name: 'pt-1' }));
  assert.ok((vm.ledger().at(-1) ?? 0) > before + 20, 'the guest went on meanwhile');
  assert.deepEqual(createCheckers().whenIdle(world, EMPTY_VIEW), []);
});

test('the watch gives up at the threshold, before the guest could notice', async () => {
  const scratch = { ...SCRATCH, quotaBytes: 20 * BLOCK_BYTES };
  const { world, vm, watch } = await frozen(scratch);
  await assert.rejects(world.clock.run(watch(NEVER.signal)), { code: 'scratch-exhausted' });
  assert.equal(vm.power, 'running');
  assert.ok(world.clock.monotonicMs() < 30_000);
  assert.deepEqual(noGuestWasPaused(world), []);
});

test('the watch gives up at the deadline', async () => {
  const { world, vm, watch } = await frozen({
    ...DEFAULT_SCRATCH,
    reserveBytes: 0,
    deadlineMs: 9000,
  });
  vm.state.guest.ledger = null;
  await assert.rejects(world.clock.run(watch(NEVER.signal)), { code: 'scratch-exhausted' });
  assert.ok(world.clock.monotonicMs() >= 9000);
});

test('a watch that nobody listens to costs the guest its run, and the checker sees it', async () => {
  const { world, vm } = await frozen(SCRATCH, 10 * BLOCK_BYTES);
  await world.clock.advance(60_000);
  assert.equal(vm.power, 'paused');
  assert.equal(noGuestWasPaused(world).length, 1);
});

test('a watch ends quietly with its signal, and loudly with its freeze', async () => {
  const { world, vm, pointSource, watch } = await frozen();
  const stop = new AbortController();
  const quiet = watch(stop.signal);
  await world.clock.advance(5000);
  stop.abort();
  await quiet;
  const loud = assert.rejects(watch(NEVER.signal), { code: 'freeze-failed' });
  await world.clock.advance(10);
  vm.losePower();
  await loud;
  const { isIntact } = await world.clock.run(pointSource.check({ key: KEY, vmId: vm.id }, NEVER));
  assert.equal(isIntact, false);
});

test('a powered-off VM that is started meanwhile spoils the instant', async () => {
  const { world, vm, pointSource, request } = await frozen();
  await world.clock.run(pointSource.end({ key: KEY, vmId: vm.id }, NEVER));
  vm.stop();
  const point = await world.clock.run(pointSource.freeze(request, NEVER));
  assert.equal(point.consistency, 'application');
  const check = () => world.clock.run(pointSource.check({ key: KEY, vmId: vm.id }, NEVER));
  assert.deepEqual(await check(), { isIntact: true, because: null });
  vm.start();
  assert.deepEqual(await check(), { isIntact: false, because: 'the VM was started' });
});

test("sweeping takes our marks but one, and nobody else's", async () => {
  const { world, vm, pointSource } = await frozen();
  const { marks } = vm.image(ROOT);
  marks.set('theirs', { isOurs: false, dirty: new Set() });
  marks.set('us-older', { isOurs: true, dirty: new Set() });
  const sweep = (keep: string | null) =>
    world.clock.run(
      pointSource.sweepMarks({ vmId: vm.id, keep: keep === null ? [] : [markName(keep)] }, NEVER),
    );
  await sweep('us-test');
  assert.deepEqual([...marks.keys()].sort(), ['theirs', 'us-test']);
  await sweep(null);
  assert.deepEqual([...marks.keys()], ['theirs']);
});

test('a quiesced point says so; a required one needs an agent that answers', async () => {
  const { world, vm, pointSource, request, point } = await frozen();
  assert.equal(point.consistency, 'crash', 'it is still booting');
  assert.match(point.consistencyNote ?? '', /agent/);
  await world.clock.run(pointSource.end({ key: KEY, vmId: vm.id }, NEVER));
  vm.state.guest.hasAgent = false;
  const required = { ...request, quiesce: 'required' } as const;
  await assert.rejects(world.clock.run(pointSource.freeze(required, NEVER)), {
    code: 'guest-not-answering',
  });
  vm.state.guest.hasAgent = true;
  await world.clock.advance(5000);
  const quiet = await world.clock.run(pointSource.freeze(required, NEVER));
  assert.deepEqual([quiet.consistency, quiet.consistencyNote], ['application', null]);
});
