/**
 * Real VMs whose guest writes on command: QEMU without an operating system, and `qemu-io` through its monitor in the
 * guest's place, on the same path as the virtual disk (so that old blocks are saved and marks record).
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { PointSourceHarness, SourceVm } from '../../../conformance/point-source.ts';
import { BLOCK_BYTES } from '../../../domain/bytes.ts';
import type { ErrorCode } from '../../../domain/error-catalog.ts';
import {
  diskKey,
  markName,
  operationId,
  operationKey,
  type VmId,
  vmId,
} from '../../../domain/ids.ts';
import type { PowerState } from '../../../domain/vm/vm.ts';
import type { FreezeRequest, FrozenDisk } from '../../../ports/point-source.ts';
import { type PrivateHost, startPrivateHost } from '../../../rig/private-host.ts';
import { killIfAlive, waitForExit } from '../../../rig/processes.ts';
import { checkRequirements } from '../../../rig/requirements.ts';
import { untilTrue } from '../../../rig/until.ts';
import { systemClock } from '../../../system/clock.ts';
import { systemIds } from '../../../system/ids.ts';
import { systemProcesses } from '../../../system/processes.ts';
import type { PointSourceParts } from '../freeze-context.ts';
import { describeVm, readPower } from '../inspect.ts';
import { createLibvirtPointSource } from '../point-source.ts';
import { collectSidecars } from '../sidecars.ts';
import { createVirsh } from '../virsh.ts';
import { append, createRoot, serialiseXml } from '../xml.ts';

const run = promisify(execFile);
const { signal } = new AbortController();

/** In the order of the definition, which is the order of the virtio devices. */
export const DISKS = { first: diskKey('vda'), second: diskKey('vdb'), raw: diskKey('vdc') };
const DISK_BYTES = 256 * BLOCK_BYTES;

export type FreezeRig = Omit<PointSourceHarness, 'makeVm'> & {
  readonly host: PrivateHost;
  readonly context: PointSourceParts;
  readonly folder: string;
  /** A file system of 24 MiB. */
  readonly smallFolder: string;
  makeVm(): Promise<RigVm>;
};

export type RigVm = SourceVm & {
  readonly folder: string;
  pathOf(disk: string): string;
};

