/**
 * A source that comes back after its failover: it is told at once, cut off and given back; one that is back before its replica
 * was started is not met; and, where its host has a start guard, it is kept from starting, also when that host boots with
 * nobody there.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type GuardAnswer, guardSchema } from '../../src/contract/guard.ts';
import type { ReplicaAnswer } from '../../src/contract/replica.ts';
import type { PrivateHost } from '../../src/rig/private-host.ts';
import { until, untilTrue } from '../../src/rig/until.ts';
import { type BlockVm, MIB } from './stage/block-vm.ts';
import { watchEvents } from './stage/event-log.ts';
import {
  conditionNames,
  failOverBlockVm,
  order,
  refused,
  succeed,
  untilRunning,
} from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

suite('a source that comes back', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let hooks: string;

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: `back 'again"`, disks: [{ sizeBytes: 16 * MIB }] });
    await vm.start();
    protection = await stage.protect(vm.name);
    await stage.replicate(protection);
    hooks = join(stage.production.folder, 'etc', 'hooks');
  });
  after(() => stage?.[Symbol.asyncDispose]());

  test('its host loses power and boots with it: told, cut off by its NICs, then by its power, and given back', async () => {
    await stage.production.cutPower();
    const { id } = await failOverBlockVm(stage, protection);
    assert.deepEqual(conditionNames(await stage.replica(protection)), ['unfenced-source']);
    await stage.production.powerOn();
    await vm.start();
    const returned = await until('it is told', async () => {
      const { conditions } = await stage.replica(protection);
      return conditions.find(({ name }) => name === 'source-returned');
    });
    assert.match(returned.message, /runs and is connected again.*understudy fence/);
    assert.equal(await link(), 'up');

    await succeed(stage, 'fence', id, '--with', 'nics');
    assert.deepEqual(conditionNames(await stage.replica(protection)), []);
    assert.equal(await link(), 'down');
    assert.equal(await vm.state(), 'running');
    await succeed(stage, 'fence', id, '--with', 'power-off');
    assert.equal(await vm.state(), 'shut off');
    const { failover } = await stage.replica(protection);
    assert.deepEqual([failover?.fence, failover?.fencedNics?.length], ['power-off', 1]);

    await refused(stage, ['unfence', id], 3, /without its fence.*would meet it/);
    await succeed(stage, 'unfence', id, '--accept-duplicate');
    assert.deepEqual([await vm.state(), await link()], ['running', 'up']);
    assert.deepEqual(conditionNames(await stage.replica(protection)), ['unfenced-source']);
    await succeed(stage, 'undo-failover', id);
  });

  test('started by hand while the controller is away, it is not met by the replica that was to start', async () => {
    const { id } = await stage.replica(protection);
    const release = await holdStarts(stage.recovery);
    const events = await watchEvents(stage.server.dataFolder);
    const client = stage.attempt(['failover', id, '--fence', 'power-off', '--no-wait']);
    const { operationId } = await events.next({ type: 'step-started', step: 'start-replica' });
    await stage.server.kill9();
    await client.catch(() => undefined);
    assert.equal(await vm.state(), 'shut off', 'it was fenced');
    await vm.start();
    await release();
    await stage.server.restart();

    const suspended = await stage.settled(operationId);
    assert.deepEqual(
      [suspended.state, suspended.error?.code],
      ['suspended', 'started-beside-source'],
      describe(suspended),
    );
    const again = await order(stage, 'operation', 'retry', operationId);
    assert.equal(again.error?.code, 'started-beside-source', describe(again));
    assert.equal(stage.recovery.qemuPid(vm.uuid), undefined);
    assert.equal(await vm.state(), 'running');

    await vm.destroy();
    await stage.attempt(['operation', 'retry', operationId, '--no-wait']);
    await untilRunning(stage, protection, operationId);
    assert.notEqual(stage.recovery.qemuPid(vm.uuid), undefined);
    assert.equal(await vm.state(), 'shut off');
    await succeed(stage, 'undo-failover', id);
    assert.equal(await vm.state(), 'running', 'its fence is lifted');
  });

  test('a guard is not believed before its host was seen to refuse a start', async () => {
    const installed = await guard('install', 'production', '--hooks', hooks);
    assert.equal(installed.state, 'dormant', installed.because);
    assert.match(installed.because, /systemctl reload libvirtd/);
    process.kill(stage.production.pid ?? 0, 'SIGHUP'); // as that does
    await untilTrue('it is active', async () => (await show()).state === 'active');
    assert.deepEqual((await show()).held, []);
    assert.equal(await vm.state(), 'running', 'and nobody was disturbed');
    const domains = await stage.production.virsh(['list', '--all', '--name']);
    assert.doesNotMatch(domains, /probe/);
    await refused(stage, ['host', 'remove', 'production'], 3, /is used by/);
  });

  test('held since its host was away, it starts neither with that host nor by hand; the undo lets it go', async () => {
    await stage.production.virsh(['autostart', '--domain', vm.uuid]);
    await stage.production.cutPower();
    const { id } = await failOverBlockVm(stage, protection);
    await untilTrue('it is held', async () => (await heldReplicas()).includes(id));
    await stage.production.powerOn();
    const said = await startByHand();
    assert.match(said, /hook script execution failed.*understudy: .*Its replica .* serves since/is);
    assert.ok(said.includes(`understudy undo-failover ${id}`), said);
    await stage.production.virsh(['autostart', '--disable', '--domain', vm.uuid]);
    await succeed(stage, 'undo-failover', id);
    assert.deepEqual(await heldReplicas(), []);
    await vm.start();
    await stage.replicate(protection);
  });

  test('after a permanent failover it stays held until a person lets it go; removed, nothing of the guard stays', async () => {
    const { id } = await failOverBlockVm(stage, protection, '--fence', 'power-off');
    assert.deepEqual(await heldReplicas(), [id]);
    await succeed(stage, 'permanent-failover', id);
    await untilTrue('the reason is the new one', async () =>
      (await show()).held.some(({ reason }) => reason.includes('for good')),
    );
    assert.match(await startByHand(), /took its place for good/);
    const lifted = await guard('lift', 'production', vm.uuid);
    assert.deepEqual(lifted.held, []);
    await vm.start();
    await vm.destroy();
    await stage.attempt(['guard', 'remove', 'production']);
    assert.equal((await show()).state, 'absent');
    assert.ok(!existsSync(join(hooks, 'understudy-guards')));
    assert.deepEqual(readdirSync(join(hooks, 'qemu.d')), []);
  });

  const guard = (...args: readonly string[]): Promise<GuardAnswer> =>
    stage.ask(['guard', ...args], guardSchema);
  const show = async (): Promise<GuardAnswer> => {
    const { exitCode, stdout } = await stage.attempt(['guard', 'show', 'production', '-o', 'json']);
    const shown = guardSchema.parse(JSON.parse(stdout));
    assert.equal(exitCode, shown.state === 'active' ? 0 : 1);
    return shown;
  };

  async function heldReplicas(): Promise<readonly ReplicaAnswer['id'][]> {
    return (await show()).held.map(({ replicaId }) => replicaId);
  }

  /** As a person would who knows nothing; it must be refused. @returns what virsh said. */
  async function startByHand(): Promise<string> {
    const said = await vm.start().then(
      () => null,
      (error: unknown) => String(error),
    );
    assert.ok(said !== null, 'it started');
    assert.equal(await vm.state(), 'shut off');
    return said;
  }

  async function link(): Promise<string> {
    const args = ['domif-getlink', '--domain', vm.uuid, '--interface', '52:54:00:00:00:01'];
    return (await stage.production.virsh(args)).trim().split(' ').at(-1) ?? '';
  }
});

/** No VM of that host starts before the release: a hook of libvirt refuses it. */
async function holdStarts(host: PrivateHost): Promise<() => Promise<void>> {
  const folder = join(host.folder, 'etc', 'hooks');
  const hook = join(folder, 'qemu');
  await mkdir(folder, { recursive: true });
  await writeFile(hook, '#!/bin/sh\n[ "$2" != prepare ]\n', { mode: 0o755 });
  // Which hooks there are, libvirt looks only when it starts.
  await host.restartDaemon();
  return () => writeFile(hook, '#!/bin/sh\n');
}
