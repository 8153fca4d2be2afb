/**
 * What everybody who lays working layers over production's disks must do, whatever the hypervisor: production's own disks
 * stay as they were until a commit, a parked VM cannot be started, and every command may be given twice.
 *
 * The harness is a VM whose guest writes on command, one block of one value at a time, and a reader and writer of endpoints.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { BLOCK_BYTES } from '../domain/bytes.ts';
import {
  type DiskKey,
  diskKey,
  failbackId,
  type MarkName,
  markName,
  operationId,
  operationKey,
  replicaId,
  type VmId,
} from '../domain/ids.ts';
import type { BlockEndpoint } from '../ports/mover.ts';
import type { FrozenPoint } from '../ports/point-source.ts';
import type {
  AttachRequest,
  FailbackCommand,
  LayRequest,
  WorkingDisk,
} from '../ports/production-disks.ts';
import {
  diskIn,
  foundAs,
  type HomeVm,
  type ProductionDisksHarness,
  powerOff,
  rejects,
  valuesAt,
  whileSeen,
} from './production-disks/harness.ts';

const DISK_BYTES = 256 * BLOCK_BYTES;
const ADDED = diskKey('vdx');

/** Registers the suite with node:test. `skip`: the reason why it cannot run here, else false. */
export function productionDisksSuite(
  name: string,
  start: () => Promise<ProductionDisksHarness>,
  { skip = false }: { readonly skip?: string | false } = {},
): void {
  describe(`${name} as keeper of working layers`, { skip }, () => {
    const { signal } = new AbortController();
    let harness: ProductionDisksHarness;
    let vm: HomeVm;
    let tracked: DiskKey;
    let raw: DiskKey;
    let command: FailbackCommand;
    let madeVm: VmId | null;
    let serial = 0;
    before(async () => {
      harness = await start();
    });
    after(() => harness?.[Symbol.asyncDispose]());
    beforeEach(async () => {
      serial += 1;
      madeVm = null;
      vm = await harness.makeVm();
      ({ tracked, raw } = vm.disks);
      command = {
        key: operationKey(operationId(`op-failback-${serial}`), 'step'),
        failbackId: failbackId(`fb-${serial}`),
        replicaId: replicaId(`replica-${serial}`),
        epoch: 3,
      };
    });
    afterEach(async () => {
      if (madeVm !== null) await off(madeVm);
      await off(vm.id);
      await drop().catch(() => undefined);
      await vm.remove();
    });

    const disks = () => harness.productionDisks;
    const lay = (changes: Partial<LayRequest> = {}): Promise<readonly WorkingDisk[]> => {
      const request = { ...command, vmId: vm.id, disks: [tracked, raw].map((key) => over(key)) };
      return harness.settled(disks().lay({ ...request, ...changes }, { signal }));
    };
    const settle = () => harness.settled(disks().settle(command, { signal }));
    const park = () => harness.settled(disks().park(command, { signal }));
    const commit = () => harness.settled(disks().commit(command, { signal }));
    const drop = () => harness.settled(disks().drop(command, { signal }));
    const attach = (changes: Partial<AttachRequest> = {}): Promise<VmId> =>
      harness.settled(
        disks().attach(
          {
            ...command,
            mark: markName(`us-m${serial}`),
            changes: [],
            sidecars: [],
            newVm: null,
            ...changes,
          },
          { signal },
        ),
      );
    const off = (id: VmId) => powerOff(harness, { key: command.key, vmId: id });
    const found = () => foundAs(harness, command);
    const power = (id: VmId) => harness.settled(harness.hypervisor.power(id, { signal }));
    const describeVm = (id: VmId) => harness.settled(harness.hypervisor.vm(id, { signal }));
    const files = async () =>
      (await describeVm(vm.id)).disks.map(({ key, path, format }) => [key, path, format]);

    function over(key: DiskKey, since: MarkName | null = null): LayRequest['disks'][number] {
      return { key, sizeBytes: DISK_BYTES, base: 'disk', since };
    }

    /** What was on the disks before: 1 in block 1 of both. */
    async function fill(): Promise<void> {
      await vm.start();
      for (const key of [tracked, raw]) await vm.write(key, 1, 1);
      await vm.stop();
    }

    /** Block 1 becomes 5 and block 2 becomes 6 on each layer. */
    async function move(): Promise<void> {
      for (const { layer } of await lay()) {
        await harness.write(layer, 1, 5);
        await harness.write(layer, 2, 6);
      }
    }

    const seen = <Result>(
      { since, mark, of = vm.id }: { since?: MarkName; mark: string; of?: VmId },
      use: (point: FrozenPoint) => Promise<Result>,
    ) => {
      const key = operationKey(operationId(`op-look-${serial}-${mark}`), 'freeze');
      const look = { key, vmId: of, mark: markName(mark), since: since ?? null };
      return whileSeen(harness, look, use);
    };
    const valuesOf = (mark: string, key: DiskKey, blocks: readonly number[], of = vm.id) =>
      seen({ mark, of }, (point) => values(diskIn(point, key).endpoint, blocks));
    const values = (endpoint: BlockEndpoint, blocks: readonly number[]) =>
      valuesAt(harness, endpoint, blocks);

    it('shows what is below until a layer is written to, and parks the VM', async () => {
      await fill();
      const laid = await lay();
      const keys = laid.map(({ key }) => key);
      assert.deepEqual(keys, [tracked, raw]);
      for (const { key, layer, below } of laid) {
        assert.ok(below !== null);
        assert.deepEqual(
          [below.key, below.sizeBytes, below.tracksChanges],
          [key, DISK_BYTES, key === tracked],
        );
        assert.deepEqual(below.found, { type: 'allocated', markLostBecause: null });
        assert.ok((await harness.selected(below.endpoint, below.extents)).includes(1));
        assert.deepEqual(await values(layer, [1, 2]), [1, 0]);
        await harness.write(layer, 1, 5);
        await harness.write(layer, 2, 6);
        assert.deepEqual(await values(layer, [1, 2]), [5, 6]);
        assert.deepEqual(await values(below.endpoint, [1, 2]), [1, 0]);
      }
      await assert.rejects(vm.start());
      assert.equal(await power(vm.id), 'off');
    });

    it('keeps what was moved over settling and laying again, however often', async () => {
      await move();
      for (const _ of ['once', 'again']) await settle();
      for (const _ of ['once', 'again']) {
        for (const { layer } of await lay()) assert.deepEqual(await values(layer, [1, 2]), [5, 6]);
      }
      await assert.rejects(vm.start());
    });

    it('tells what changed below since a mark, and why not where it cannot', async () => {
      await vm.start();
      await seen({ mark: 'us-old' }, async () => undefined);
      for (const key of [tracked, raw]) await vm.write(key, 7, 7);
      await vm.stop();
      const [old, lost] = [markName('us-old'), markName('us-lost')];
      const [one, two] = await lay({ disks: [over(tracked, old), over(raw, old)] });
      assert.ok(one?.below && two?.below);
      assert.deepEqual(one.below.found, { type: 'changed', since: old });
      assert.deepEqual(await harness.selected(one.below.endpoint, one.below.extents), [7]);
      assert.equal(two.below.found.type, 'allocated');
      await drop();
      const [again] = await lay({ disks: [over(tracked, lost)] });
      assert.ok(again?.below?.found.type === 'allocated');
      assert.notEqual(again.below.found.markLostBecause, null);
    });

    it('refuses a VM that is not off, and one with saved memory', async () => {
      await vm.start();
      await rejects('vm-not-off', lay());
      await vm.write(tracked, 3, 3);
      await vm.saveState();
      await rejects('saved-state-present', lay());
      const discard = { key: command.key, vmId: vm.id };
      await harness.settled(harness.hypervisor.discardSavedState(discard, { signal }));
      await harness.settled(harness.hypervisor.discardSavedState(discard, { signal }));
      assert.equal((await lay()).length, 2);
    });

    it('refuses a disk that the VM has not got, and one larger than its layer', async () => {
      await rejects('unsupported-disk', lay({ disks: [over(diskKey('vdq'))] }));
      const small = { ...over(tracked), sizeBytes: DISK_BYTES / 2 };
      await rejects('unsupported-disk', lay({ disks: [small] }));
      await vm.start();
      await vm.stop();
    });

    it('knows no failback that was not laid, and refuses an older epoch', async () => {
      assert.deepEqual(await found(), [0, 'none', null]);
      await rejects('failback-missing', settle());
      await rejects('failback-missing', park());
      await rejects('failback-missing', commit());
      await rejects('failback-missing', attach());
      await drop();
      await lay();
      const newer = { ...command, epoch: 4 };
      await harness.settled(disks().settle(newer, { signal }));
      await rejects('epoch-refused', settle());
      await rejects('epoch-refused', drop());
      const other = { ...command, failbackId: failbackId(`fb-other-${serial}`) };
      await rejects('epoch-refused', harness.settled(disks().drop(other, { signal })));
      command = newer;
    });

    it('restores the VM byte for byte when dropped, also after it ran on the layers', async () => {
      await fill();
      const before = await vm.fingerprint();
      await move();
      await drop();
      assert.deepEqual(await vm.fingerprint(), before);
      await drop();
      await move();
      assert.equal(await attach(), vm.id);
      assert.equal(await attach(), vm.id);
      await vm.start();
      for (const key of [tracked, raw]) await vm.write(key, 1, 9);
      await rejects('vm-not-off', drop());
      await rejects('vm-not-off', park());
      await vm.stop();
      await drop();
      await drop();
      assert.deepEqual(await vm.fingerprint(), before);
      assert.deepEqual(await valuesOf('us-look', tracked, [1, 2]), [1, 0]);
      await vm.start();
    });

    it('runs the VM on the layers, and parks it again with what was moved', async () => {
      await fill();
      await move();
      await attach();
      assert.equal(await power(vm.id), 'off');
      assert.deepEqual(await found(), [3, 'attached', vm.id]);
      await vm.start();
      for (const key of [tracked, raw]) {
        assert.deepEqual(await valuesOf(`us-look-${key}`, key, [1, 2]), [5, 6]);
        await vm.write(key, 4, 8);
      }
      await vm.stop();
      for (const _ of ['once', 'again']) await park();
      assert.deepEqual(await found(), [3, 'laid', vm.id]);
      await assert.rejects(vm.start());
      for (const { layer, below } of await lay()) {
        assert.deepEqual(await values(layer, [1, 2]), [5, 6]);
        assert.ok(below !== null);
        assert.deepEqual(await values(below.endpoint, [1, 2, 4]), [1, 0, 0]);
      }
      await attach();
      await vm.start();
    });

    for (const isRunning of [true, false]) {
      it(`merges while the VM ${isRunning ? 'runs' : 'is off'}; its mark tells what changed since it was attached`, async () => {
        await fill();
        const own = await files();
        await move();
        await attach();
        const mark = markName(`us-m${serial}`);
        await vm.start();
        for (const key of [tracked, raw]) await vm.write(key, 4, 8);
        if (!isRunning) await vm.stop();
        await commit();
        await commit();
        assert.deepEqual(await found(), [3, 'committed', vm.id]);
        if (isRunning) for (const key of [tracked, raw]) await vm.write(key, 9, 2);
        assert.deepEqual(await files(), own);
        const last = isRunning ? 2 : 0;
        await seen({ mark: 'us-next', since: mark }, async (point) => {
          const [one, two] = [diskIn(point, tracked), diskIn(point, raw)];
          assert.deepEqual(one.found, { type: 'changed', since: mark });
          const wanted = isRunning ? [4, 9] : [4];
          assert.deepEqual(await harness.selected(one.endpoint, one.extents), wanted);
          assert.equal(two.found.type, 'allocated');
          for (const { endpoint } of [one, two]) {
            assert.deepEqual(await values(endpoint, [1, 2, 4, 9]), [5, 6, 8, last]);
          }
        });
        await drop();
        await drop();
        await off(vm.id);
        await vm.start();
        assert.deepEqual(await valuesOf('us-after', tracked, [1, 2, 4, 9]), [5, 6, 8, last]);
      });
    }

    it('grows a disk, adds one, and makes the other changes on request, which outlive the commit', async () => {
      const before = await describeVm(vm.id);
      const grown = { ...over(tracked), sizeBytes: 2 * DISK_BYTES };
      const added = { key: ADDED, sizeBytes: DISK_BYTES, base: 'none', since: null } as const;
      // What is asked for later is taken up, and what was moved before stays.
      for (const { layer } of await lay()) await harness.write(layer, 3, 8);
      const laid = await lay({ disks: [grown, over(raw), added] });
      const fresh = laid.find(({ key }) => key === ADDED);
      assert.ok(fresh !== undefined && fresh.below === null);
      await harness.write(fresh.layer, 0, 4);
      const first = laid.find(({ key }) => key === tracked);
      assert.ok(first !== undefined);
      assert.deepEqual(await values(first.layer, [3, 300]), [8, 0]);
      await harness.write(first.layer, 300, 7);
      const toBytes = 2 * before.memoryBytes;
      await attach({
        changes: [
          { type: 'memory', fromBytes: before.memoryBytes, toBytes },
          { type: 'cpus', from: before.cpuCount, to: 2 },
          { type: 'nic-added', mac: '52:54:00:aa:bb:01', network: 'user' },
          { type: 'nic-added', mac: '52:54:00:aa:bb:02', network: 'user' },
          { type: 'nic-removed', mac: '52:54:00:aa:bb:02', network: 'user' },
          { type: 'disk-added', key: ADDED, sizeBytes: DISK_BYTES },
          {
            type: 'disk-grown',
            key: tracked,
            fromBytes: DISK_BYTES,
            toBytes: 2 * DISK_BYTES,
          },
        ],
      });
      await vm.start();
      const isAsAsked = async () => {
        const now = await describeVm(vm.id);
        assert.deepEqual([now.memoryBytes, now.cpuCount], [toBytes, 2]);
        assert.deepEqual(
          now.nics.map(({ mac }) => mac),
          [...before.nics.map(({ mac }) => mac), '52:54:00:aa:bb:01'],
        );
        assert.deepEqual(
          now.disks.map(({ key, sizeBytes }) => [key, sizeBytes]),
          [
            [tracked, 2 * DISK_BYTES],
            [raw, DISK_BYTES],
            [ADDED, DISK_BYTES],
          ],
        );
      };
      await isAsAsked();
      await commit();
      await isAsAsked();
      await vm.stop();
      await isAsAsked();
      assert.deepEqual(await valuesOf('us-a', tracked, [1, 300]), [0, 7]);
      await vm.start();
      assert.deepEqual(await valuesOf('us-b', ADDED, [0, 1]), [4, 0]);
    });

    it('makes a new VM on request, which park takes away and commit leaves', async () => {
      const template = await describeVm(vm.id);
      const newVm = { name: `new-${serial}`, template, networkMap: {} };
      const none = [tracked, raw].map((key) => ({ ...over(key), base: 'none' as const }));
      const request = { vmId: null, disks: none };
      const fillLayers = async () => {
        for (const { layer, below } of await lay(request)) {
          assert.equal(below, null);
          await harness.write(layer, 2, 6);
        }
      };
      await fillLayers();
      const first = await attach({ newVm });
      madeVm = first;
      // The host has one of the template's identity.
      assert.notEqual(first, vm.id);
      assert.equal(await attach({ newVm }), first);
      assert.equal((await describeVm(first)).name, newVm.name);
      await park();
      await rejects('vm-missing', describeVm(first));
      await fillLayers();
      const id = await attach({ newVm });
      madeVm = id;
      const start = { key: command.key, vmId: id };
      await harness.settled(harness.hypervisor.start(start, { signal }));
      await commit();
      await commit();
      assert.deepEqual(await valuesOf('us-new', tracked, [1, 2], id), [0, 6]);
      await drop();
      assert.equal(await power(id), 'running');
    });
  });
}
