/**
 * What every end-to-end file plays on: two private libvirt hosts, a server with both added, and VMs made on demand.
 * One stage per file. However the file ends, nothing of it stays: neither a process nor a file.
 *
 *   <folder>/p r                    the hosts production and recovery
 *   <folder>/vm-*                   source VMs
 *   <folder>/storage scratch        what the server was given on recovery and on production
 *   <folder>/server server.log sockets api.sock
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PointAnswer } from '../../../src/contract/point.ts';
import { ensureGuestImage } from '../../../src/rig/guest-image.ts';
import { endProcessesOf } from '../../../src/rig/leftovers.ts';
import { sessionEnvironment } from '../../../src/rig/libvirt-folders.ts';
import { type PrivateHost, startPrivateHost } from '../../../src/rig/private-host.ts';
import { belongsTo, isAlive, listProcesses } from '../../../src/rig/processes.ts';
import { checkRequirements } from '../../../src/rig/requirements.ts';
import { type ServerProcess, startServerProcess } from '../../../src/rig/server-process.ts';
import { createTestVm, type TestVm, type TestVmOptions } from '../../../src/rig/test-vm.ts';
import { until } from '../../../src/rig/until.ts';
import { type BlockVm, type BlockVmOptions, createBlockVm } from './block-vm.ts';
import { type Image, requireSameContent } from './bytes.ts';
import { clientWithin } from './command-line.ts';
import { type Kept, leftovers, storageDaemonsOf } from './nothing-left.ts';
import { createOperator, type Operator, type Protection } from './operator.ts';

export interface Stage extends AsyncDisposable, Operator {
  readonly folder: string;
  readonly production: PrivateHost;
  readonly recovery: PrivateHost;
  readonly server: ServerProcess;
  /** Of recovery: replicas live here. */
  readonly storageFolder: string;
  /** Of production: frozen views live here. */
  readonly scratchFolder: string;
  /** A VM on production that boots the ledger guest; not started. */
  guestVm(options?: Partial<Omit<TestVmOptions, 'image'>>): Promise<TestVm>;
  /** A VM on production without an operating system; not started. */
  blockVm(options?: Partial<BlockVmOptions>): Promise<BlockVm>;
  /** The image of a disk of a restore point; its backing chain is relative. */
  layer(point: PointAnswer, key: string): Image;
  /** Compares all disks of the point, byte for byte, and that it has no others. */
  requireExact(point: PointAnswer, expected: ReadonlyMap<string, Image>): Promise<void>;
  /** As `requireExact` with what was written to the VM. */
  requireExactVm(point: PointAnswer, vm: BlockVm): Promise<void>;
  /** Process ids of the storage daemons that write replicas now. */
  targetDaemons(): readonly number[];
  /** What is left over of these VMs at this moment, in sentences. */
  leftovers(...protections: readonly Protection[]): Promise<readonly string[]>;
  /** Waits until nothing temporary of these VMs is left (one period of the sweeper and a margin). */
  requireNothingLeft(...protections: readonly Protection[]): Promise<void>;
}

export interface StageOptions {
  /** Default: a folder of the stage. */
  readonly storageFolder?: string;
  /**
   * A folder of an ordinary user, whose environment names it (`userEnvironment`): the stage is in it, and the server knows
   * production as `qemu:///session`.
   */
  readonly userFolder?: string;
}

/** In which `qemu:///session` is production's daemon, once the stage is open. */
export function userEnvironment(userFolder: string): Readonly<Record<string, string>> {
  return sessionEnvironment(join(userFolder, PRODUCTION_PLACE));
}

const PRODUCTION_PLACE = 'p';

/** For `suite(name, { skip: skipReason() }, ...)`: false when everything is here. */
export function skipReason(): string | false {
  const { missing, isRoot } = checkRequirements();
  if (!isRoot) return 'needs root';
  if (missing.length === 0) return false;
  return `needs the packages ${missing.map(({ packageName }) => packageName).join(' ')}`;
}

/** @throws Error when something does not start; nothing is left then. */
export async function openStage(options: StageOptions = {}): Promise<Stage> {
  const { userFolder } = options;
  const folder = userFolder ?? (await mkdtemp(join(tmpdir(), 'us-')));
  const cleaning = new AsyncDisposableStack();
  cleaning.defer(() => clear(folder));
  cleaning.defer(whenEnded(() => clearNow(folder)));
  try {
    // QEMU runs as another user.
    await chmod(folder, 0o755);
    // That of the project is not an ordinary user's.
    const cache = userFolder === undefined ? {} : { cacheFolder: join(userFolder, 'cache') };
    const start = async (name: string, place: string) =>
      cleaning.use(await startPrivateHost({ name, folder: join(folder, place), ...cache }));
    // The second finds what the first has learnt about QEMU.
    const production = await start('production', PRODUCTION_PLACE);
    const recovery = await start('recovery', 'r');
    const dataFolder = join(folder, 'server');
    const server = cleaning.use(
      await startServerProcess({ dataFolder, folder, client: clientWithin }),
    );
    return await furnish({ folder, production, recovery, server, cleaning, options });
  } catch (error) {
    await cleaning.disposeAsync();
    throw error;
  }
}

