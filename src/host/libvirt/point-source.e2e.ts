/**
 * Frozen instants on a real libvirtd of its own, with QEMU as its own user. Not among the unit tests: it takes minutes
 * on a busy machine.
 *
 *   node --test src/host/libvirt/point-source.e2e.ts
 */
import assert from 'node:assert/strict';
import { createHash, randomInt } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pointSourceSuite } from '../../conformance/point-source.ts';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import { diskKey, type MarkName, markName } from '../../domain/ids.ts';
import type { FreezeRequest, FrozenDisk } from '../../ports/point-source.ts';
import { run } from '../../rig/command.ts';
import { freezePlaces, writeRecord } from './freeze-record.ts';
import { createLibvirtPointSource } from './point-source.ts';
import {
  DISKS,
  type FreezeRig,
  freezeRequest,
  missingForFreezing,
  openFreezeRig,
  type RigVm,
  readWhole,
  rejects,
} from './testing/freeze-rig.ts';

const skip = missingForFreezing() ?? false;
const { signal } = new AbortController();

pointSourceSuite('libvirt', openFreezeRig, { skip });

describe('libvirt as a source of frozen instants, beyond the port', { skip }, () => {
  let rig: FreezeRig;
  let serial = 0;
  const requests: FreezeRequest[] = [];
  before(async () => {
    rig = await openFreezeRig();
  });
  after(() => rig?.[Symbol.asyncDispose]());

  function requestOf(vm: RigVm, changes: Partial<FreezeRequest> = {}): FreezeRequest {
    serial += 1;
    const request = freezeRequest(vm.id, serial, changes);
    requests.push(request);
    return request;
  }

  const freeze = (request: FreezeRequest) => rig.pointSource.freeze(request, { signal });
  const end = ({ key, vmId }: FreezeRequest) => rig.pointSource.end({ key, vmId }, { signal });
  const sinceMark = (mark: MarkName) => ({ [DISKS.first]: mark, [DISKS.second]: mark });

  async function withVm(use: (vm: RigVm) => Promise<void>): Promise<void> {
    const vm = await rig.makeVm();
    await vm.start();
    const from = requests.length;
    try {
      await use(vm);
    } finally {
      for (const request of requests.slice(from)) await end(request);
      await vm.remove();
    }
  }

  async function nothingIsLeft(): Promise<void> {
    const { scratchFolder } = rig.context;
    assert.deepEqual(await readdir(scratchFolder), []);
  }

  it('is exact over many cycles, against the whole disk at the frozen instant', async () => {
    await withVm(async (vm) => {
      const target = new Map<string, Buffer>();
      let newest: MarkName | null = null;
      for (let cycle = 0; cycle < 6; cycle += 1) {
        await someWrites(vm);
        const expected = await hashesOf(vm);
        const changes = newest === null ? {} : { since: sinceMark(newest) };
        const request = requestOf(vm, changes);
        const point = await freeze(request);
        // The guest writes on while the point is read.
        await someWrites(vm);
        for (const disk of point.disks) await applyDelta(target, disk);
        await someWrites(vm);
        await end(request);
        const isGivenUp = cycle === 2 || cycle === 3;
        if (isGivenUp) continue;
        for (const { key } of point.disks) {
          assert.equal(hash(target.get(key)), expected.get(key), `${key} in cycle ${cycle}`);
        }
        newest = request.mark;
        await rig.pointSource.sweepMarks({ vmId: vm.id, keep: [newest] }, { signal });
        assert.deepEqual(await vm.marks(), [newest]);
      }
      await nothingIsLeft();
    });
  });

  /** Only what the selection names is copied; the rest must be there from before. */
  async function applyDelta(target: Map<string, Buffer>, disk: FrozenDisk): Promise<void> {
    const whole = await readWhole(disk);
    const held = target.get(disk.key) ?? Buffer.alloc(whole.length);
    if (disk.found.type === 'allocated') held.fill(0);
    for (const block of await rig.selected(disk)) {
      whole.copy(held, block * BLOCK_BYTES, block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
    }
    target.set(disk.key, held);
  }

  /** Not through our freeze: the files themselves, flushed, while no guest but the test writes. */
  async function hashesOf(vm: RigVm): Promise<Map<string, string>> {
    const hashes = new Map<string, string>();
    for (const disk of Object.values(DISKS)) {
      const copy = join(vm.folder, `${disk}.copy`);
      await flush(vm, disk);
      const format = disk === DISKS.raw ? 'raw' : 'qcow2';
      await run('qemu-img', ['convert', '-U', '-f', format, '-O', 'raw', vm.pathOf(disk), copy]);
      hashes.set(disk, hash(await readFile(copy)));
      await rm(copy);
    }
    return hashes;
  }

  async function flush(vm: RigVm, disk: string): Promise<void> {
    const device = `/machine/peripheral/virtio-disk${disk.charCodeAt(2) - 97}/virtio-backend`;
    await rig.host.virsh(['qemu-monitor-command', '--hmp', vm.id, `qemu-io -d ${device} "flush"`]);
  }

  async function someWrites(vm: RigVm): Promise<void> {
    for (let count = 0; count < 4; count += 1) {
      const disk = Object.values(DISKS)[randomInt(3)] ?? DISKS.first;
      await vm.write(disk, randomInt(256), randomInt(1, 256));
    }
  }

  it('holds through a kill of libvirtd, and a controller that knows nothing finds it', async () => {
    await withVm(async (vm) => {
      await vm.write(DISKS.first, 1, 1);
      const request = requestOf(vm);
      const point = await freeze(request);
      await rig.host.killDaemon();
      await rejects('host-unreachable', rig.pointSource.check(request, { signal }));
      await rejects('host-unreachable', end(request));
      await rig.host.restartDaemon();
      await vm.write(DISKS.first, 1, 2);
      const reborn = createLibvirtPointSource(rig.context);
      assert.deepEqual(await reborn.freeze(request, { signal }), point);
      assert.equal(await rig.read(point.disks[0] as FrozenDisk, 1), 1);
      await reborn.end(request, { signal });
      await nothingIsLeft();
    });
  });

  it('ends what a controller left that died at any line', async () => {
    await withVm(async (vm) => {
      const left = requestOf(vm);
      const point = await freeze(left);
      const places = freezePlaces(rig.context.scratchFolder, left.key);
      const record = JSON.parse(await readFile(places.recordPath, 'utf8'));
      // Died after the job began, before the answer was written down: frozen anew under the same key.
      await writeRecord(places, { ...record, point: null });
      const again = await freeze(left);
      assert.ok(again.takenAt > point.takenAt);
      // Died altogether: another key ends it first.
      const next = requestOf(vm);
      await freeze(next);
      assert.equal((await rig.pointSource.check(left, { signal })).isIntact, false);
      // The record itself is gone: the job is known by its socket.
      await rm(freezePlaces(rig.context.scratchFolder, next.key).recordPath);
      const last = requestOf(vm);
      await freeze(last);
      await end(last);
      await end(next);
      await nothingIsLeft();
      assert.equal((await rig.host.virsh(['domjobinfo', vm.id])).includes('None'), true);
    });
  });

  it('leaves the job of somebody else alone and names it', async () => {
    await withVm(async (vm) => {
      const folder = join(vm.folder, 'theirs');
      await mkdir(folder);
      await chmod(folder, 0o777);
      const backup = join(vm.folder, 'backup.xml');
      await writeFile(
        backup,
        `<domainbackup mode='pull'><server transport='unix' socket='${folder}/sock'/></domainbackup>`,
      );
      await rig.host.virsh(['backup-begin', vm.id, backup]);
      const request = requestOf(vm);
      await rejects('vm-busy', freeze(request));
      await end(request);
      assert.match(await rig.host.virsh(['backup-dumpxml', vm.id]), /theirs\/sock/);
      await nothingIsLeft();
      await rig.host.virsh(['domjobabort', vm.id]);
    });
  });

  it('reads a disk that was plugged in whole, one that grew exactly, and one that lost its mark alone whole', async () => {
    await withVm(async (vm) => {
      const first = requestOf(vm, { disks: [DISKS.first] });
      await freeze(first);
      await end(first);
      await rig.host.virsh(['blockresize', vm.id, 'vda', '20M']);
      await vm.write(DISKS.first, 300, 8);
      await vm.write(DISKS.second, 2, 2);
      // vdb was not in the first point: for this mark it is a new disk.
      const request = requestOf(vm, { since: sinceMark(first.mark) });
      const [one, two] = (await freeze(request)).disks;
      assert.ok(one !== undefined && two !== undefined);
      assert.equal(one.sizeBytes, 20 * 1024 * 1024);
      // What a resize added reads as zeros, as does a larger layer over the older point.
      assert.deepEqual(await rig.selected(one), [300]);
      assert.equal(await rig.read(one, 300), 8);
      assert.ok(two.found.type === 'allocated' && two.found.markLostBecause !== null);
      assert.deepEqual(await rig.selected(two), [2]);
      await end(request);
    });
  });

  it('follows disks that are plugged in and out', async () => {
    await withVm(async (vm) => {
      const first = requestOf(vm);
      await freeze(first);
      await end(first);
      const path = join(vm.folder, 'vdd.qcow2');
      await run('qemu-img', ['create', '-q', '-f', 'qcow2', path, '16M']);
      const attach = ['attach-disk', vm.id, path, 'vdd', '--subdriver', 'qcow2'];
      await rig.host.virsh([...attach, '--live', '--config']);
      await rig.host.virsh(['detach-disk', vm.id, 'vdb', '--config']);
      const disks = [DISKS.first, diskKey('vdd')];
      const vdd = { [diskKey('vdd')]: first.mark };
      const second = requestOf(vm, { disks, since: { ...sinceMark(first.mark), ...vdd } });
      const point = await freeze(second);
      assert.deepEqual(
        point.disks.map(({ found }) => found.type),
        ['changed', 'allocated'],
      );
      await end(second);
      await rig.pointSource.sweepMarks(
        { vmId: vm.id, keep: second.mark === null ? [] : [second.mark] },
        { signal },
      );
      assert.deepEqual(await vm.marks(), [second.mark]);
      const gone = requestOf(vm, { disks: [diskKey('vdz')] });
      await rejects('unsupported-disk', freeze(gone));
    });
  });

  it('takes up a mark that lies in the disks, and of which libvirt was never told', async () => {
    await withVm(async (vm) => {
      await vm.stop();
      const branch = markName('us-branch');
      for (const disk of [DISKS.first, DISKS.second]) {
        await run('qemu-img', ['bitmap', '--add', '-f', 'qcow2', vm.pathOf(disk), branch]);
      }
      await vm.start();
      await vm.write(DISKS.first, 5, 5);
      const first = requestOf(vm, { since: sinceMark(branch) });
      const [one, two] = (await freeze(first)).disks;
      assert.ok(one !== undefined && two !== undefined);
      assert.deepEqual(one.found, { type: 'changed', since: branch });
      assert.deepEqual(await rig.selected(one), [5]);
      assert.deepEqual(await rig.selected(two), []);
      await end(first);
      await vm.write(DISKS.first, 6, 6);
      const second = requestOf(vm, { since: sinceMark(branch) });
      const [again] = (await freeze(second)).disks;
      assert.ok(again !== undefined);
      assert.deepEqual(await rig.selected(again), [5, 6]);
      await end(second);
      const never = requestOf(vm, { since: sinceMark(markName('us-never')) });
      const [lost] = (await freeze(never)).disks;
      assert.ok(lost?.found.type === 'allocated' && lost.found.markLostBecause !== null);
      await end(never);
      await rig.pointSource.sweepMarks({ vmId: vm.id, keep: [branch] }, { signal });
      assert.deepEqual(await vm.marks(), [branch]);
    });
  });

  it('removes broken bitmaps and beliefs in any mixture, running or off', async () => {
    await withVm(async (vm) => {
      const first = requestOf(vm);
      await freeze(first);
      await end(first);
      await vm.stop();
      await vm.start();
      const second = requestOf(vm, { since: sinceMark(first.mark) });
      await freeze(second);
      await vm.crash();
      await end(second);
      // Now `first` is in use in both headers, and `second` nowhere but in libvirt's belief; and one orphan.
      await run('qemu-img', ['bitmap', '--remove', '-f', 'qcow2', vm.pathOf('vdb'), first.mark]);
      await run('qemu-img', ['bitmap', '--add', '-f', 'qcow2', vm.pathOf('vdb'), 'us-orphan']);
      await vm.start();
      await rig.pointSource.sweepMarks({ vmId: vm.id, keep: [] }, { signal });
      assert.deepEqual(await vm.marks(), []);
      await vm.stop();
      for (const disk of [DISKS.first, DISKS.second]) {
        assert.doesNotMatch(await run('qemu-img', ['info', vm.pathOf(disk)]), /us-[mo]/);
      }
      await run('qemu-img', ['bitmap', '--add', '-f', 'qcow2', vm.pathOf('vda'), 'us-orphan']);
      await rig.pointSource.sweepMarks({ vmId: vm.id, keep: [] }, { signal });
      assert.doesNotMatch(await run('qemu-img', ['info', vm.pathOf('vda')]), /us-[mo]/);
    });
  });

  it('gives up in time on a small file system', async () => {
    await withVm(async (vm) => {
      const source = createLibvirtPointSource({ ...rig.context, scratchFolder: rig.smallFolder });
      await vm.write(DISKS.first, 0, 1, 256);
      const scratch = { quotaBytes: null, reserveBytes: 2 * 1024 * 1024, deadlineMs: 600_000 };
      const request = requestOf(vm, { scratch });
      const { takenAt } = await source.freeze(request, { signal });
      let isGivenUp = false;
      const watch = source.watch({ ...request, scratch, frozenAt: takenAt }, { signal });
      const verdict = rejects('scratch-exhausted', watch).then(() => {
        isGivenUp = true;
      });
      for (let block = 0; block < 256 && !isGivenUp; block += 4) {
        await vm.write(DISKS.first, block, 2, 4);
      }
      await verdict;
      assert.equal(await vm.power(), 'running');
      await source.end(request, { signal });
      assert.deepEqual(await readdir(rig.smallFolder), []);
    });
  });

  it('prints the fix when QEMU cannot reach the scratch folder', async () => {
    const closed = join(rig.folder, 'closed');
    await mkdir(closed, { mode: 0o700 });
    await withVm(async (vm) => {
      const source = createLibvirtPointSource({
        ...rig.context,
        scratchFolder: join(closed, 'scratch'),
      });
      const request = requestOf(vm);
      await assert.rejects(source.freeze(request, { signal }), (error: Error) => {
        assert.match(error.message, /setfacl -m u:\d+:x '.*closed'/);
        return 'code' in error && error.code === 'access-denied';
      });
      assert.deepEqual(await readdir(join(closed, 'scratch')), []);
      const long = createLibvirtPointSource({
        ...rig.context,
        scratchFolder: join(rig.folder, 'x'.repeat(90)),
      });
      await rejects('access-denied', long.freeze(requestOf(vm), { signal }));
    });
  });
});

function hash(bytes: Buffer | undefined): string {
  return createHash('sha256')
    .update(bytes ?? '')
    .digest('hex');
}
