/**
 * Somebody changes the replica while it stands in: memory, processors, a NIC, disks. It is listed; disks come home in any
 * case, the rest on request. And a failback that is undone leaves production as it was: its definition, and every byte of
 * the files of its disks. Looked at with virsh, qemu-img and sha256sum.
 */
import assert from 'node:assert/strict';
import { chmod, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { failbackPreviewSchema } from '../../src/contract/failback.ts';
import { run } from '../../src/rig/command.ts';
import type { PrivateHost } from '../../src/rig/private-host.ts';
import { untilTrue } from '../../src/rig/until.ts';
import { BLOCK, type BlockVm, MIB, type Write, writeExpected } from './stage/block-vm.ts';
import { type Image, requireSameContent } from './stage/bytes.ts';
import { diskImages, requireTookOver, type StandIn, standInOf } from './stage/home.ts';
import {
  conditionNames,
  failOverBlockVm,
  order,
  succeed,
  transfers,
  writeReplica,
} from './stage/life.ts';
import { untilObedient } from './stage/obedient-guest.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import type { Protection } from './stage/operator.ts';

const [OWN_MAC, NEW_MAC] = ['52:54:00:00:00:01', '52:54:00:00:00:02'];

const CHANGED = [
  'memory: 16.0 MiB in production, 32.0 MiB on the replica',
  'processors: 1 in production, 2 on the replica',
  `NIC ${NEW_MAC} on user: only on the replica`,
  'disk vdc of 16.0 MiB: only on the replica',
];
const CHANGED_WHEN_READY = [
  'disk vdd of 8.00 MiB: only on the replica',
  'disk vdb: 64.0 MiB in production, 80.0 MiB on the replica',
];
const ALL_CHANGES = [...CHANGED, ...CHANGED_WHEN_READY].toSorted();
const DISK_CHANGES = ALL_CHANGES.filter((line) => line.startsWith('disk '));

suite('a replica that is changed while it stands in', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let id: string;
  let serving: StandIn;
  /** Disks that the replica has got, as a test wrote them and as they are. */
  const added = new Map<string, { readonly expected: Image; readonly disk: Image }>();
  let original: { readonly definition: string; readonly files: string };

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: 'changed', isObedient: true });
    await vm.start();
    await untilObedient(stage.production, vm.uuid);
    protection = await stage.protect(vm.name, ['--quiesce', 'never']);
    await vm.write('vda', { offset: 2 * MIB, length: 8 * MIB, value: 0xee });
    await vm.write('vdb', { offset: 5 * MIB, length: 4 * MIB, value: 0xee });
    await stage.replicate(protection);
    const replica = await failOverBlockVm(stage, protection);
    id = replica.id;
    const held = new Map(vm.keys.map((key) => [key, vm.expected(key)]));
    serving = await standInOf(stage, replica, held, join(vm.folder, 'stand-in'));
    await vm.write('vda', { offset: 20 * MIB, length: 5 * BLOCK, value: 0x70 });
    await shutDown(stage.production);
    original = { definition: await definitionOf(stage.production), files: await sums() };
    await untilObedient(stage.recovery, vm.uuid);
  });
  after(() => stage?.[Symbol.asyncDispose]());

  test('what somebody changed is listed before the failback, and again before the switchover', async () => {
    await serving.write('vda', { offset: 30 * MIB, length: 6 * BLOCK, value: 1 });
    await shutDown(stage.recovery);
    await configure('setmaxmem', '--size', '32MiB');
    await configure('setmem', '--size', '32MiB');
    await configure('setvcpus', '--maximum', '--count', '2');
    await configure('setvcpus', '--count', '2');
    const nic = join(vm.folder, 'nic.xml');
    await writeFile(nic, `<interface type="user"><mac address="${NEW_MAC}"/></interface>`);
    await configure('attach-device', '--file', nic);
    await addDisk('vdc', 16 * MIB, '--config');
    await stage.recovery.virsh(['start', '--domain', vm.uuid]);
    await untilObedient(stage.recovery, vm.uuid);
    await write('vdc', { offset: MIB, length: 2 * MIB, value: 0xc1 });
    assert.deepEqual(await changesSeenBy('failback'), CHANGED);

    await succeed(stage, 'failback', id);
    await addDisk('vdd', 8 * MIB, '--live', '--config');
    const grown = ['--path', 'vdb', '--size', `${80 * MIB}B`];
    await stage.recovery.virsh(['blockresize', '--domain', vm.uuid, ...grown]);
    await truncate(serving.expected.get('vdb')?.path ?? '', 80 * MIB);
    await write('vdd', { offset: 0, length: MIB, value: 0xd1 });
    await write('vdb', { offset: 78 * MIB, length: 4096, value: 0xb1 });
    assert.deepEqual((await changesSeenBy('switch-over')).toSorted(), ALL_CHANGES);
  });

  test('switched over without a request, only disks come along, with every byte', async () => {
    await succeed(stage, 'switch-over', id);
    await requireHome();
    const { failback } = await stage.replica(protection);
    assert.deepEqual(failback?.switched?.changes.toSorted(), DISK_CHANGES);
    const own = shapeOf(await definitionOf(stage.production));
    assert.deepEqual(own, { memory: '16384', vcpu: '1', nics: [OWN_MAC] });
  });

  test('undone, production is as it was, byte for byte, and the replica as it was at the switchover', async () => {
    await untilObedient(stage.production, vm.uuid);
    const dropped = { offset: 50 * MIB, length: 3 * BLOCK, value: 0x99 };
    await writeReplica({ recovery: stage.production }, await replicaNow(), 'vda', dropped);
    await refusedWithoutReplica();
    await succeed(stage, 'undo-failback', id);
    assert.deepEqual(conditionNames(await replicaNow()), []);
    assert.equal(await vm.state(), 'shut off');
    assert.equal(await definitionOf(stage.production), original.definition);
    assert.equal(await sums(), original.files);
    for (const key of vm.keys) {
      await requireSameContent(vm.expected(key), { path: vm.diskPath(key), format: 'qcow2' });
    }
    for (const { expected, disk } of disksOfReplica().values()) {
      await requireSameContent(expected, disk);
    }
    await untilObedient(stage.recovery, vm.uuid);
    const shape = shapeOf(await definitionOf(stage.recovery));
    assert.deepEqual(shape, { memory: '32768', vcpu: '2', nics: [OWN_MAC, NEW_MAC] });
  });

  test('with a request the rest comes along, too, and goes again with an undo', async () => {
    await write('vdc', { offset: 5 * MIB, length: BLOCK, value: 0xc2 });
    await succeed(stage, 'failback', id);
    await succeed(stage, 'switch-over', id, '--apply-changes');
    const { failback } = await replicaNow();
    assert.deepEqual(failback?.switched?.changes.toSorted(), ALL_CHANGES);
    await requireHome();
    const shape = shapeOf(await definitionOf(stage.production));
    assert.deepEqual(shape, { memory: '32768', vcpu: '2', nics: [OWN_MAC, NEW_MAC] });
    await untilObedient(stage.production, vm.uuid);
    await succeed(stage, 'undo-failback', id);
    assert.equal(await definitionOf(stage.production), original.definition);
    assert.equal(await sums(), original.files);
  });

  test('requested with the failback, and with a disk less: its file is left as it was', async () => {
    await untilObedient(stage.recovery, vm.uuid);
    await shutDown(stage.recovery);
    await stage.recovery.virsh(['detach-disk', vm.uuid, 'vdb', '--config']);
    await stage.recovery.virsh(['start', '--domain', vm.uuid]);
    await untilObedient(stage.recovery, vm.uuid);
    assert.ok((await changesSeenBy('failback')).includes('disk vdb: only in production'));
    await succeed(stage, 'failback', id, '--apply-changes');
    await succeed(stage, 'switch-over', id);
    const shape = shapeOf(await definitionOf(stage.production));
    assert.deepEqual(shape, { memory: '32768', vcpu: '2', nics: [OWN_MAC, NEW_MAC] });
    const disks = await diskImages(stage.production, vm.uuid);
    assert.deepEqual([...disks.keys()], ['vda', 'vdc', 'vdd']);
    await requireSameContent(vm.expected('vdb'), { path: vm.diskPath('vdb'), format: 'qcow2' });
  });

  test('committed, what the replica has got is in the next run, the rest incremental', async () => {
    const { history } = await succeed(stage, 'commit-failback', id);
    assert.match(messagesOf(history), /without vdc, vdd, which somebody added to the replica/);
    const state = (await stage.points(protection)).at(-1);
    assert.ok(state);
    await stage.requireExact(state, serving.expected);
    const next = await stage.replicate(protection);
    assert.deepEqual(transfers(next), ['incremental', 'full', 'full']);
    const held = [...disksOfReplica()].map(([key, { expected }]) => [key, expected] as const);
    await stage.requireExact(next, new Map(held.filter(([key]) => key !== 'vdb')));
    await stage.requireNothingLeft(protection);
  });

  /** Nobody would serve if production were stopped for a replica whose host cannot be asked to start it. */
  const refusedWithoutReplica = async () => {
    const pid = stage.production.qemuPid(vm.uuid);
    await stage.recovery.killDaemon();
    const { state, error } = await order(stage, 'undo-failback', id);
    assert.deepEqual([state, error?.code], ['failed', 'host-unreachable']);
    assert.equal((await replicaNow()).phase, 'Failback');
    assert.deepEqual([await vm.state(), stage.production.qemuPid(vm.uuid)], ['running', pid]);
    await stage.recovery.restartDaemon();
    assert.equal(stage.recovery.qemuPid(vm.uuid), undefined);
  };

  const replicaNow = () => stage.replica(protection);

  const definitionOf = (host: PrivateHost): Promise<string> =>
    host.virsh(['dumpxml', '--inactive', '--domain', vm.uuid]);

  /** Of the files themselves, whatever they say is in them. */
  const sums = (): Promise<string> =>
    run('sha256sum', ['--', ...vm.keys.map((key) => vm.diskPath(key))]);

  const configure = (command: string, ...options: readonly string[]) =>
    stage.recovery.virsh([command, '--domain', vm.uuid, '--config', ...options]);

  const disksOfReplica = () =>
    new Map([
      ...vm.keys.map((key) => {
        const expected = serving.expected.get(key);
        assert.ok(expected);
        return [key, { expected, disk: serving.branch(key) }] as const;
      }),
      ...added,
    ]);

  const changesSeenBy = async (command: string): Promise<readonly string[]> =>
    (await stage.ask([command, id, '--dry-run'], failbackPreviewSchema)).changes;

  const shutDown = async (host: PrivateHost): Promise<void> => {
    await host.virsh(['shutdown', '--domain', vm.uuid, '--mode', 'acpi']);
    await untilTrue('it is off', async () => host.qemuPid(vm.uuid) === undefined);
  };

  const addDisk = async (key: string, sizeBytes: number, ...places: readonly string[]) => {
    const disk = { path: join(vm.folder, `added-${key}.qcow2`), format: 'qcow2' } as const;
    const expected = { path: join(vm.folder, `added-${key}.raw`), format: 'raw' } as const;
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', '--', disk.path, String(sizeBytes)]);
    await chmod(disk.path, 0o644);
    await writeFile(expected.path, '');
    await truncate(expected.path, sizeBytes);
    const how = ['--driver', 'qemu', '--subdriver', 'qcow2', '--targetbus', 'virtio', ...places];
    await stage.recovery.virsh(['attach-disk', vm.uuid, disk.path, key, ...how]);
    added.set(key, { expected, disk });
  };

  const write = async (key: string, what: Write): Promise<void> => {
    await writeReplica(stage, await replicaNow(), key, what);
    await writeExpected(disksOfReplica().get(key)?.expected.path ?? '', what);
  };

  const requireHome = () => {
    const disks = disksOfReplica();
    const expected = new Map([...disks].map(([key, one]) => [key, one.expected]));
    const branch = (key: string): Image => disks.get(key)?.disk ?? serving.branch(key);
    return requireTookOver(stage.production, vm.uuid, { ...serving, expected, branch });
  };
});

const messagesOf = (history: readonly { readonly message: string }[]): string =>
  history.map(({ message }) => message).join('\n');

type Shape = { readonly memory: string; readonly vcpu: string; readonly nics: readonly string[] };

/** Of a definition, as libvirt writes it. */
function shapeOf(definition: string): Shape {
  const text = (pattern: RegExp) => pattern.exec(definition)?.[1] ?? '';
  return {
    memory: text(/<memory unit='KiB'>(\d+)</),
    vcpu: text(/<vcpu[^>]*>(\d+)</),
    nics: [...definition.matchAll(/<mac address='([^']+)'/g)].map(([, mac = '']) => mac),
  };
}
