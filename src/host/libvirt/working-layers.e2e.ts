/**
 * Working layers on a real libvirtd of its own, with QEMU as its own user. Not among the unit tests: it takes minutes.
 *
 *   node --test src/host/libvirt/working-layers.e2e.ts
 */
import assert from 'node:assert/strict';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { productionDisksSuite } from '../../conformance/production-disks.ts';
import { BLOCK_BYTES } from '../../domain/bytes.ts';
import {
  diskKey,
  failbackId,
  markName,
  operationId,
  operationKey,
  replicaId,
} from '../../domain/ids.ts';
import type { AttachRequest, LayRequest, ProductionDisks } from '../../ports/production-disks.ts';
import { run } from '../../rig/command.ts';
import { killIfAlive, waitForExit } from '../../rig/processes.ts';
import { untilTrue } from '../../rig/until.ts';
import { missingForFreezing, rejects } from './testing/freeze-rig.ts';
import { type LayersRig, openLayersRig, type RigHomeVm } from './testing/layers-rig.ts';

const skip = missingForFreezing() ?? false;
const { signal } = new AbortController();
const DISK_BYTES = 256 * BLOCK_BYTES;

productionDisksSuite('libvirt', openLayersRig, { skip });

class Died extends Error {}

describe('working layers under libvirt, whatever dies when', { skip }, () => {
  let rig: LayersRig;
  let serial = 0;
  before(async () => {
    rig = await openLayersRig();
  });
  after(() => rig?.[Symbol.asyncDispose]());

  type Story = {
    readonly vm: RigHomeVm;
    readonly layers: LayRequest;
    readonly attachment: AttachRequest;
  };

  async function withVm(use: (story: Story) => Promise<void>): Promise<void> {
    serial += 1;
    const vm = await rig.makeVm();
    const command = {
      key: operationKey(operationId(`op-${serial}`), 'step'),
      failbackId: failbackId(`fb-${serial}`),
      replicaId: replicaId(`replica-${serial}`),
      epoch: 1,
    };
    const disks = Object.values(vm.disks).map((key) => {
      return { key, sizeBytes: DISK_BYTES, base: 'disk', since: null } as const;
    });
    await rig.host.virsh(['autostart', vm.id]);
    try {
      await use({
        vm,
        layers: { ...command, vmId: vm.id, disks },
        attachment: {
          ...command,
          mark: markName(`us-m${serial}`),
          changes: [],
          sidecars: [],
          newVm: null,
        },
      });
    } finally {
      await rig.host.virsh(['destroy', vm.id]).catch(() => '');
      await rig.reborn().drop(command, { signal });
      await vm.remove();
    }
  }

  /** Runs it again and again, dying one line later each time, until it comes to its end; a new life goes on each time. */
  async function dyingEverywhere(
    act: (disks: ProductionDisks) => Promise<unknown>,
    betweenLives: () => Promise<void> = async () => undefined,
  ): Promise<string[]> {
    const died: string[] = [];
    for (;;) {
      const disks = rig.reborn((name) => {
        if (died.includes(name)) return;
        died.push(name);
        throw new Died(name);
      });
      try {
        await act(disks);
        return died;
      } catch (error) {
        if (!(error instanceof Died)) throw error;
      }
      await betweenLives();
    }
  }

  async function moveHome({ layers }: Story): Promise<void> {
    for (const { layer } of await rig.reborn().lay(layers, { signal })) {
      for (const block of [1, 2, 100]) await rig.write(layer, block, 6);
    }
  }

  /** What the disks must be: production's own as they lie now, with the layers over them. */
  async function expected({ vm, layers }: Story): Promise<Map<string, string>> {
    const copies = new Map<string, string>();
    for (const { key } of layers.disks) {
      const copy = join(vm.folder, `${key}.expected`);
      const layer = join(rig.storageFolder, 'failbacks', layers.failbackId, `${key}.qcow2`);
      await run('qemu-img', ['convert', '-U', '-f', 'qcow2', '-O', 'raw', layer, copy]);
      copies.set(key, copy);
    }
    return copies;
  }

  async function isExactly(vm: RigHomeVm, copies: ReadonlyMap<string, string>): Promise<void> {
    for (const [key, copy] of copies) {
      const path = vm.pathOf(diskKey(key));
      const format = path.endsWith('.raw') ? 'raw' : 'qcow2';
      await run('qemu-img', ['compare', '-U', '-f', 'raw', '-F', format, copy, path]);
    }
  }

  async function isGone({ layers }: Story): Promise<void> {
    const left = await readdir(join(rig.storageFolder, 'failbacks', layers.failbackId)).catch(
      () => [],
    );
    assert.deepEqual(left, []);
    assert.deepEqual(await readdir(rig.runtimeFolder), []);
  }

  it('lays, attaches, parks and drops over a death at every line', async () => {
    await withVm(async (story) => {
      const { vm, layers, attachment } = story;
      await vm.start();
      await vm.write(vm.disks.tracked, 3, 3);
      await vm.stop();
      const fingerprint = await vm.fingerprint();
      const laying = await dyingEverywhere((disks) => disks.lay(layers, { signal }));
      assert.ok(laying.includes('serve: started') && laying.length >= 6, laying.join());
      await moveHome(story);
      const copies = await expected(story).catch(() => null);
      assert.ok(copies !== null);
      const attaching = await dyingEverywhere((disks) => disks.attach(attachment, { signal }));
      assert.ok(attaching.length >= 5, attaching.join());
      await vm.start();
      await vm.stop();
      const parking = await dyingEverywhere((disks) => disks.park(layers, { signal }));
      assert.ok(parking.length >= 1, parking.join());
      await assert.rejects(vm.start());
      for (const { key, layer } of await rig.reborn().lay(layers, { signal })) {
        assert.equal(await rig.read(layer, 100), 6, key);
      }
      const dropping = await dyingEverywhere((disks) => disks.drop(layers, { signal }));
      assert.ok(dropping.length >= 4, dropping.join());
      assert.deepEqual(await vm.fingerprint(), fingerprint);
      await isGone(story);
    });
  });

  it('drops over a death at every line of attaching, and a VM that was attached and saved', async () => {
    await withVm(async (story) => {
      const { vm, layers, attachment } = story;
      const fingerprint = await vm.fingerprint();
      await moveHome(story);
      await dyingEverywhere(
        (disks) => disks.attach(attachment, { signal }),
        async () => {
          await rig.reborn().drop(layers, { signal });
          assert.deepEqual(await vm.fingerprint(), fingerprint);
          await moveHome(story);
        },
      );
      await vm.start();
      await vm.saveState();
      await rig.reborn().drop(layers, { signal });
      assert.deepEqual(await vm.fingerprint(), fingerprint);
      await vm.start();
      await vm.stop();
    });
  });

  it('makes a new VM once over a death at every line, or none', async () => {
    await withVm(async (story) => {
      const { vm, attachment } = story;
      const layers = {
        ...story.layers,
        vmId: null,
        disks: story.layers.disks.map((disk) => ({ ...disk, base: 'none' as const })),
      };
      const template = await rig.hypervisor.vm(vm.id, { signal });
      const newVm = { name: `new-${serial}`, template, networkMap: {} };
      const request = { ...attachment, newVm };
      const count = async () => (await rig.hypervisor.vms({ signal })).length;
      const before = await count();
      await rig.reborn().lay(layers, { signal });
      await dyingEverywhere((disks) => disks.attach(request, { signal }));
      assert.equal(await count(), before + 1);
      await rig.reborn().drop(layers, { signal });
      assert.equal(await count(), before);
      await rig.reborn().lay(layers, { signal });
      await dyingEverywhere(
        (disks) => disks.attach(request, { signal }),
        async () => {
          await rig.reborn().drop(layers, { signal });
          assert.equal(await count(), before);
          await rig.reborn().lay(layers, { signal });
        },
      );
      await rejects('name-taken', attachAnother(layers, request));
      await rig.reborn().drop(layers, { signal });
    });
  });

  async function attachAnother(layers: LayRequest, request: AttachRequest): Promise<void> {
    const other = { failbackId: failbackId(`fb-other-${serial}`) };
    await rig.reborn().lay({ ...layers, ...other }, { signal });
    try {
      await rig.reborn().attach({ ...request, ...other }, { signal });
    } finally {
      await rig.reborn().drop({ ...layers, ...other }, { signal });
    }
  }

  for (const isRunning of [true, false]) {
    it(`merges over a death at every line while the VM ${isRunning ? 'runs' : 'is off'}`, async () => {
      await withVm(async (story) => {
        const { vm, layers, attachment } = story;
        await vm.start();
        for (const key of Object.values(vm.disks)) await vm.write(key, 3, 3);
        await vm.stop();
        await moveHome(story);
        await rig.reborn().attach(attachment, { signal });
        await vm.start();
        for (const key of Object.values(vm.disks)) await vm.write(key, 4, 8);
        if (!isRunning) await vm.stop();
        const copies = await expected(story);
        const died = await dyingEverywhere((disks) => disks.commit(layers, { signal }));
        assert.ok(died.length >= 6, died.join());
        if (isRunning) await vm.stop();
        await isExactly(vm, copies);
        const marks = await rig.host.virsh(['checkpoint-list', '--name', vm.id]);
        assert.match(marks, new RegExp(attachment.mark));
        await rig.reborn().drop(layers, { signal });
        await isGone(story);
        await vm.start();
      });
    });
  }

  it('merges although libvirtd is killed, and although the VM is, at every line', async () => {
    for (const victim of ['libvirtd', 'QEMU'] as const) {
      await withVm(async (story) => {
        const { vm, layers, attachment } = story;
        await moveHome(story);
        await rig.reborn().attach(attachment, { signal });
        await vm.start();
        for (const key of Object.values(vm.disks)) await vm.write(key, 4, 8);
        const copies = await expected(story);
        await dyingEverywhere(
          (disks) => disks.commit(layers, { signal }),
          async () => {
            if (victim === 'libvirtd') {
              await rig.host.killDaemon();
              await rejects('host-unreachable', rig.reborn().commit(layers, { signal }));
              await rig.host.restartDaemon();
            } else {
              await killQemu(vm);
              await vm.start();
            }
          },
        );
        await rig.host.virsh(['destroy', vm.id]);
        await isExactly(vm, copies);
      });
    }
  });

  async function killQemu(vm: RigHomeVm): Promise<void> {
    const pid = rig.host.qemuPid(vm.id);
    assert.ok(pid !== undefined);
    killIfAlive(pid);
    await waitForExit(pid);
    const isOff = async () => (await rig.hypervisor.power(vm.id, { signal })) === 'off';
    await untilTrue('libvirt notices', isOff);
  }

  it('keeps the marks of the VM when dropped: the next freeze since them is incremental', async () => {
    await withVm(async ({ vm, layers, attachment }) => {
      await vm.start();
      const freeze = (mark: string, since: string | null) =>
        rig.pointSource.freeze(
          {
            key: operationKey(operationId(`op-${serial}-${mark}`), 'freeze'),
            vmId: vm.id,
            disks: Object.values(vm.disks),
            mark: markName(mark),
            since: since === null ? {} : { [vm.disks.tracked]: markName(since) },
            quiesce: 'never',
            scratch: { quotaBytes: null, reserveBytes: 0, deadlineMs: 3_600_000 },
          },
          { signal },
        );
      const end = (mark: string) => {
        const key = operationKey(operationId(`op-${serial}-${mark}`), 'freeze');
        return rig.pointSource.end({ key, vmId: vm.id }, { signal });
      };
      await freeze('us-before', null);
      await end('us-before');
      await vm.write(vm.disks.tracked, 11, 1);
      await vm.stop();
      await rig.reborn().lay(layers, { signal });
      await rig.reborn().attach(attachment, { signal });
      await vm.start();
      await vm.write(vm.disks.tracked, 12, 1);
      await vm.stop();
      await rig.reborn().drop(layers, { signal });
      await vm.start();
      await vm.write(vm.disks.tracked, 13, 1);
      const [disk] = (await freeze('us-after', 'us-before')).disks;
      assert.ok(disk !== undefined);
      assert.deepEqual(disk.found, { type: 'changed', since: 'us-before' });
      assert.deepEqual(await rig.selected(disk.endpoint, disk.extents), [11, 13]);
      await end('us-after');
    });
  });

  it('refuses a disk that is not there', async () => {
    await withVm(async ({ vm, layers }) => {
      await rm(vm.pathOf(vm.disks.raw));
      await rejects('unsupported-disk', rig.reborn().lay(layers, { signal }));
    });
  });
});
