/**
 * Serves the disks of a powered-off VM read-only over NBD, without ever standing in the way of its start: QEMU's image
 * lock, which even a reader takes, is switched off for the disks themselves. Backing files are opened as QEMU
 * opens them when the VM runs, so that they collide with nothing.
 */
import { readFile, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { DiskKey, MarkName } from '../../domain/ids.ts';
import type { VmDisk } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Daemon, ProcessIdentity } from '../../ports/processes.ts';
import { GLIBC_TUNABLES } from '../nbd-server-tuning.ts';
import type { FreezeContext } from './freeze-context.ts';
import type { FreezePlaces } from './freeze-record.ts';

export type ExportedDisk = {
  readonly disk: VmDisk;
  /** Also export what changed since this mark. */
  readonly since: MarkName | null;
};

const READY_DEADLINE_MS = 10_000;
const POLL_MS = 20;
const QUIT_TIMEOUT_MS = 5000;

export async function startExport(
  { processes }: FreezeContext,
  places: FreezePlaces,
  disks: readonly ExportedDisk[],
): Promise<ProcessIdentity> {
  const blockDevices = new Set<DiskKey>();
  for (const { disk } of disks) {
    if ((await stat(disk.path)).isBlockDevice()) blockDevices.add(disk.key);
  }
  return processes.startDaemon(exportDaemon(places, disks, blockDevices));
}

/** Pure. Every value that is not ours goes in as JSON, where no character has a meaning. */
export function exportDaemon(
  places: FreezePlaces,
  disks: readonly ExportedDisk[],
  blockDevices: ReadonlySet<DiskKey>,
): Daemon {
  const options: string[] = [];
  const add = (option: string, value: object) => options.push(option, JSON.stringify(value));
  add('--nbd-server', { addr: { type: 'unix', path: places.socketPath } });
  for (const { disk, since } of disks) {
    const { key, path, format } = disk;
    const driver = blockDevices.has(key) ? 'host_device' : 'file';
    const file = { driver, filename: path, locking: 'off', 'read-only': true };
    add('--blockdev', { driver: format, 'node-name': `n-${key}`, 'read-only': true, file });
    const bitmaps = since === null ? {} : { bitmaps: [since] };
    const nbd = { type: 'nbd', id: `e-${key}`, 'node-name': `n-${key}`, name: key };
    add('--export', { ...nbd, writable: false, ...bitmaps });
  }
  options.push(...controlArguments(places.folder));
  return {
    command: 'qemu-storage-daemon',
    arguments: options,
    env: { GLIBC_TUNABLES },
    logPath: join(places.ownFolder, 'export.log'),
  };
}

/** Only for ending one whose process id was never written down. */
export function controlArguments(folder: string): readonly string[] {
  // Here a comma separates, and is doubled to be itself.
  const path = controlPath({ folder }).replaceAll(',', ',,');
  const chardev = `socket,id=control,path=${path},server=on,wait=off`;
  return ['--chardev', chardev, '--monitor', 'chardev=control'];
}

/** Resolves when the socket accepts. Throws `freeze-failed` with the server's own words when it ends instead. */
export async function waitForExport(
  { processes, clock }: FreezeContext,
  request: {
    readonly places: FreezePlaces;
    readonly process: ProcessIdentity;
    readonly vm: string;
  },
  options: CallOptions,
): Promise<void> {
  const { places, process, vm } = request;
  const began = clock.monotonicMs();
  while (!(await accepts(places.socketPath))) {
    const isLate = clock.monotonicMs() - began > READY_DEADLINE_MS;
    if (isLate || !(await processes.isAlive(process))) {
      const log = await readFile(join(places.ownFolder, 'export.log'), 'utf8').catch(() => '');
      const words = log.trim().split('\n').at(-1)?.slice(-1000) || 'the export did not start';
      throw new UnderstudyError('freeze-failed', { vm, reason: words });
    }
    await clock.sleep(POLL_MS, options);
  }
}

/**
 * Asks an export whose process nobody knows to quit, and waits until it is gone. None is success. One that does not
 * answer is not waited for: it only reads, and its sockets go with their folder.
 */
export async function endExport(
  { clock }: Pick<FreezeContext, 'clock'>,
  places: Pick<FreezePlaces, 'folder'>,
): Promise<void> {
  const isOver = new AbortController();
  const socket = connect(controlPath(places));
  const closed = new Promise<void>((resolve) => {
    // No such socket, or nobody behind it: it does not run. `close` follows.
    socket.once('error', () => {});
    socket.once('close', () => resolve());
    socket.once('connect', () => {
      socket.write('{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n');
      socket.resume();
    });
  });
  const late = clock.sleep(QUIT_TIMEOUT_MS, { signal: isOver.signal }).then(
    () => socket.destroy(),
    () => {},
  );
  await closed;
  isOver.abort();
  await late;
}

function controlPath({ folder }: Pick<FreezePlaces, 'folder'>): string {
  return join(folder, 'qmp');
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
