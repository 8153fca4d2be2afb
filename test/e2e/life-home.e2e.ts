/**
 * There and back on real guests: a planned failover that loses no record, and the whole way home. The guest's ledger is the
 * witness; each record covers the one before, so that a gap or a torn write shows.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import { failbackPreviewSchema } from '../../src/contract/failback.ts';
import type { OperationDetailAnswer } from '../../src/contract/operation.ts';
import { watchLedger } from '../../src/main/demo/ledger-watch.ts';
import { run } from '../../src/rig/command.ts';
import {
  getJson,
  type LedgerState,
  parseLedgerState,
  waitForLedger,
} from '../../src/rig/ledger-client.ts';
import { forwardGuestPort } from '../../src/rig/port-forward.ts';
import type { TestVm } from '../../src/rig/test-vm.ts';
import { until } from '../../src/rig/until.ts';
import { untilSwitched } from './stage/home.ts';
import { conditionNames, order, refused, succeed, transfers } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import type { Protection } from './stage/operator.ts';

suite('a planned failover and the way home', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: TestVm;
  let protection: Protection;
  const ending = new AbortController();

  before(async () => {
    stage = await openStage();
    vm = await stage.guestVm({
      name: 'traveller',
      disks: [{ content: 'system' }, { content: 'blank', sizeBytes: 128 * 1024 ** 2 }],
    });
    await vm.start();
    protection = await stage.protect(vm.name, ['--keep', '4']);
    await vm.waitForHttp({ deadlineMs: 120_000 });
  });
  after(async () => {
    ending.abort();
    await stage?.[Symbol.asyncDispose]();
  });

  test('a guest that does not shut down in time goes on, and nothing has changed', async () => {
    await stage.replicate(protection);
    await stage.production.virsh(['suspend', '--domain', vm.uuid]);
    const operation = await order(stage, 'planned-failover', await id());
    assert.equal(operation.state, 'failed');
    assert.match(operation.error?.message ?? '', /paused/);
    await stage.production.virsh(['resume', '--domain', vm.uuid]);
    assert.equal((await stage.replica(protection)).phase, 'Ready');
    assert.equal(await vm.state(), 'running');
  });

  test('planned: the source is shut down, and no record that it acknowledged is missing', async (t) => {
    const watch = await watchLedger(vm, ending.signal);
    await watch.untilWritten(20);
    const operation = await succeed(stage, 'planned-failover', await id(), '--reason', 'moving');
    await watch.stop();
    tellTimes(t, operation);
    assert.equal(await vm.state(), 'shut off');
    const replica = await stage.replica(protection);
    assert.deepEqual(
      [replica.phase, replica.failover?.fence, replica.failover?.isConnected],
      ['Failover', 'shutdown', true],
    );
    const { state } = await service(stage.recovery);
    assert.equal(state.errors, 0);
    assert.ok(state.verified >= watch.last.seq, `${state.verified} of ${watch.last.seq} records`);
    assert.ok((await stage.points(protection)).length <= 4);
  });

  test('a dry run of the failback tells what it would mean', async () => {
    const seen = await stage.ask(['failback', await id(), '--dry-run'], failbackPreviewSchema);
    assert.deepEqual(
      [seen.home.kind, seen.homePower, seen.hasSavedState, seen.refusedBecause],
      ['original', 'off', false, null],
    );
    assert.ok((seen.branchBytes ?? 0) > 0);
    assert.match(seen.consequence, /stays off/);
  });

  test('phase one copies what differs while the replica serves; production cannot be started', async (t) => {
    const { url } = await service(stage.recovery);
    const watch = await watchLedger({ ledger: () => ledgerAt(url) }, ending.signal);
    await watch.untilWritten(5);
    const operation = await succeed(stage, 'failback', await id());
    await watch.untilWritten(5);
    await watch.stop();
    t.diagnostic(`the replica was silent for ${watch.longestSilenceMs} ms at most`);
    assert.ok(watch.longestSilenceMs < 10_000);
    const moved = z.object({ sentBytes: z.number() }).parse(operation.result).sentBytes;
    const whole = (await vmBytes()).reduce((sum, bytes) => sum + bytes, 0);
    t.diagnostic(`${moved} of ${whole} bytes moved`);
    assert.ok(moved < whole / 4, 'only what differs');
    assert.equal((await stage.replica(protection)).phase, 'ReadyToSwitch');
    await assert.rejects(stage.production.virsh(['start', '--domain', vm.uuid]));
    assert.equal(await vm.state(), 'shut off');
  });

  test('cancelled, production is as it was, and another failback can begin', async () => {
    await succeed(stage, 'cancel-failback', await id());
    assert.equal((await stage.replica(protection)).phase, 'Failover');
    await succeed(stage, 'failback', await id());
  });

  test('switched over: every record of the replica is in production, which serves', async (t) => {
    const { url } = await service(stage.recovery);
    const watch = await watchLedger({ ledger: () => ledgerAt(url) }, ending.signal);
    await watch.untilWritten(10);
    const operation = await succeed(stage, 'switch-over', await id());
    await watch.stop();
    tellTimes(t, operation);
    assert.equal(await vm.state(), 'running');
    assert.equal(stage.recovery.qemuPid(vm.uuid), undefined);
    const { targetVmId } = await stage.replica(protection);
    await assert.rejects(
      stage.recovery.virsh(['start', '--domain', targetVmId ?? '']),
      /Cannot access storage file/,
      'the replica cannot be started by hand',
    );
    const { state } = await service(stage.production);
    assert.equal(state.errors, 0);
    assert.ok(state.verified >= watch.last.seq, `${state.verified} of ${watch.last.seq} records`);
    await refused(stage, ['job', 'run', protection.job], 3, /commit-failback/);
  });

  test('undone, the replica serves again from the switchover, and production is as it was', async () => {
    const before = (await service(stage.production)).state;
    await succeed(stage, 'undo-failback', await id());
    assert.equal(await vm.state(), 'shut off');
    const { state } = await service(stage.recovery);
    assert.equal(state.errors, 0);
    assert.ok(state.boot <= before.boot + 1);
    assert.equal((await stage.replica(protection)).phase, 'Failover');
  });

  test('again, and this time production takes over by itself; no record is missing', async (t) => {
    const { url } = await service(stage.recovery);
    const watch = await watchLedger({ ledger: () => ledgerAt(url) }, ending.signal);
    await watch.untilWritten(5);
    await succeed(stage, 'failback', await id(), '--switchover', 'automatic');
    const { operation } = await untilSwitched(stage, protection);
    await watch.stop();
    tellTimes(t, operation);
    const { state } = await service(stage.production);
    assert.equal(state.errors, 0);
    assert.ok(state.verified >= watch.last.seq, `${state.verified} of ${watch.last.seq} records`);
  });

  test('committed: production keeps its disks, and the next run is incremental', async () => {
    const { url } = await service(stage.production);
    const watch = await watchLedger({ ledger: () => ledgerAt(url) }, ending.signal);
    await watch.untilWritten(5);
    const paths = await diskPaths();
    await succeed(stage, 'commit-failback', await id());
    await watch.untilWritten(5);
    await watch.stop();
    const replica = await stage.replica(protection);
    assert.deepEqual([replica.phase, replica.failover, replica.failback], ['Ready', null, null]);
    assert.deepEqual(conditionNames(replica), []);
    const own = await diskPaths();
    assert.ok(
      own.every((path) => !paths.includes(path)),
      `its own disks again: ${own.join()}`,
    );
    for (const path of own) {
      const info = JSON.parse(await run('qemu-img', ['info', '-U', '--output=json', '--', path]));
      assert.equal(info['backing-filename'], undefined);
    }
    const point = await stage.replicate(protection);
    assert.deepEqual(transfers(point), ['incremental', 'incremental']);
  });

  test('a failover to the point made of the state of the replica holds all its records', async () => {
    const points = await stage.points(protection);
    const state = points.at(-2);
    assert.ok(state);
    await succeed(stage, 'replica', 'verify', await id());
    await succeed(stage, 'failover', await id(), '--point', state.id, '--fence', 'power-off');
    const { state: ledger } = await service(stage.recovery);
    assert.equal(ledger.errors, 0);
    await succeed(stage, 'undo-failover', await id());
  });

  async function id(): Promise<string> {
    return (await stage.replica(protection)).id;
  }

  async function service(
    host: Stage['production'],
  ): Promise<{ readonly url: string; readonly state: LedgerState }> {
    const url = await until('a port is forwarded', () =>
      forwardGuestPort({ host, domain: vm.uuid }),
    );
    return { url, state: await waitForLedger(url, { deadlineMs: 120_000 }) };
  }

  async function diskPaths(): Promise<readonly string[]> {
    const rows = await stage.production.virsh(['domblklist', '--details', '--domain', vm.uuid]);
    return rows
      .split('\n')
      .flatMap((row) => /^\s*file\s+disk\s+\S+\s+(\S.*)$/.exec(row)?.[1] ?? []);
  }

  async function vmBytes(): Promise<readonly number[]> {
    return (await stage.points(protection)).at(-1)?.disks.map(({ sizeBytes }) => sizeBytes) ?? [];
  }
});

function tellTimes(t: { diagnostic(text: string): void }, { result }: OperationDetailAnswer): void {
  t.diagnostic(JSON.stringify(result));
}

async function ledgerAt(url: string): Promise<LedgerState> {
  return parseLedgerState(await getJson(`${url}/`));
}
