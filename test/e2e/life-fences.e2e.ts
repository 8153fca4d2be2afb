/**
 * A source that comes back after its failover: it is told at once, cut off and given back, and, where its host has a start
 * guard, kept from starting, also when that host boots with nobody there.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type GuardAnswer, guardSchema } from '../../src/contract/guard.ts';
import type { ReplicaAnswer } from '../../src/contract/replica.ts';
import { until, untilTrue } from '../../src/rig/until.ts';
import { type BlockVm, MIB } from './stage/block-vm.ts';
import { conditionNames, failOverBlockVm, refused, succeed } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import type { Protection } from './stage/operator.ts';

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
  const show = () => guard('show', 'production');

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
