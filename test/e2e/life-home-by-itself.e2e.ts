/**
 * Production takes over by itself: as soon as it can, at a time, and when little is left. Nobody is there to press a
 * button twice, so both VMs are guests that follow a shutdown. They write nothing, so that every byte is known.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, suite, type TestContext, test } from 'node:test';
import { z } from 'zod';
import { type OperationAnswer, seenOperationSchema } from '../../src/contract/operation.ts';
import { run } from '../../src/rig/command.ts';
import { BLOCK, type BlockVm, MIB } from './stage/block-vm.ts';
import { watchEvents } from './stage/event-log.ts';
import {
  requireTookOver,
  type StandIn,
  sentBytesOf,
  standInOf,
  untilSwitched,
} from './stage/home.ts';
import { archiveOf, begin, failOverBlockVm, succeed, transfers } from './stage/life.ts';
import { untilObedient } from './stage/obedient-guest.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import type { Protection } from './stage/operator.ts';

/** Phase one takes a second, or several where much else is going on. */
const AT_AFTER_MS = 5_000;

suite('production takes over by itself', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let value = 0;

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: 'homeward', isObedient: true });
    await vm.start();
    await untilObedient(stage.production, vm.uuid);
    protection = await stage.protect(vm.name, ['--quiesce', 'never']);
    await vm.write('vda', { offset: 2 * MIB, length: 8 * MIB, value: 0xee });
    await vm.write('vdb', { offset: 5 * MIB, length: 4 * MIB, value: 0xee });
    await stage.replicate(protection);
  });
  after(() => stage?.[Symbol.asyncDispose]());

  test('automatic: as soon as the bulk is there, with what the replica wrote meanwhile', async (t) => {
    const serving = await standIn();
    const events = await watchEvents(stage.server.dataFolder);
    const failback = succeed(stage, 'failback', serving.id, '--switchover', 'automatic');
    await events.next({ step: 'pass-1/copy-home', type: 'step-started' });
    await writeMeanwhile(serving);
    await failback;
    await requireSwitched(t, serving);
    await keep(serving);
  });

  test('at a time: ready before it, and not sooner', async (t) => {
    const serving = await standIn();
    const at = new Date(Date.now() + AT_AFTER_MS).toISOString();
    const failback = await succeed(stage, 'failback', serving.id, '--switchover', at);
    t.diagnostic(`ready ${Date.parse(at) - Date.parse(failback.endedAt ?? '')} ms before`);
    await writeMeanwhile(serving);
    const { createdAt } = await requireSwitched(t, serving);
    assert.ok(createdAt >= at, `begun ${createdAt}, asked for ${at}`);
    await keep(serving);
  });

  test('below a size: not by what had gathered before, but by what a later pass moved', async (t) => {
    const serving = await standIn();
    const below = ['--switchover', `below:${4 * BLOCK}`];
    const failback = await succeed(stage, 'failback', serving.id, ...below);
    assert.ok(sentBytesOf(failback) > 4 * BLOCK, 'the first pass moved more than that');
    await requireSwitched(t, serving);
    const passes = await operations('catch-up-failback');
    assert.equal(passes.length, 1, 'a second pass told that little was left');
    await keep(serving);
  });

  test('the hypervisor of production is gone when the replica is off: the replica serves again by itself', async () => {
    const serving = await standIn();
    await succeed(stage, 'failback', serving.id);
    await writeMeanwhile(serving);
    const events = await watchEvents(stage.server.dataFolder);
    const { id: operationId } = await begin(stage, 'switch-over', serving.id);
    await events.next({ operationId, step: 'shut-down-replica-1', type: 'step-succeeded' });
    await stage.production.killDaemon();
    const operation = await stage.settled(operationId);
    assert.deepEqual([operation.state, operation.error?.code], ['failed', 'host-unreachable']);
    const { phase, targetVmId } = await stage.replica(protection);
    assert.equal(phase, 'ReadyToSwitch');
    await untilObedient(stage.recovery, targetVmId ?? '');
    await stage.production.restartDaemon();
    await assert.rejects(vm.start(), 'production is parked as before');
    await serving.write('vda', { offset: 50 * MIB, length: BLOCK, value });
    await succeed(stage, 'switch-over', serving.id);
    await requireTookOver(stage.production, vm.uuid, serving);
    await untilObedient(stage.production, vm.uuid);
    await keep(serving);
  });

  /** The replica serves and listens, production runs on; both have written. */
  const standIn = async (): Promise<StandIn & { readonly id: string }> => {
    const [newest] = (await stage.points(protection)).slice(-1);
    assert.ok(newest);
    value += 1;
    const folder = join(vm.folder, 'stand-in', String(value));
    const replica = await failOverBlockVm(stage, protection);
    const serving = await standInOf(stage, replica, vmDisks(), folder);
    await vm.write('vda', { offset: 20 * MIB, length: 5 * BLOCK, value: 0x70 + value });
    await serving.write('vda', { offset: 30 * MIB, length: 6 * BLOCK, value });
    await serving.write('vdb', { offset: 60 * MIB + 4096, length: 8192, value });
    await untilObedient(stage.recovery, replica.targetVmId ?? '');
    return { ...serving, id: replica.id };
  };

  const vmDisks = () => new Map(vm.keys.map((key) => [key, vm.expected(key)]));

  const writeMeanwhile = (serving: StandIn) =>
    serving.write('vdb', { offset: (10 + value) * MIB, length: 3 * BLOCK, value: 0x50 + value });

  const operations = (kind: OperationAnswer['kind']): Promise<readonly OperationAnswer[]> =>
    stage.ask(['operation', 'list', '--kind', kind], z.array(seenOperationSchema));

  /** Nobody ordered it. @returns the switchover. */
  const requireSwitched = async (t: TestContext, serving: StandIn): Promise<OperationAnswer> => {
    const { operation, replica } = await untilSwitched(stage, protection);
    t.diagnostic(`down for ${replica.failback?.switched?.runningAfterMs} ms`);
    assert.equal(replica.phase, 'Failback');
    await requireTookOver(stage.production, vm.uuid, serving);
    assert.equal(await vm.state(), 'running');
    assert.equal(stage.recovery.qemuPid(replica.targetVmId ?? ''), undefined);
    await untilObedient(stage.production, vm.uuid);
    return operation;
  };

  /** Committed; production goes on from what the replica held, and the next run is incremental. */
  const keep = async (serving: StandIn & { readonly id: string }): Promise<void> => {
    await succeed(stage, 'commit-failback', serving.id);
    const archive = archiveOf(stage, vm);
    const state = (await stage.points(protection)).at(-1);
    assert.ok(state);
    await archive.keep(state, serving.expected);
    for (const [key, { path }] of serving.expected) {
      await run('cp', ['--', path, vm.expected(key).path]);
    }
    await vm.write('vda', { offset: (40 + value) * MIB, length: 2 * BLOCK, value });
    const next = await stage.replicate(protection);
    assert.deepEqual(transfers(next), ['incremental', 'incremental']);
    await archive.keep(next);
    for (const point of [state, next]) await stage.requireExact(point, archive.expected(point));
  };

  test('nothing of all that is left', () => stage.requireNothingLeft(protection));
});
