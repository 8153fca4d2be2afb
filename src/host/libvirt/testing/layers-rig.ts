/**
 * Working layers on a real libvirtd of its own, with QEMU as its own user: VMs without an operating system, in whose place
 * `qemu-io` writes through QEMU's monitor.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type {
  HomeVm,
  ProductionDisksHarness,
} from '../../../conformance/production-disks/harness.ts';
import { BLOCK_BYTES } from '../../../domain/bytes.ts';
import { type DiskKey, diskKey, type VmId, vmId } from '../../../domain/ids.ts';
import type { BlockEndpoint } from '../../../ports/mover.ts';
import type { ProductionDisks } from '../../../ports/production-disks.ts';
import { type PrivateHost, startPrivateHost } from '../../../rig/private-host.ts';
import { systemClock } from '../../../system/clock.ts';
import { systemIds } from '../../../system/ids.ts';
import { systemProcesses } from '../../../system/processes.ts';
import { createHostEpochs, epochNotes } from '../host-epochs.ts';
import { createLibvirtHypervisor } from '../hypervisor.ts';
import { describeVm } from '../inspect.ts';
import { createLibvirtPointSource } from '../point-source.ts';
import { collectSidecars } from '../sidecars.ts';
import { createVirsh } from '../virsh.ts';
import { createLibvirtProductionDisks } from '../working-layers.ts';
import { append, createRoot, serialiseXml } from '../xml.ts';
import { guestWrites, selectedBlocks } from './freeze-rig.ts';

const run = promisify(execFile);

const DISKS = { tracked: diskKey('vda'), raw: diskKey('vdb') };
const DISK_BYTES = 256 * BLOCK_BYTES;

export type LayersRig = Omit<ProductionDisksHarness, 'makeVm'> & {
  readonly host: PrivateHost;
  readonly folder: string;
  readonly storageFolder: string;
  readonly runtimeFolder: string;
  makeVm(): Promise<RigHomeVm>;
  /** A controller that was started anew; tests throw at its crash points. */
  reborn(onCrashPoint?: (name: string) => void): ProductionDisks;
};

export type RigHomeVm = HomeVm & {
  readonly folder: string;
  pathOf(disk: DiskKey): string;
};

