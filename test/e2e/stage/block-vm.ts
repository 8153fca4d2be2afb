/**
 * A VM that runs no operating system: what is on its disks is what a test writes, through QEMU's own block layer while
 * it runs, with qemu-io while it is off. Beside each disk lies a plain file that received the same writes and
 * is what the disk must hold: it was never near the program under test.
 *
 *   <folder>/vda.qcow2           a disk; with overlays also vda.overlay1.qcow2 ...
 *   <folder>/expected/vda.raw    what must be on it
 */
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../../src/rig/command.ts';
import { type DomainDisk, domainXml } from '../../../src/rig/domain-xml.ts';
import type { PrivateHost } from '../../../src/rig/private-host.ts';
import { killIfAlive, waitForExit } from '../../../src/rig/processes.ts';
import { untilTrue } from '../../../src/rig/until.ts';
import type { Image } from './bytes.ts';
import { obedientBootSector } from './obedient-guest.ts';

export const MIB = 1024 * 1024;
/** The unit of hashing and of change marks. */
export const BLOCK = 64 * 1024;

export interface BlockDiskSpec {
  readonly sizeBytes: number;
  /** Default qcow2. */
  readonly format?: 'qcow2' | 'raw';
  /** Differencing layers on top; default 0. */
  readonly overlays?: number;
}

export interface BlockVmOptions {
  readonly host: PrivateHost;
  readonly name: string;
  readonly folder: string;
  /** Named vda, vdb, ...; default: two of 64 MiB. */
  readonly disks?: readonly BlockDiskSpec[];
  readonly guestAgent?: boolean;
  /** It boots from its first disk a guest that does nothing but follow a shutdown; see `untilObedient`. */
  readonly isObedient?: boolean;
}

export interface Write {
  readonly offset: number;
  readonly length: number;
  /** 0 to 255: every byte of the range. */
  readonly value: number;
}

export interface BlockVm {
  readonly uuid: string;
  readonly name: string;
  readonly folder: string;
  /** As they are now. */
  readonly keys: readonly string[];
  diskPath(key: string): string;
  /** What must be on the disk now. */
  expected(key: string): Image;
  /** Also to the expectation. Works while the VM runs and while it is off. */
  write(key: string, ...writes: readonly Write[]): Promise<void>;
  start(): Promise<void>;
  state(): Promise<string>;
  /** Switched off in order, as far as QEMU is concerned: change marks are saved. */
  destroy(): Promise<void>;
  /** SIGKILL to its QEMU, and until libvirt has noticed. */
  hardKill(): Promise<void>;
  /** While it runs. */
  grow(key: string, sizeBytes: number): Promise<void>;
  /** Hot-plugged and defined. @returns its key. */
  addDisk(spec: BlockDiskSpec): Promise<string>;
  /** From the running VM and the definition. */
  removeDisk(key: string): Promise<void>;
  /** Our own and foreign change marks, as libvirt lists them. */
  marks(): Promise<readonly string[]>;
}

export async function createBlockVm(options: BlockVmOptions): Promise<BlockVm> {
  const { host, name, folder } = options;
  const uuid = randomUUID();
  await mkdir(join(folder, 'expected'), { recursive: true });
  await chmod(folder, 0o755);
  const disks = new Map<string, DomainDisk>();
  for (const spec of options.disks ?? [{ sizeBytes: 64 * MIB }, { sizeBytes: 64 * MIB }]) {
    const disk = await createDisk(folder, `vd${String.fromCharCode(97 + disks.size)}`, spec);
    disks.set(disk.target, disk);
  }
  if (options.isObedient === true) await makeBootable(folder, disks.get('vda'));
  const definition = join(folder, 'domain.xml');
  const description = {
    name,
    uuid,
    memoryMiB: 16,
    machine: 'pc',
    macAddress: '52:54:00:00:00:01',
    guestAgent: options.guestAgent ?? false,
    disks: [...disks.values()],
    consolePath: null,
    screen: false,
  };
  await writeFile(definition, domainXml(description));
  await host.virsh(['define', definition]);
  return blockVm({ host, uuid, name, folder, disks });
}

interface Parts {
  readonly host: PrivateHost;
  readonly uuid: string;
  readonly name: string;
  readonly folder: string;
  readonly disks: Map<string, DomainDisk>;
}

