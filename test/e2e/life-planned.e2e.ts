/**
 * Planned failovers that do not go by themselves: a guest that does not shut down in time, a target that fails while
 * nobody serves, more VMs than the hosts take at once. No write is lost, and until a replica runs every way leads back.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, type TestContext, test } from 'node:test';
import { z } from 'zod';
import { operationDetailSchema, operationSchema } from '../../src/contract/operation.ts';
import type { ReplicaAnswer } from '../../src/contract/replica.ts';
import { watchLedger } from '../../src/main/demo/ledger-watch.ts';
import { run } from '../../src/rig/command.ts';
import type { TestVm } from '../../src/rig/test-vm.ts';
import { until, untilTrue } from '../../src/rig/until.ts';
import { BLOCK, type BlockVm, MIB } from './stage/block-vm.ts';
import { requireSameContent } from './stage/bytes.ts';
import { watchEvents } from './stage/event-log.ts';
import { diskImages } from './stage/home.ts';
import { begin, succeed, transfers } from './stage/life.ts';
import { untilObedient } from './stage/obedient-guest.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

/** Of a host that was added without a word about it. */
const TRANSFERS_AT_ONCE = 2;

suite('a planned failover that does not go by itself', { skip: skipReason() }, () => {
  /** A file system of its own. */
  let storage: string;
  let stage: Stage;
  const protections: Protection[] = [];

  before(async () => {
    storage = await mkdtemp(join(tmpdir(), 'us-storage-'));
    await run('mount', ['-t', 'tmpfs', '-o', 'size=256m,mode=0711', 'understudy-e2e', storage]);
    stage = await openStage({ storageFolder: storage });
  });
  after(async () => {
    await stage?.[Symbol.asyncDispose]();
    // What serves images there may take a moment to end.
    await run('umount', ['--lazy', storage]);
    await rm(storage, { recursive: true });
  });

  const protect = async (vm: { readonly name: string }): Promise<Protection> => {
    const protection = await stage.protect(vm.name, ['--archive', '1s']);
    protections.push(protection);
    await stage.replicate(protection);
    return protection;
  };

  suite('its target fails when the source is off', () => {
    let vm: TestVm;
    let protection: Protection;
    const ending = new AbortController();

    before(async () => {
      vm = await stage.guestVm({
        name: 'mover',
        disks: [{ content: 'system' }, { content: 'blank', sizeBytes: 128 * MIB }],
      });
      await vm.start();
      await vm.waitForHttp({ deadlineMs: 120_000 });
      protection = await protect(vm);
    });
    after(async () => {
      ending.abort();
      await vm?.destroy();
    });

    test('its hypervisor is gone: the source serves again by itself', async (t) => {
      const mend = () => stage.recovery.restartDaemon();
      await failWhileOff(t, () => stage.recovery.killDaemon(), mend);
    });

    test('its storage is full: the source serves again by itself', async (t) => {
      const filler = join(storage, 'filler');
      const fill = () => run('sh', ['-c', 'cat /dev/zero > "$0" || true', filler]);
      await failWhileOff(t, fill, () => rm(filler));
    });

    const failWhileOff = async (
      t: TestContext,
      fail: () => Promise<unknown>,
      mend: () => Promise<unknown>,
    ): Promise<void> => {
      const { id } = await stage.replica(protection);
      const watch = await watchLedger(vm, ending.signal);
      await watch.untilWritten(10);
      const events = await watchEvents(stage.server.dataFolder);
      const { id: operationId } = await begin(stage, 'planned-failover', id);
      await events.next({ operationId, step: 'shut-down-source-1', type: 'step-succeeded' });
      await fail();
      await watch.stop();
      const operation = await stage.settled(operationId);
      assert.equal(operation.state, 'failed', describe(operation));
      t.diagnostic(operation.error?.message ?? '');
      const state = await vm.waitForHttp({ deadlineMs: 120_000 });
      assert.equal(state.errors, 0);
      assert.ok(state.verified >= watch.last.seq, `${state.verified} of ${watch.last.seq} records`);
      await mend();
      assert.equal((await stage.replica(protection)).phase, 'Ready');
      const next = await stage.replicate(protection);
      assert.deepEqual(transfers(next), ['incremental', 'incremental']);
    };
  });

  suite('its guest does not shut down in time', () => {
    let vm: BlockVm;
    let protection: Protection;
    const deadline = ['--shutdown-deadline', '1s', '--on-missed-deadline'];

    before(async () => {
      vm = await stage.blockVm({ name: 'deaf', disks: [{ sizeBytes: 16 * MIB }] });
      await vm.start();
      protection = await protect(vm);
    });
    after(() => vm?.destroy());

    test('powered off as ordered: its last writes are there', async () => {
      await vm.write('vda', { offset: MIB, length: 3 * BLOCK, value: 1 });
      const { id } = await stage.replica(protection);
      await succeed(stage, 'planned-failover', id, ...deadline, 'power-off');
      await requireTaken();
    });

    test('a person is asked, waits, is asked again, and gives up: it has gone on all the while', async () => {
      const operationId = await ask();
      await answer(operationId, 1, 'wait');
      await answer(operationId, 2, 'give-up');
      const operation = await stage.settled(operationId);
      assert.deepEqual([operation.state, operation.error?.code], ['failed', 'not-shut-down']);
      assert.match(operation.error?.message ?? '', /did not shut down within 1 s/);
      assert.deepEqual([await vm.state(), (await replica()).phase], ['running', 'Ready']);
      assert.deepEqual(transfers(await stage.replicate(protection)), ['incremental']);
    });

    test('a person is asked, and has it powered off: its last writes are there', async () => {
      await vm.write('vda', { offset: 2 * MIB, length: 3 * BLOCK, value: 2 });
      const operationId = await ask();
      await answer(operationId, 1, 'power-off');
      const operation = await stage.settled(operationId);
      assert.equal(operation.state, 'succeeded', describe(operation));
      await requireTaken();
    });

    const replica = () => stage.replica(protection);

    const ask = async (): Promise<string> =>
      (await begin(stage, 'planned-failover', (await replica()).id, ...deadline, 'ask')).id;

    const answer = async (operationId: string, time: number, what: string): Promise<void> => {
      const asked = await until('a person is asked', async () => {
        const { history } = await stage.ask(
          ['operation', 'show', operationId],
          operationDetailSchema,
        );
        return history.find(({ step }) => step === `ask-${time}`);
      });
      assert.match(
        asked.message,
        new RegExp(`operation answer ${operationId} wait.power-off.give-up`),
      );
      assert.equal(await vm.state(), 'running');
      await stage.ask(['operation', 'answer', operationId, what, '--no-wait'], operationSchema);
    };

    /** The replica stands in; then the source has its place back, and the next run is incremental. */
    const requireTaken = async (): Promise<void> => {
      const { id, phase, failover } = await replica();
      assert.deepEqual(
        [phase, failover?.fence, await vm.state()],
        ['Failover', 'power-off', 'shut off'],
      );
      await requireHolds(vm);
      await succeed(stage, 'undo-failover', id);
      assert.equal(await vm.state(), 'running');
      assert.deepEqual(transfers(await stage.replicate(protection)), ['incremental']);
    };
  });

  test('three VMs at once: two move, the third when there is room; nothing is missing of any', async () => {
    const vms: BlockVm[] = [];
    for (const name of ['first', 'second', 'third']) {
      const vm = await stage.blockVm({ name, disks: [{ sizeBytes: 16 * MIB }], isObedient: true });
      await vm.start();
      vms.push(vm);
      await protect(vm);
      await vm.write('vda', { offset: MIB, length: 5 * BLOCK, value: vms.length });
    }
    for (const { uuid } of vms) await untilObedient(stage.production, uuid);
    const replicas: ReplicaAnswer[] = [];
    for (const one of protections.slice(-vms.length)) replicas.push(await stage.replica(one));
    const args = ['planned-failover', ...replicas.map(({ id }) => id)];
    const { items } = await stage.ask(args, z.object({ items: z.array(operationSchema) }));
    assert.deepEqual(
      items.map(({ state }) => state),
      ['succeeded', 'succeeded', 'succeeded'],
    );
    const turns = items
      .map(({ startedAt, endedAt }) => ({ from: startedAt ?? '', to: endedAt ?? '' }))
      .toSorted((a, b) => a.from.localeCompare(b.from));
    assert.equal(Math.max(...turns.map(({ from }) => underWay(turns, from))), TRANSFERS_AT_ONCE);
    for (const vm of vms) {
      assert.equal(await vm.state(), 'shut off');
      await requireHolds(vm);
    }
    for (const { id } of replicas) await succeed(stage, 'undo-failover', id);
    for (const vm of vms) assert.equal(await vm.state(), 'running');
  });

  test('nothing of all that is left', async () => {
    for (const one of protections) {
      const { id, targetVmId, conditions } = await stage.replica(one);
      assert.deepEqual(conditions, []);
      const branches = join(storage, id, 'branches');
      await untilTrue('no branch is left', async () => (await readdir(branches)).length === 0);
      const disks = await diskImages(stage.recovery, targetVmId ?? '');
      for (const { path } of disks.values()) assert.match(path, /\/only-in-failover\//, 'at rest');
    }
    await stage.requireNothingLeft(...protections);
  });

  /** The replica that stands in for it, whose guest writes nothing. */
  const requireHolds = async (vm: BlockVm): Promise<void> => {
    const disks = await diskImages(stage.recovery, vm.uuid);
    for (const key of vm.keys) {
      const disk = disks.get(key);
      assert.ok(disk);
      await requireSameContent(vm.expected(key), disk);
    }
  };
});

/** How many were, at this moment. */
function underWay(turns: readonly { from: string; to: string }[], at: string): number {
  return turns.filter(({ from, to }) => from <= at && at < to).length;
}