export async function openLayersRig(): Promise<LayersRig> {
  const folder = await mkdtemp(join(tmpdir(), 'us-layers-'));
  // QEMU runs as another user.
  await chmod(folder, 0o755);
  const host = await startPrivateHost({ name: 'layers', folder: join(folder, 'h') });
  const [processes, clock, ids] = [systemProcesses(), systemClock(), systemIds()];
  const { uri, env } = host;
  const hostName = 'e2e';
  const virsh = createVirsh({ uri, hostName, environment: env, processes });
  const storageFolder = join(folder, 'store, "of" it');
  const runtimeFolder = join(folder, 'run');
  for (const path of [storageFolder, runtimeFolder]) await mkdir(path, { mode: 0o755 });
  const hypervisor = createLibvirtHypervisor({ virsh, processes, clock, ids, storageFolder });
  const { traits } = hypervisor;
  const parts = {
    ...{ virsh, processes, clock, ids, hostName },
    ...{ storageFolder, runtimeFolder, traits },
    epochs: createHostEpochs({ notes: epochNotes(storageFolder), clock }),
  };
  const pointSource = createLibvirtPointSource({
    ...{ virsh, processes, clock, hostName },
    scratchFolder: join(folder, 'scratch'),
    describeVm: (id, options) => describeVm(virsh, id, options),
    collectSidecars: (request, options) => collectSidecars({ processes }, request, options),
  });
  return {
    ...{ host, folder, storageFolder, runtimeFolder, hypervisor, pointSource },
    productionDisks: createLibvirtProductionDisks(parts),
    reborn: (onCrashPoint = () => undefined) =>
      createLibvirtProductionDisks({ ...parts, onCrashPoint }),
    makeVm: () => makeVm(host, folder),
    read: readBlock,
    write: writeBlock,
    selected: (endpoint, extents) => selectedBlocks({ endpoint, extents }),
    settled: (call) => call,
    async [Symbol.asyncDispose]() {
      await host.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function makeVm(host: PrivateHost, site: string): Promise<RigHomeVm> {
  const id = vmId(systemIds().uuid());
  const folder = join(site, `disks, ${id}`);
  await mkdir(folder);
  const pathOf = (key: DiskKey) => join(folder, `${key}.${key === DISKS.raw ? 'raw' : 'qcow2'}`);
  for (const key of Object.values(DISKS)) {
    const format = key === DISKS.raw ? 'raw' : 'qcow2';
    await run('qemu-img', ['create', '-q', '-f', format, pathOf(key), String(DISK_BYTES)]);
  }
  const file = join(folder, 'domain.xml');
  const name = `--it's "x" <&> ${systemIds().fresh('vm')}`;
  await writeFile(file, definition({ id, name, pathOf }));
  await host.virsh(['define', file]);
  return {
    id,
    disks: DISKS,
    folder,
    pathOf,
    write: (disk, block, value) => guestWrites(host, id, { disk, block, value }),
    start: async () => void (await host.virsh(['start', id])),
    stop: async () => void (await host.virsh(['destroy', id])),
    saveState: async () => void (await host.virsh(['managedsave', id])),
    async fingerprint() {
      const text = await host.virsh(['dumpxml', '--inactive', '--security-info', id]);
      const hashes = await Promise.all(Object.values(DISKS).map((key) => hashOf(pathOf(key))));
      const flags = await host.virsh(['dominfo', id]);
      return [text, hashes, /^Autostart:.*$/m.exec(flags)?.[0]];
    },
    async remove() {
      await host.virsh(['destroy', id]).catch(() => '');
      const what = ['--checkpoints-metadata', '--managed-save'];
      await host.virsh(['undefine', ...what, id]);
      await rm(folder, { recursive: true });
    },
  };
}

async function hashOf(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

function uriOf({ address, exportName }: BlockEndpoint): string {
  assert.ok(address.type === 'unix');
  return `nbd+unix:///${exportName}?socket=${encodeURIComponent(address.path)}`;
}

/** By `nbdcopy` and `qemu-io`, which share nothing with our code. */
async function readBlock(endpoint: BlockEndpoint, block: number): Promise<number> {
  const { stdout } = await run('nbdcopy', ['--', uriOf(endpoint), '-'], {
    encoding: 'buffer',
    maxBuffer: 4 * DISK_BYTES,
  });
  const bytes = stdout.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
  const [value = -1] = bytes;
  assert.ok(bytes.length === BLOCK_BYTES && bytes.every((byte) => byte === value), 'one value');
  return value;
}

async function writeBlock(endpoint: BlockEndpoint, block: number, value: number): Promise<void> {
  const write = `write -P ${value} ${block * BLOCK_BYTES} ${BLOCK_BYTES}`;
  await run('qemu-io', ['-f', 'raw', '-c', write, '-c', 'flush', uriOf(endpoint)]);
}

function definition(vm: {
  readonly id: VmId;
  readonly name: string;
  readonly pathOf: (disk: DiskKey) => string;
}): string {
  const domain = createRoot('domain', { type: 'qemu' });
  append(domain, 'name', {}, vm.name);
  append(domain, 'uuid', {}, vm.id);
  append(domain, 'memory', { unit: 'MiB' }, '32');
  append(domain, 'vcpu', {}, '1');
  append(append(domain, 'os'), 'type', { arch: 'x86_64', machine: 'pc' }, 'hvm');
  append(append(domain, 'features'), 'acpi');
  const devices = append(domain, 'devices');
  for (const key of Object.values(DISKS)) {
    const disk = append(devices, 'disk', { type: 'file', device: 'disk' });
    const type = key === DISKS.raw ? 'raw' : 'qcow2';
    append(disk, 'driver', { name: 'qemu', type, discard: 'unmap' });
    append(disk, 'source', { file: vm.pathOf(key) });
    append(disk, 'target', { dev: key, bus: 'virtio' });
  }
  const graphics = { type: 'vnc', port: '-1', autoport: 'yes', passwd: 'hidden' };
  append(devices, 'graphics', graphics);
  return serialiseXml(domain);
}
