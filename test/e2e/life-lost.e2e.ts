/** The source, or the whole source host, is lost: the replica takes over within seconds, and says what it cannot know. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, suite, test } from 'node:test';
import { operationDetailSchema } from '../../src/contract/operation.ts';
import type { PointAnswer } from '../../src/contract/point.ts';
import type { ReplicaAnswer } from '../../src/contract/replica.ts';
import { type BlockVm, MIB } from './stage/block-vm.ts';
import { watchEvents } from './stage/event-log.ts';
import {
  type Archive,
  archiveOf,
  conditionNames,
  failOverBlockVm,
  order,
  preview,
  succeed,
  transfers,
} from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

/** The source gets 5 s to answer; the rest is for a busy machine. */
const TAKEOVER_MS_MAX = 12_000;

suite('failover when the source is lost', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let archive: Archive;
  let round = 0;

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: 'lost' });
    await vm.start();
    // Slow enough that a run can be caught in the middle.
    protection = await stage.protect(vm.name, ['--limit', '8MiB', '--keep', '9']);
    archive = archiveOf(stage, vm);
    await writeAndReplicate();
  });
  after(() => stage?.[Symbol.asyncDispose]());
  afterEach(async () => {
    if (stage.production.pid === undefined) await stage.production.restartDaemon();
  });

  test('its QEMU is killed', async () => {
    await flush();
    await vm.hardKill();
    const replica = await takeOver();
    assert.equal(replica.failover?.isConnected, true);
    assert.match(replica.failover?.connectionBecause ?? '', /source VM is off/);
    assert.deepEqual(conditionNames(replica), []);
    await succeed(stage, 'undo-failover', replica.id);
    assert.equal(await vm.state(), 'shut off');
    await vm.start();
    const point = await writeAndReplicate();
    assert.deepEqual(transfers(point), ['resync', 'resync']);
  });

  test('it is powered off as a fence, and started again by the undo', async () => {
    const pid = stage.production.qemuPid(vm.uuid);
    const replica = await takeOver('--fence', 'power-off');
    assert.equal(await vm.state(), 'shut off');
    assert.equal(replica.failover?.isConnected, true);
    await succeed(stage, 'undo-failover', replica.id);
    assert.equal(await vm.state(), 'running');
    assert.notEqual(stage.production.qemuPid(vm.uuid), pid);
    await writeAndReplicate();
  });

  test('its host does not answer', async () => {
    const pid = stage.production.qemuPid(vm.uuid);
    await stage.production.killDaemon();
    const { id } = await stage.replica(protection);
    const seen = await preview(stage, id);
    assert.deepEqual([seen.sourcePower, seen.willConnectNics], ['unknown', true]);
    assert.match(seen.warnings.join(), /not fenced/);
    const replica = await takeOver();
    assert.equal(replica.failover?.isConnected, true);
    assert.match(replica.failover?.connectionBecause ?? '', /does not answer/);
    assert.deepEqual(conditionNames(replica), ['unfenced-source']);
    await succeed(stage, 'undo-failover', id);
    assert.deepEqual(conditionNames(await stage.replica(protection)), []);
    await stage.production.restartDaemon();
    assert.equal(stage.production.qemuPid(vm.uuid), pid);
    const point = await writeAndReplicate();
    assert.deepEqual(transfers(point), ['incremental', 'incremental']);
  });

  test('a fence that cannot be had switches nothing', async () => {
    await stage.production.killDaemon();
    const { id } = await stage.replica(protection);
    const operation = await order(stage, 'failover', id, '--fence', 'power-off');
    assert.ok(['failed', 'suspended'].includes(operation.state), describe(operation));
    if (operation.state === 'suspended') await stage.attempt(['operation', 'cancel', operation.id]);
    assert.equal((await stage.replica(protection)).phase, 'Ready');
    assert.equal(stage.recovery.qemuPid(vm.uuid), undefined);
    await stage.production.restartDaemon();
    await writeAndReplicate();
  });

  test('its host hangs in the middle of a run, which does not stand in the way', async (t) => {
    await vm.write('vda', { offset: 0, length: 40 * MIB, value: 0x70 });
    const events = await watchEvents(stage.server.dataFolder);
    const run = await stage.beginReplicate(protection);
    await events.next({ operationId: run.id, type: 'step-succeeded', step: 'freeze' });
    const daemon = stage.production.pid;
    assert.ok(daemon);
    // nsenter, which waits for it outside, stops with it and has to be woken, too.
    const stopped = [daemon, parentOf(daemon)];
    process.kill(daemon, 'SIGSTOP');
    const replica = await (async () => {
      try {
        const orderedAt = performance.now();
        const taken = await takeOver();
        t.diagnostic(`running ${Math.round(performance.now() - orderedAt)} ms after the command`);
        assert.ok(performance.now() - orderedAt < 3 * TAKEOVER_MS_MAX);
        return taken;
      } finally {
        for (const pid of stopped) process.kill(pid, 'SIGCONT');
      }
    })();
    assert.deepEqual(conditionNames(replica), ['unfenced-source']);
    assert.equal((await stage.settled(run.id)).state, 'cancelled');
    await succeed(stage, 'undo-failover', replica.id);
    assert.equal(await vm.state(), 'running');
    await writeAndReplicate();
    await stage.requireNothingLeft(protection);
  });

  /** To the newest point, in time. Its branch is not yet written to, so what it reads is the point. */
  async function takeOver(...args: readonly string[]): Promise<ReplicaAnswer> {
    const replica = await failOverBlockVm(stage, protection, ...args);
    assert.equal(replica.phase, 'Failover');
    assert.equal(replica.failover?.pointId, replica.newestPointId);
    assert.ok(stage.recovery.qemuPid(vm.uuid) !== undefined);
    const runningAfterMs = await runningAfter(replica);
    assert.ok(runningAfterMs < TAKEOVER_MS_MAX, `${runningAfterMs} ms`);
    return replica;
  }

  /** The figure is recorded when the guest answers; here the history has it. */
  async function runningAfter({ failover }: ReplicaAnswer): Promise<number> {
    const { history, createdAt } = await stage.ask(
      ['operation', 'show', failover?.operationId ?? ''],
      operationDetailSchema,
    );
    const running = history.find(
      ({ step, type }) => step === 'start-replica' && type === 'step-succeeded',
    );
    return Date.parse(running?.at ?? '') - Date.parse(createdAt);
  }

  /** As a guest would: what is in QEMU's memory alone is lost with it. */
  async function flush(): Promise<void> {
    for (const number of [0, 1]) {
      const order = `qemu-io -d /machine/peripheral/virtio-disk${number}/virtio-backend "flush"`;
      const args = ['qemu-monitor-command', '--hmp', '--domain', vm.uuid, '--cmd', order];
      assert.equal((await stage.production.virsh(args)).trim(), '');
    }
  }

  async function writeAndReplicate(): Promise<PointAnswer> {
    round += 1;
    await vm.write('vda', { offset: round * 3 * 65536, length: 4 * 65536, value: 0x50 + round });
    await vm.write('vdb', { offset: round * MIB, length: 65536 + 512, value: 0x60 + round });
    const point = await stage.replicate(protection);
    await archive.keep(point);
    await archive.requireAllExact(protection);
    return point;
  }
});

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}