export async function openFreezeRig(): Promise<FreezeRig> {
  const folder = await mkdtemp(join(tmpdir(), 'us-freeze-'));
  // QEMU runs as another user.
  await chmod(folder, 0o755);
  // Before the host, which sees only what was mounted by then.
  const smallFolder = join(folder, 'small');
  await mkdir(smallFolder);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=24M,mode=0711', 'scratch', smallFolder]);
  const host = await startPrivateHost({ name: 'freeze', folder: join(folder, 'h') });
  const processes = systemProcesses();
  const { uri, env } = host;
  const virsh = createVirsh({ uri, hostName: 'e2e', environment: env, processes });
  const context: PointSourceParts = {
    virsh,
    processes,
    clock: systemClock(),
    hostName: 'e2e',
    scratchFolder: join(folder, 'scratch, "of" it'),
    describeVm: (id, options) => describeVm(virsh, id, options),
    collectSidecars: (request, options) => collectSidecars({ processes }, request, options),
  };
  return {
    host,
    context,
    folder,
    smallFolder,
    pointSource: createLibvirtPointSource(context),
    makeVm: () => makeVm({ host, context, folder }),
    read: readBlock,
    selected: selectedBlocks,
    settled: (call) => call,
    async [Symbol.asyncDispose]() {
      await host.stop();
      await run('umount', [smallFolder]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

type Site = Pick<FreezeRig, 'host' | 'context' | 'folder'>;

async function makeVm({ host, context, folder: site }: Site): Promise<RigVm> {
  const name = `--it's "x" <&> ${systemIds().fresh('vm')}`;
  const id = vmId(systemIds().uuid());
  const folder = join(site, id);
  await mkdir(folder);
  const pathOf = (disk: string) =>
    join(folder, disk === DISKS.raw ? `${disk}.raw` : `${disk}.qcow2`);
  for (const disk of Object.values(DISKS)) {
    const format = disk === DISKS.raw ? 'raw' : 'qcow2';
    await run('qemu-img', ['create', '-q', '-f', format, pathOf(disk), String(DISK_BYTES)]);
  }
  const file = definition({ id, name, pathOf });
  await context.virsh.run(['define', { file }], { signal });
  const power = (): Promise<PowerState> => readPower(context.virsh, id, { signal });
  return {
    id,
    disks: DISKS,
    folder,
    pathOf,
    power,
    write: (disk, block, value, blocks) => guestWrites(host, id, { disk, block, value, blocks }),
    start: async () => void (await host.virsh(['start', id])),
    stop: async () => void (await host.virsh(['destroy', id])),
    async crash() {
      const pid = host.qemuPid(id);
      assert.ok(pid !== undefined);
      killIfAlive(pid);
      await waitForExit(pid);
      // The daemon learns of it from its monitor connection, in its own time.
      await untilTrue('libvirt notices', async () => (await power()) === 'off');
    },
    async setForeignMark(mark) {
      await host.virsh([
        'checkpoint-create-as',
        id,
        mark,
        '--diskspec',
        'vda',
        '--diskspec',
        'vdc,checkpoint=no',
        '--diskspec',
        'vdb,checkpoint=no',
      ]);
    },
    async marks() {
      const listed = await host.virsh(['checkpoint-list', '--name', id]);
      return listed.split('\n').filter((line) => line !== '');
    },
    async remove() {
      await host.virsh(['destroy', id]).catch(() => '');
      await host.virsh(['undefine', '--checkpoints-metadata', id]);
      await rm(folder, { recursive: true });
    },
  };
}

/** What QEMU's own client says, which shares nothing with our code. */
export async function guestWrites(
  host: PrivateHost,
  id: VmId,
  at: { disk: string; block: number; value: number; blocks?: number | undefined },
): Promise<void> {
  const { disk, block, value, blocks = 1 } = at;
  const device = `/machine/peripheral/${deviceOf(disk)}/virtio-backend`;
  // Flushed (`-f`), as a guest would that counts on it: else a crash may take it, and under QEMU 10 does.
  const write = `write -f -P ${value} ${block * BLOCK_BYTES} ${blocks * BLOCK_BYTES}`;
  const command = `qemu-io -d ${device} "${write}"`;
  await host.virsh(['qemu-monitor-command', '--hmp', id, command]);
}

function deviceOf(disk: string): string {
  return `virtio-disk${disk.charCodeAt(disk.length - 1) - 'a'.charCodeAt(0)}`;
}

export function nbdUri({ endpoint }: Pick<FrozenDisk, 'endpoint'>): string {
  assert.ok(endpoint.address.type === 'unix');
  return `nbd+unix:///${endpoint.exportName}?socket=${encodeURIComponent(endpoint.address.path)}`;
}

async function readBlock(disk: FrozenDisk, block: number): Promise<number> {
  const offset = block * BLOCK_BYTES;
  const bytes = (await readWhole(disk)).subarray(offset, offset + BLOCK_BYTES);
  const [value = -1] = bytes;
  assert.ok(bytes.length === BLOCK_BYTES && bytes.every((byte) => byte === value), 'one value');
  return value;
}

/** The whole frozen disk by nbdcopy. */
export async function readWhole(disk: FrozenDisk): Promise<Buffer> {
  const { stdout } = await run('nbdcopy', ['--', nbdUri(disk), '-'], {
    encoding: 'buffer',
    maxBuffer: 2 * disk.sizeBytes + BLOCK_BYTES,
  });
  return stdout;
}

/** By libnbd, block status of the context that our extent selection names. */
export async function selectedBlocks(
  disk: Pick<FrozenDisk, 'endpoint' | 'extents'>,
): Promise<readonly number[]> {
  const context = disk.extents.type === 'changed' ? disk.extents.metaContext : 'base:allocation';
  const map = ['--json', `--map=${context}`, '--', nbdUri(disk)];
  const { stdout } = await run('nbdinfo', map);
  const extents = JSON.parse(stdout) as { offset: number; length: number; type: number }[];
  const blocks: number[] = [];
  for (const { offset, length, type } of extents) {
    const isSelected = disk.extents.type === 'changed' ? (type & 1) !== 0 : (type & 2) === 0;
    if (!isSelected) continue;
    for (let at = offset; at < offset + length; at += BLOCK_BYTES) blocks.push(at / BLOCK_BYTES);
  }
  return blocks;
}

function definition(vm: { id: VmId; name: string; pathOf: (disk: string) => string }): string {
  const domain = createRoot('domain', { type: 'qemu' });
  append(domain, 'name', {}, vm.name);
  append(domain, 'uuid', {}, vm.id);
  append(domain, 'memory', { unit: 'MiB' }, '32');
  append(domain, 'vcpu', {}, '1');
  append(append(domain, 'os'), 'type', { arch: 'x86_64', machine: 'pc' }, 'hvm');
  append(append(domain, 'features'), 'acpi');
  const devices = append(domain, 'devices');
  for (const key of Object.values(DISKS)) appendDisk(devices, key, vm.pathOf(key));
  return serialiseXml(domain);
}

function appendDisk(devices: Parameters<typeof append>[0], key: string, path: string): void {
  const disk = append(devices, 'disk', { type: 'file', device: 'disk' });
  append(disk, 'driver', { name: 'qemu', type: path.endsWith('.raw') ? 'raw' : 'qcow2' });
  append(disk, 'source', { file: path });
  append(disk, 'target', { dev: key, bus: 'virtio' });
}

/** The serial makes key and mark unique. */
export function freezeRequest(
  id: VmId,
  serial: number,
  changes: Partial<FreezeRequest> = {},
): FreezeRequest {
  return {
    key: operationKey(operationId(`op-${serial}`), 'freeze'),
    vmId: id,
    disks: Object.values(DISKS),
    mark: markName(`us-m${serial}`),
    since: {},
    quiesce: 'never',
    scratch: { quotaBytes: null, reserveBytes: 0, deadlineMs: 3_600_000 },
    ...changes,
  };
}

/** Why none of this can run here; null when it can. */
export function missingForFreezing(): string | null {
  const { missing, isRoot } = checkRequirements();
  if (!isRoot) return 'needs root';
  const names = missing.map(({ packageName }) => packageName).join(', ');
  return names === '' ? null : `needs packages: ${names}`;
}

export async function rejects(code: ErrorCode, call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error: unknown) => {
    assert.ok(error instanceof Error && 'code' in error, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}