interface Building {
  readonly folder: string;
  readonly production: PrivateHost;
  readonly recovery: PrivateHost;
  readonly server: ServerProcess;
  readonly cleaning: AsyncDisposableStack;
  readonly options: StageOptions;
}

async function furnish(building: Building): Promise<Stage> {
  const { folder, production, recovery, server, cleaning, options } = building;
  const storageFolder = options.storageFolder ?? join(folder, 'storage');
  const scratchFolder = join(folder, 'scratch');
  const operator = createOperator(server);
  const productionUri = options.userFolder === undefined ? production.uri : 'qemu:///session';
  for (const { name, uri, storage, scratch } of [
    {
      name: production.name,
      uri: productionUri,
      storage: join(folder, 'storage-p'),
      scratch: scratchFolder,
    },
    {
      name: recovery.name,
      uri: recovery.uri,
      storage: storageFolder,
      scratch: join(folder, 'scratch-r'),
    },
  ]) {
    const folders = ['--storage', storage, '--scratch', scratch];
    await server.json(['host', 'add', name, '--uri', uri, ...folders]);
  }
  const places = {
    production,
    storageFolder,
    scratchFolders: [scratchFolder, join(folder, 'scratch-r')],
    runtimeFolder: join(folder, 'sockets'),
  };
  let vms = 0;
  const vmFolder = () => join(folder, `vm-${++vms}`);
  const layer = ({ replicaId, disks }: PointAnswer, key: string): Image => {
    const disk = disks.find((candidate) => candidate.key === key);
    assert.ok(disk, `the point has a disk ${key}`);
    const path = join(storageFolder, replicaId, 'layers', disk.layerId, `${key}.qcow2`);
    return { path, format: 'qcow2' };
  };
  const requireExact: Stage['requireExact'] = async (point, expected) => {
    const keys = point.disks.map(({ key }) => key);
    assert.deepEqual(keys.toSorted(), [...expected.keys()].toSorted(), 'disks of the point');
    for (const [key, image] of expected) await requireSameContent(image, layer(point, key));
  };
  const keptOf = async (protection: Protection): Promise<Kept> => ({
    vmId: protection.vmId,
    replicaId: (await operator.replica(protection)).id,
    points: await operator.points(protection),
  });
  const leftoversOf = async (...protections: readonly Protection[]) =>
    leftovers(places, await Promise.all(protections.map(keptOf)));
  return {
    ...operator,
    folder,
    production,
    recovery,
    server,
    storageFolder,
    scratchFolder,
    async guestVm(wanted = {}) {
      const name = `guest-${vms + 1}`;
      const image = await ensureGuestImage();
      return createTestVm({ host: production, name, folder: vmFolder(), image, ...wanted });
    },
    blockVm: (wanted = {}) =>
      createBlockVm({ host: production, name: `block-${vms + 1}`, folder: vmFolder(), ...wanted }),
    layer,
    requireExact,
    requireExactVm: (point, vm) =>
      requireExact(point, new Map(vm.keys.map((key) => [key, vm.expected(key)]))),
    targetDaemons: () => storageDaemonsOf([storageFolder]),
    leftovers: leftoversOf,
    async requireNothingLeft(...protections) {
      let last: readonly string[] = [];
      const look = async (): Promise<true | undefined> => {
        last = await leftoversOf(...protections);
        return last.length === 0 ? true : undefined;
      };
      await until('nothing is left over', look, { deadlineMs: 40_000, pauseMs: 200 }).catch(
        (error: unknown) => {
          assert.deepEqual(last, [], String(error));
          throw error;
        },
      );
    },
    [Symbol.asyncDispose]: () => cleaning.disposeAsync(),
  };
}

/** Hosts and server are gone by now, unless stopping one of them failed. */
async function clear(folder: string): Promise<void> {
  await endProcessesOf(folder);
  await rm(folder, { recursive: true, force: true });
}

/** Also when the process is told to end. @returns what makes it forget. */
function whenEnded(clear: () => void): () => void {
  const end = (signal: NodeJS.Signals): void => {
    clear();
    process.kill(process.pid, signal);
  };
  const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
  process.once('exit', clear);
  for (const signal of signals) process.once(signal, end);
  return () => {
    process.off('exit', clear);
    for (const signal of signals) process.off(signal, end);
  };
}

/** When the process exits before its stage was closed: without waiting. */
function clearNow(folder: string): void {
  for (const pid of listProcesses()) {
    if (pid === process.pid || !belongsTo(pid, `${folder}/`) || !isAlive(pid)) continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself.
    }
  }
  rmSync(folder, { recursive: true, force: true });
}

/** The end of the server's log, for messages. */
export async function serverLog({ server }: Pick<Stage, 'server'>): Promise<string> {
  const log = await readFile(join(server.dataFolder, 'log.jsonl'), 'utf8').catch(() => '');
  return log.split('\n').slice(-40).join('\n');
}
