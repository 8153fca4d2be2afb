/**
 * One VM with a replica near and one far, on three hosts: each stays incremental, what serves by one keeps the other in the
 * dark, one that cannot be asked is told of, and a failback of one leaves the other exact, byte for byte, also where production
 * ran on working layers meanwhile.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { z } from 'zod';
import { operationSchema } from '../../src/contract/operation.ts';
import { type PointAnswer, pointSchema } from '../../src/contract/point.ts';
import { replicaSchema } from '../../src/contract/replica.ts';
import { type PrivateHost, startPrivateHost } from '../../src/rig/private-host.ts';
import { untilTrue } from '../../src/rig/until.ts';
import { BLOCK, type BlockVm, MIB } from './stage/block-vm.ts';
import { requireSameContent } from './stage/bytes.ts';
import { watchEvents } from './stage/event-log.ts';
import { begin, failOverBlockVm, order, refused, succeed, transfers } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe } from './stage/operator.ts';

const FAR = 'twin-far';
const NEAR = 'twin-near';
const SWITCH_AT_ONCE = ['--shutdown-deadline', '1s', '--on-missed-deadline', 'power-off'];

suite('two replicas of one VM', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let far: PrivateHost | undefined;

  before(async () => {
    stage = await openStage();
    far = await startPrivateHost({ name: 'far', folder: join(stage.folder, 'f') });
    const folders = ['--storage', `${stage.folder}/storage-f`, '--scratch', `${stage.folder}/x`];
    await stage.server.json(['host', 'add', far.name, '--uri', far.uri, ...folders]);
    vm = await stage.blockVm({ name: 'twin' });
    await vm.start();
    await protect('near', 'recovery', '-near');
    await protect('far', 'far', '-far');
  });
  after(async () => {
    await far?.stop();
    await stage?.[Symbol.asyncDispose]();
  });

  const protect = async (job: string, target: string, suffix: string) => {
    const hosts = ['--source', 'production', '--target', target, '--suffix', suffix];
    const args = ['job', 'create', job, ...hosts, '--vm', vm.name, '--no-schedule'];
    await stage.server.json([...args, '--quiesce', 'never', '--keep', '9']);
  };

  const replica = (name: string) => stage.ask(['replica', 'show', name], replicaSchema);

  /** Compares the new point with what was written to the VM. */
  const replicate = async (job: 'near' | 'far'): Promise<PointAnswer> => {
    const [operation] = await stage.ask(['job', 'run', job], z.array(operationSchema));
    assert.equal(operation?.state, 'succeeded', operation?.error?.message);
    return requireNewestExact(job);
  };

  const requireNewestExact = async (job: 'near' | 'far'): Promise<PointAnswer> => {
    const points = await stage.ask(['point', 'list', `twin-${job}`], z.array(pointSchema));
    const newest = points.at(-1) ?? assert.fail('a point was made');
    const storage = job === 'near' ? stage.storageFolder : join(stage.folder, 'storage-f');
    for (const { key, layerId } of newest.disks) {
      const path = join(storage, newest.replicaId, 'layers', layerId, `${key}.qcow2`);
      await requireSameContent(vm.expected(key), { path, format: 'qcow2' });
    }
    return newest;
  };

  const write = async (value: number) => {
    await vm.write('vda', { offset: value * MIB, length: 3 * BLOCK, value });
    await vm.write('vdb', { offset: value * BLOCK, length: 4096, value });
  };

  const link = async (host: PrivateHost, name: string) => {
    const listed = await host.virsh(['domiflist', '--domain', name]);
    const mac = /(?:[0-9a-f]{2}:){5}[0-9a-f]{2}/.exec(listed)?.[0] ?? '';
    const said = await host.virsh(['domif-getlink', '--domain', name, '--interface', mac]);
    return said.trim().split(' ').at(-1);
  };

  test('both stay incremental, one after the other', async () => {
    for (const value of [1, 2]) {
      await write(value);
      const points = [await replicate('near'), await replicate('far')];
      if (value === 1) continue;
      for (const point of points)
        assert.deepEqual(transfers(point), ['incremental', 'incremental']);
    }
  });

  test('while the near one serves, the far one comes up without network, and is refused what would connect it', async () => {
    const elsewhere = far ?? assert.fail();
    const near = await replica(NEAR);
    await failOver(NEAR, '--fence', 'power-off');
    assert.equal(await link(stage.recovery, NEAR), 'up');
    const preview = await stage.attempt(['failover', FAR, '--dry-run']);
    assert.match(preview.stdout, /twin-near, of another replica of the VM, is running/);
    await refused(stage, ['planned-failover', FAR], 3, /twin-near.*runs and is connected/);
    await failOver(FAR);
    assert.equal(await link(elsewhere, FAR), 'down');
    assert.equal((await replica(FAR)).failover?.isConnected, false);
    await succeed(stage, 'undo-failover', FAR);
    await succeed(stage, 'undo-failover', near.id);
    assert.equal(await vm.state(), 'running');
  });

  test('a fence is lifted beside the near one, whose host does not answer: it is told until the near one is seen', async () => {
    await succeed(stage, 'failover', NEAR);
    await succeed(stage, 'failover', FAR);
    await succeed(stage, 'fence', FAR, '--with', 'nics');
    assert.deepEqual(await conditions(FAR), []);
    await stage.recovery.killDaemon();
    await succeed(stage, 'unfence', FAR);
    const [told] = await conditions(FAR);
    assert.match(told ?? '', /^unfenced-source: twin is on the network, and twin-near.* may be/);
    await succeed(stage, 'undo-failover', FAR);
    assert.deepEqual(await conditions(FAR), [told]);
    await stage.recovery.restartDaemon();
    await untilTrue('it is withdrawn', async () => (await conditions(FAR)).length === 0);
    assert.equal(await link(stage.recovery, NEAR), 'down');
    await succeed(stage, 'undo-failover', NEAR);
  });

  test('the near one goes home: the far one waits, and goes on while production decides', async () => {
    await write(3);
    await replicate('near');
    await failOver(NEAR, '--fence', 'power-off');
    await succeed(stage, 'failback', NEAR);
    await refused(stage, ['job', 'run', 'far'], 3, /failback of replica twin-near is copying/);
    await succeed(stage, 'switch-over', NEAR, ...SWITCH_AT_ONCE);
    assert.equal(await vm.state(), 'running');
    await replicate('far');
    const again = await order(stage, 'failover', FAR, '--fence', 'none', '--no-wait');
    assert.notEqual(again.state, 'failed');
    await succeed(stage, 'undo-failover', FAR);
  });

  test('a commit asked for while the far one reads production waits for that, and leaves both exact', async () => {
    await vm.write('vda', { offset: 40 * MIB, length: 4 * MIB, value: 6 });
    await stage.server.json(['job', 'change', 'far', '--limit', '2MiB']);
    const events = await watchEvents(stage.server.dataFolder);
    const [run] = await stage.ask(['job', 'run', 'far', '--no-wait'], z.array(operationSchema));
    await events.next({ operationId: run?.id ?? '', type: 'step-started', step: 'move-blocks' });
    const commit = await begin(stage, 'commit-failback', NEAR);
    assert.deepEqual([commit.state, commit.startedAt], ['queued', null]);
    await requireMergeRefused();
    const read = await stage.settled(run?.id ?? '');
    assert.equal(read.state, 'succeeded', describe(read));
    await requireNewestExact('far');
    const merged = await stage.settled(commit.id);
    assert.equal(merged.state, 'succeeded', describe(merged));
    assert.ok((merged.startedAt ?? '') >= (read.endedAt ?? '-'), 'one after the other');
    await stage.server.json(['job', 'change', 'far', '--limit', 'none']);
    await write(4);
    assert.deepEqual(transfers(await replicate('near')), ['incremental', 'incremental']);
    await replicate('far');
    await write(5);
    assert.deepEqual(transfers(await replicate('far')), ['incremental', 'incremental']);
  });

  /** What the commit would meet if it did not wait: libvirt has one job of a disk at a time, and the run's backup is one. */
  const requireMergeRefused = async () => {
    const job = await stage.production.virsh(['blockjob', '--raw', '--', vm.uuid, 'vda']);
    assert.match(job, /type=Backup/);
    const merge = ['blockcommit', '--active', '--shallow', '--', vm.uuid, 'vda'];
    await assert.rejects(stage.production.virsh(merge), /active block job/);
  };

  const conditions = async (name: string): Promise<readonly string[]> =>
    (await replica(name)).conditions.map((condition) => `${condition.name}: ${condition.message}`);

  const failOver = async (name: string, ...args: readonly string[]) => {
    const { sourceVmId: vmId } = await replica(name);
    const asked = { ...stage, replica: () => replica(name) };
    await failOverBlockVm(asked, { job: '', vmId, findings: [] }, ...args);
  };
});
