/**
 * Restore points of VMs in every shape a disk can have: each point is compared, byte for byte, with what was written
 * to the VM, and what was sent with what was changed. About a minute and a half.
 */
import assert from 'node:assert/strict';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import type { PointAnswer } from '../../src/contract/point.ts';
import { run } from '../../src/rig/command.ts';
import { BLOCK, type BlockVm, MIB } from './stage/block-vm.ts';
import { requireSameContent } from './stage/bytes.ts';
import { watchEvents } from './stage/event-log.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import { describe, type Protection } from './stage/operator.ts';

suite('restore points of disks of all kinds', { skip: skipReason() }, () => {
  let stage: Stage;

  before(async () => {
    stage = await openStage();
  });
  after(async () => {
    await stage?.[Symbol.asyncDispose]();
  });

  /** The plans of a point as `vda incremental, vdb full`. */
  const kinds = ({ disks }: PointAnswer) =>
    disks.map(({ key, transfer }) => `${key} ${transfer}`).join(', ');

  const disk = ({ disks }: PointAnswer, key: string) => {
    const found = disks.find((candidate) => candidate.key === key);
    assert.ok(found);
    return found;
  };

  /** What was sent is what was changed, plus at most a twentieth. */
  const requireSent = (point: PointAnswer, key: string, changedBlocks: number) => {
    const { sentBytes } = disk(point, key);
    assert.ok(
      sentBytes >= changedBlocks * BLOCK * 0.99 && sentBytes <= changedBlocks * BLOCK * 1.05,
      `${key}: ${sentBytes} bytes sent for ${changedBlocks} changed blocks of ${BLOCK}`,
    );
  };

  const sealed = async (protection: Protection, vm: BlockVm): Promise<PointAnswer> => {
    const point = await stage.replicate(protection);
    await stage.requireExactVm(point, vm);
    return point;
  };

  suite('a VM that is switched off', () => {
    let vm: BlockVm;
    let protection: Protection;

    test('is seeded', async () => {
      vm = await stage.blockVm();
      await vm.write('vda', { offset: 0, length: 8 * MIB, value: 1 });
      await vm.write('vdb', { offset: 5 * MIB + 512, length: 3 * MIB, value: 2 });
      protection = await stage.protect(vm.uuid);
      const point = await sealed(protection, vm);
      assert.equal(kinds(point), 'vda full, vdb full');
      assert.equal(disk(point, 'vda').because, 'there is no restore point yet');
      // Only what is not zero, although 64 MiB are on offer.
      requireSent(point, 'vda', 128);
      // And from an independent reader of the disk itself.
      const off = { path: vm.diskPath('vdb'), format: 'qcow2' } as const;
      await requireSameContent(off, stage.layer(point, 'vdb'));
    });

    test('is replicated incrementally when its disk is changed off-line', async () => {
      await vm.write('vda', { offset: 20 * MIB, length: 2 * MIB, value: 3 });
      await vm.write('vda', { offset: 0, length: BLOCK, value: 0 });
      await vm.write('vdb', { offset: 63 * MIB, length: MIB, value: 4 });
      const point = await sealed(protection, vm);
      assert.equal(kinds(point), 'vda incremental, vdb incremental');
      assert.equal(disk(point, 'vda').because, 'its change mark is valid');
      assert.ok(disk(point, 'vda').sentBytes <= 33 * BLOCK);
      requireSent(point, 'vdb', 16);
    });

    test('nothing is sent when nothing was changed', async () => {
      const point = await sealed(protection, vm);
      assert.equal(kinds(point), 'vda incremental, vdb incremental');
      assert.deepEqual([disk(point, 'vda').sentBytes, disk(point, 'vdb').sentBytes], [0, 0]);
    });

    test('carries its marks through a start and an orderly stop', async () => {
      await vm.write('vda', { offset: 40 * MIB, length: MIB, value: 5 });
      await vm.start();
      await vm.write('vdb', { offset: 30 * MIB, length: MIB, value: 6 });
      const running = await sealed(protection, vm);
      assert.equal(kinds(running), 'vda incremental, vdb incremental');
      await vm.write('vda', { offset: 41 * MIB, length: MIB, value: 7 });
      await vm.destroy();
      const off = await sealed(protection, vm);
      assert.equal(kinds(off), 'vda incremental, vdb incremental');
      await stage.requireNothingLeft(protection);
    });

    test('is resynced when its mark is removed by hand', async () => {
      const [mark] = (await vm.marks()).slice(-1);
      await vm.write('vda', { offset: 50 * MIB, length: 4 * BLOCK, value: 8 });
      const remove = ['checkpoint-delete', '--domain', vm.uuid, '--checkpointname', String(mark)];
      await stage.production.virsh([...remove, '--metadata']);
      await run('qemu-img', ['bitmap', '--remove', vm.diskPath('vda'), String(mark)]);
      const point = await sealed(protection, vm);
      assert.equal(disk(point, 'vda').transfer, 'resync');
      requireSent(point, 'vda', 4);
    });

    test('can be started while it is replicated, which costs that run alone', async () => {
      const vm = await stage.blockVm();
      const slow = await stage.protect(vm.uuid, ['--limit', '8MiB']);
      await vm.write('vda', { offset: 0, length: 24 * MIB, value: 9 });
      const events = await watchEvents(stage.server.dataFolder);
      const { id } = await stage.beginReplicate(slow);
      await events.next({ operationId: id, type: 'step-started', step: 'move-blocks' });
      await vm.start();
      assert.equal(await vm.state(), 'running');
      await vm.write('vda', { offset: 8 * MIB, length: 16 * MIB, value: 10 });
      const ended = await stage.settled(id);
      assert.equal(ended.state, 'failed', describe(ended));
      assert.match(JSON.stringify(ended.error), /started/, describe(ended));
      assert.equal(await vm.state(), 'running');
      assert.deepEqual(await stage.points(slow), []);
      await stage.requireNothingLeft(slow);
      await sealed(slow, vm);
      await vm.destroy();
    });
  });

  suite('a raw disk and a backing chain', () => {
    let vm: BlockVm;
    let protection: Protection;

    test('are seeded while the VM runs', async () => {
      vm = await stage.blockVm({
        disks: [
          { sizeBytes: 48 * MIB, overlays: 2 },
          { sizeBytes: 32 * MIB, format: 'raw' },
        ],
      });
      // Below the overlays, too.
      const base = join(vm.folder, 'vda.qcow2');
      await run('qemu-io', ['-f', 'qcow2', '-c', `write -P 17 ${10 * MIB} ${2 * MIB}`, base]);
      await run('qemu-io', [
        ...['-f', 'raw', '-c', `write -P 17 ${10 * MIB} ${2 * MIB}`],
        vm.expected('vda').path,
      ]);
      await vm.start();
      await vm.write('vda', { offset: 11 * MIB, length: 2 * MIB, value: 18 });
      await vm.write('vdb', { offset: MIB, length: 4 * MIB, value: 19 });
      protection = await stage.protect(vm.uuid);
      assert.equal(kinds(await sealed(protection, vm)), 'vda full, vdb full');
    });

    test('the raw disk is resynced each time and sends only what differs', async () => {
      for (const value of [20, 21]) {
        await vm.write('vda', { offset: 30 * MIB, length: MIB, value });
        await vm.write('vdb', { offset: 2 * MIB, length: 5 * BLOCK, value });
        // Written again, but with what is there.
        await vm.write('vdb', { offset: 4 * MIB, length: MIB, value: 19 });
        const point = await sealed(protection, vm);
        assert.equal(kinds(point), 'vda incremental, vdb resync');
        assert.equal(disk(point, 'vdb').because, 'the disk does not track changes');
        assert.equal(disk(point, 'vdb').mark, null);
        requireSent(point, 'vda', 16);
        requireSent(point, 'vdb', 5);
      }
    });

    test('and so while the VM is off', async () => {
      await vm.destroy();
      await vm.write('vdb', { offset: 30 * MIB, length: BLOCK, value: 0xff });
      await vm.write('vda', { offset: 0, length: BLOCK, value: 0xfe });
      const point = await sealed(protection, vm);
      assert.equal(kinds(point), 'vda incremental, vdb resync');
      requireSent(point, 'vdb', 1);
      await stage.requireNothingLeft(protection);
    });
  });

  suite('disks that come, grow and go', () => {
    let vm: BlockVm;
    let protection: Protection;

    test('a disk that grew stays incremental', async () => {
      vm = await stage.blockVm();
      await vm.start();
      await vm.write('vda', { offset: 0, length: 2 * MIB, value: 30 });
      await vm.write('vdb', { offset: 62 * MIB, length: 2 * MIB, value: 31 });
      protection = await stage.protect(vm.uuid);
      const small = await sealed(protection, vm);
      const before = await copyOfExpected(vm);
      await vm.grow('vdb', 96 * MIB + 512);
      await vm.write('vdb', { offset: 90 * MIB, length: MIB, value: 32 });
      await vm.write('vdb', { offset: 96 * MIB, length: 512, value: 33 });
      const point = await sealed(protection, vm);
      assert.equal(kinds(point), 'vda incremental, vdb incremental');
      assert.match(disk(point, 'vdb').because, /the disk grew/);
      assert.equal(disk(point, 'vdb').sizeBytes, 96 * MIB + 512);
      // The older point stays what it was.
      await requireSameContent(before, stage.layer(small, 'vdb'));
    });

    test('a disk that was plugged in is full, the others stay incremental', async () => {
      const key = await vm.addDisk({ sizeBytes: 16 * MIB });
      await vm.write(key, { offset: 3 * MIB, length: MIB, value: 34 });
      await vm.write('vda', { offset: MIB, length: MIB, value: 35 });
      const point = await sealed(protection, vm);
      assert.equal(kinds(point), 'vda incremental, vdb incremental, vdc full');
      assert.equal(disk(point, key).because, 'the disk is new in this VM');
      requireSent(point, key, 16);
      await vm.write(key, { offset: 3 * MIB, length: BLOCK, value: 36 });
      const next = await sealed(protection, vm);
      assert.equal(kinds(next), 'vda incremental, vdb incremental, vdc incremental');
      requireSent(next, key, 1);
    });

    test('a disk that was taken away is absent from new points and stays in old ones', async () => {
      const kept = (await stage.points(protection)).at(-1);
      assert.ok(kept);
      const gone = vm.expected('vdc');
      await vm.removeDisk('vdc');
      await vm.destroy();
      await vm.start();
      await vm.write('vda', { offset: 5 * MIB, length: MIB, value: 37 });
      const point = await sealed(protection, vm);
      assert.equal(kinds(point), 'vda incremental, vdb incremental');
      await requireSameContent(gone, stage.layer(kept, 'vdc'));
      await vm.destroy();
      await stage.requireNothingLeft(protection);
    });

    const copyOfExpected = async (of: BlockVm) => {
      const path = join(of.folder, 'expected', 'before.raw');
      await cp(of.expected('vdb').path, path);
      return { path, format: 'raw' } as const;
    };
  });

  suite('a crash of QEMU', () => {
    test('loses the change mark, and the resync moves only what differs', async () => {
      const vm = await stage.blockVm();
      await vm.start();
      await vm.write('vda', { offset: 0, length: 32 * MIB, value: 40 });
      const protection = await stage.protect(vm.uuid);
      await sealed(protection, vm);
      await vm.write('vda', { offset: 7 * MIB, length: 3 * BLOCK, value: 41 });
      // The guest's flush: what is in QEMU's memory alone would be lost with it.
      await flush(vm);
      await vm.hardKill();
      const off = await sealed(protection, vm);
      assert.equal(kinds(off), 'vda resync, vdb resync');
      assert.match(disk(off, 'vda').because, /change mark .* as after a crash/);
      requireSent(off, 'vda', 3);
      assert.equal(disk(off, 'vdb').sentBytes, 0);

      await vm.start();
      await vm.write('vda', { offset: 9 * MIB, length: 2 * BLOCK, value: 42 });
      await flush(vm);
      await vm.hardKill();
      await vm.start();
      await vm.write('vdb', { offset: 9 * MIB, length: 4 * BLOCK, value: 43 });
      const running = await sealed(protection, vm);
      assert.equal(kinds(running), 'vda resync, vdb resync');
      requireSent(running, 'vda', 2);
      requireSent(running, 'vdb', 4);
      await vm.write('vdb', { offset: 10 * MIB, length: BLOCK, value: 44 });
      assert.equal(kinds(await sealed(protection, vm)), 'vda incremental, vdb incremental');
      await vm.destroy();
      await stage.requireNothingLeft(protection);
    });

    const flush = async (vm: BlockVm) => {
      for (const number of vm.keys.keys()) {
        const device = `/machine/peripheral/virtio-disk${number}/virtio-backend`;
        const order = `qemu-io -d ${device} "flush"`;
        const monitor = ['qemu-monitor-command', '--hmp', '--domain', vm.uuid, '--cmd', order];
        await stage.production.virsh(monitor);
      }
    };
  });

  test('internal snapshots are warned of and replicated around', async () => {
    const vm = await stage.blockVm({ disks: [{ sizeBytes: 32 * MIB }] });
    await vm.write('vda', { offset: 0, length: 4 * MIB, value: 50 });
    await stage.production.virsh(['snapshot-create-as', vm.uuid, 'before update']);
    await vm.write('vda', { offset: MIB, length: 4 * MIB, value: 51 });
    const protection = await stage.protect(vm.uuid);
    const warning = protection.findings.find(({ message }) => /snapshot/i.test(message));
    assert.ok(warning, JSON.stringify(protection.findings));
    await sealed(protection, vm);
    await vm.start();
    await vm.write('vda', { offset: 6 * MIB, length: BLOCK, value: 52 });
    const point = await sealed(protection, vm);
    assert.equal(kinds(point), 'vda incremental');
    requireSent(point, 'vda', 1);
    await vm.destroy();
    const snapshots = await stage.production.virsh(['snapshot-list', vm.uuid, '--name']);
    assert.match(snapshots, /before update/);
  });

  test('a hostile name is only a name', async () => {
    const name = `--help "x" <&> 'y' $(id); a,b=c:d %s`;
    const vm = await stage.blockVm({ name, disks: [{ sizeBytes: 16 * MIB }] });
    await vm.write('vda', { offset: 0, length: MIB, value: 60 });
    const protection = await stage.protect(name);
    assert.equal(protection.vmId, vm.uuid);
    await sealed(protection, vm);
    await vm.start();
    await vm.write('vda', { offset: 2 * MIB, length: MIB, value: 61 });
    const { exitCode, stderr } = await stage.attempt([
      ...['job', 'run', protection.job, `--vm=${name}`],
    ]);
    assert.equal(exitCode, 0, stderr);
    const point = (await stage.points(protection)).at(-1);
    assert.ok(point);
    await stage.requireExactVm(point, vm);
    const replica = `${name}-replica`;
    const list = await stage.attempt(['point', 'list', '--', replica]);
    assert.equal(list.exitCode, 0, list.stderr);
    assert.match(list.stdout, new RegExp(point.id));
    await vm.destroy();
    // Without an operating system no guest answers, and to wait for that would only cost time.
    const events = await watchEvents(stage.server.dataFolder);
    const begun = await stage.attempt(['failover', '--no-wait', '--reason', name, '--', replica]);
    assert.equal(begun.exitCode, 0, begun.stderr);
    await events.next({ type: 'step-started', step: 'await-guest-1' });
    for (const args of [
      ['undo-failover', '--', replica],
      ['replica', 'rescan', '--', replica],
      ['replica', 'delete', '--', replica],
    ]) {
      const outcome = await stage.attempt(args);
      assert.equal(outcome.exitCode, 0, `${args.join(' ')}: ${outcome.stderr}`);
    }
    assert.doesNotMatch(await stage.recovery.virsh(['list', '--all', '--name']), /help/);
  });
});