function blockVm({ host, uuid, name, folder, disks }: Parts): BlockVm {
  const virsh = (...args: readonly string[]) => host.virsh(args);
  const diskOf = (key: string): DomainDisk => {
    const disk = disks.get(key);
    if (disk === undefined) throw new Error(`VM ${name} has no disk ${key}`);
    return disk;
  };
  const expected = (key: string): Image => ({ path: expectedPath(folder, key), format: 'raw' });
  const state = async () => (await virsh('domstate', '--domain', uuid)).trim();
  return {
    uuid,
    name,
    folder,
    get keys() {
      return [...disks.keys()];
    },
    diskPath: (key) => diskOf(key).path,
    expected,
    async write(key, ...writes) {
      const disk = diskOf(key);
      const commands = writes.map(
        ({ offset, length, value }) => `write -P ${value} ${offset} ${length}`,
      );
      if (host.qemuPid(uuid) === undefined) await writeOff(disk, commands);
      else for (const command of commands) await writeRunning({ host, uuid, key, command });
      for (const write of writes) await writeExpected(expected(key).path, write);
    },
    start: async () => void (await virsh('start', '--domain', uuid)),
    state,
    async destroy() {
      if (host.qemuPid(uuid) !== undefined) await virsh('destroy', '--domain', uuid, '--graceful');
    },
    async hardKill() {
      const pid = host.qemuPid(uuid);
      if (pid === undefined) throw new Error(`VM ${name} has no QEMU to kill`);
      killIfAlive(pid);
      await waitForExit(pid);
      await untilTrue('libvirt notices', async () => (await state()) === 'shut off');
    },
    async grow(key, sizeBytes) {
      await virsh('blockresize', '--domain', uuid, '--path', key, '--size', `${sizeBytes}B`);
      await truncate(expected(key).path, sizeBytes);
    },
    async addDisk(spec) {
      const disk = await createDisk(folder, nextKey([...disks.keys()]), spec);
      const attached = [disk.path, disk.target, '--driver', 'qemu', '--subdriver', disk.format];
      const places = ['--targetbus', 'virtio', '--live', '--config'];
      await virsh('attach-disk', uuid, ...attached, ...places);
      disks.set(disk.target, disk);
      return disk.target;
    },
    async removeDisk(key) {
      // A hot unplug needs the guest to agree, and there is none: it takes effect with the next start.
      await virsh('detach-disk', uuid, key, '--config');
      disks.delete(key);
    },
    async marks() {
      const listed = await virsh('checkpoint-list', '--domain', uuid, '--name', '--topological');
      return listed.split('\n').filter((line) => line !== '');
    },
  };
}

const expectedPath = (folder: string, key: string) => join(folder, 'expected', `${key}.raw`);

function nextKey(keys: readonly string[]): string {
  const last = Math.max(...keys.map((key) => key.charCodeAt(key.length - 1)));
  return `vd${String.fromCharCode(last + 1)}`;
}

async function createDisk(
  folder: string,
  target: string,
  { sizeBytes, format = 'qcow2', overlays = 0 }: BlockDiskSpec,
): Promise<DomainDisk> {
  const create = (to: string, ...args: readonly string[]) =>
    run('qemu-img', ['create', '-q', ...args, '--', to]);
  let disk: DomainDisk = { target, format, path: join(folder, `${target}.${format}`) };
  await run('qemu-img', ['create', '-q', '-f', format, '--', disk.path, String(sizeBytes)]);
  for (let layer = 1; layer <= overlays; layer++) {
    const path = join(folder, `${target}.overlay${layer}.qcow2`);
    await create(path, '-f', 'qcow2', '-b', disk.path, '-F', disk.format);
    disk = { target, format: 'qcow2', path };
  }
  await writeFile(expectedPath(folder, target), '');
  await truncate(expectedPath(folder, target), sizeBytes);
  return disk;
}

async function writeOff(disk: DomainDisk, commands: readonly string[]): Promise<void> {
  const list = commands.flatMap((command) => ['-c', command]);
  await run('qemu-io', ['-f', disk.format, ...list, '--', disk.path]);
}

/**
 * The monitor tells in its output that it cannot do it. That a write as such failed QEMU tells only its log: then
 * the disk does not hold what is expected, which is what every test looks at.
 */
async function writeRunning(parts: {
  host: PrivateHost;
  uuid: string;
  key: string;
  command: string;
}): Promise<void> {
  const { host, uuid, key, command } = parts;
  const number = key.charCodeAt(key.length - 1) - 'a'.charCodeAt(0);
  const device = `/machine/peripheral/virtio-disk${number}/virtio-backend`;
  const order = `qemu-io -d ${device} "${command}"`;
  const said = await host.virsh([
    'qemu-monitor-command',
    '--hmp',
    '--domain',
    uuid,
    '--cmd',
    order,
  ]);
  if (said.trim() !== '') throw new Error(`${order}: ${said.trim()}`);
}

async function makeBootable(folder: string, disk: DomainDisk | undefined): Promise<void> {
  if (disk === undefined) throw new Error('An obedient guest boots from a disk vda');
  const sector = join(folder, 'boot-sector');
  await writeFile(sector, obedientBootSector());
  const command = `write -s ${sector} 0 512`;
  await run('qemu-io', ['-f', disk.format, '-c', command, '--', disk.path]);
  const expected = await open(expectedPath(folder, disk.target), 'r+');
  await expected.write(obedientBootSector()).finally(() => expected.close());
}

/** To a plain file, in the place of a disk. */
export async function writeExpected(path: string, { offset, length, value }: Write): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const piece = Buffer.alloc(Math.min(length, MIB), value);
    for (let done = 0; done < length; done += piece.length) {
      const size = Math.min(piece.length, length - done);
      await file.write(piece, 0, size, offset + done);
    }
  } finally {
    await file.close();
  }
}
