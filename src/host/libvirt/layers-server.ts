/**
 * Serves working layers for writing, and the disks below them read-only with what changed since a mark: one
 * `qemu-storage-daemon` per failback, found again and ended by its recorded identity; one whose starter died before it could
 * write that down is asked to quit by its control socket, whose path nobody else has.
 *
 *   <runtimeFolder>/fb-<hash>/nbd   the socket of the exports
 *   <runtimeFolder>/fb-<hash>/qmp   its control socket
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import type { BlockEndpoint } from '../../ports/mover.ts';
import type { Processes } from '../../ports/processes.ts';
import { isThere } from '../is-there.ts';
import { GLIBC_TUNABLES, WHOLE_TABLES } from '../nbd-server-tuning.ts';
import {
  type LaidLayer,
  type LayersPlaces,
  type LayersRecord,
  writeLayers,
} from './layers-record.ts';
import { controlArguments, endExport } from './offline-export.ts';
import { syncFile } from './sync.ts';

export type LayersServer = {
  readonly processes: Processes;
  readonly clock: Clock;
  /** Private and short: a socket's path has at most 107 bytes. */
  readonly runtimeFolder: string;
  /** For tests: called by name at every line where dying must do no harm. */
  readonly crashPoint: (name: string) => void;
};

const READY_DEADLINE_MS = 10_000;
const POLL_MS = 20;
/** Ending flushes what the page cache holds; the mover flushed before, so this is a bound, not a wait. */
const END_GRACE_MS = 120_000;

/** A layer's export is called like its disk, that of the disk below like this. */
const BELOW = '-below';

export type Served = {
  readonly layer: BlockEndpoint;
  readonly below: BlockEndpoint;
};

/** `marks`: of each disk below the bitmap that is exported with it. Addresses hold until the server ends. */
export async function serveLayers(
  server: LayersServer,
  { places, record }: { readonly places: LayersPlaces; readonly record: LayersRecord },
  marks: ReadonlyMap<string, string>,
  options: CallOptions,
): Promise<{ readonly record: LayersRecord; readonly of: (key: string) => Served }> {
  const ended = await endServer(server, { places, record }, options);
  const folder = socketFolder(server, places);
  const socket = join(folder, 'nbd');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await rm(places.serverLogPath, { force: true });
  const process = await server.processes.startDaemon({
    command: 'qemu-storage-daemon',
    arguments: [
      ...controlArguments(folder),
      ...serverArguments(socket, ended.layers, { marks, blockDevices: await devices(ended) }),
    ],
    env: { GLIBC_TUNABLES },
    logPath: places.serverLogPath,
  });
  server.crashPoint('serve: started');
  const serving = await writeLayers(places, { ...ended, process });
  await untilReady(server, { places, socket, record: serving }, options);
  const address = { type: 'unix', path: socket } as const;
  return {
    record: serving,
    of: (key) => ({
      layer: { address, exportName: key },
      below: { address, exportName: `${key}${BELOW}` },
    }),
  };
}

/** Ends it, and makes what was written durable. None running is success. */
export async function endServer(
  server: LayersServer,
  { places, record }: { readonly places: LayersPlaces; readonly record: LayersRecord },
  options: CallOptions,
): Promise<LayersRecord> {
  const { process, layers } = record;
  const folder = socketFolder(server, places);
  if (process !== null) await server.processes.end(process, END_GRACE_MS, options);
  else if (await isThere(folder)) await endExport(server, { folder });
  else return record;
  for (const { path } of layers) if (await isThere(path)) await syncFile(path);
  await rm(folder, { recursive: true, force: true });
  return writeLayers(places, { ...record, process: null });
}

async function devices({ layers }: LayersRecord): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const { key, below } of layers) {
    if (below !== null && (await stat(below.path)).isBlockDevice()) found.add(key);
  }
  return found;
}

function socketFolder({ runtimeFolder }: LayersServer, { folder }: LayersPlaces): string {
  const name = createHash('sha256').update(folder).digest('hex').slice(0, 12);
  return join(runtimeFolder, `fb-${name}`);
}

/** Pure. Every value that is not ours goes in as JSON, where no character has a meaning. */
export function serverArguments(
  socket: string,
  layers: readonly LaidLayer[],
  {
    marks,
    blockDevices,
  }: { readonly marks: ReadonlyMap<string, string>; readonly blockDevices: ReadonlySet<string> },
): readonly string[] {
  const options: string[] = [];
  const add = (option: string, value: object) => options.push(option, JSON.stringify(value));
  add('--nbd-server', { addr: { type: 'unix', path: socket }, 'max-connections': 0 });
  for (const [index, { key, path, below }] of layers.entries()) {
    const node = `layer${index}`;
    const lower = `below${index}`;
    if (below !== null) {
      const driver = blockDevices.has(key) ? 'host_device' : 'file';
      const file = { driver, filename: below.path, 'read-only': true };
      add('--blockdev', { driver: below.format, 'node-name': lower, 'read-only': true, file });
    }
    const file = { driver: 'file', filename: path, discard: 'unmap' };
    const backing = below === null ? null : lower;
    const image = { driver: 'qcow2', 'node-name': node, discard: 'unmap', ...WHOLE_TABLES };
    add('--blockdev', { ...image, file, backing });
    add('--export', { type: 'nbd', id: node, 'node-name': node, name: key, writable: true });
    if (below === null) continue;
    const mark = marks.get(key);
    const bitmaps = mark === undefined ? {} : { bitmaps: [mark] };
    const name = `${key}${BELOW}`;
    add('--export', {
      type: 'nbd',
      id: lower,
      'node-name': lower,
      name,
      writable: false,
      ...bitmaps,
    });
  }
  return options;
}

async function untilReady(
  { processes, clock }: LayersServer,
  {
    places,
    socket,
    record,
  }: { readonly places: LayersPlaces; readonly socket: string; readonly record: LayersRecord },
  options: CallOptions,
): Promise<void> {
  const began = clock.monotonicMs();
  const { process } = record;
  while (!(await accepts(socket))) {
    const isLate = clock.monotonicMs() - began > READY_DEADLINE_MS;
    if (isLate || process === null || !(await processes.isAlive(process))) {
      const log = await readFile(places.serverLogPath, 'utf8').catch(() => '');
      const reason = log.trim().split('\n').at(-1)?.slice(-1000) || 'it did not start';
      throw serverError(places, record, reason);
    }
    await clock.sleep(POLL_MS, options);
  }
}

function serverError(
  { folder }: LayersPlaces,
  { layers, vmId }: LayersRecord,
  reason: string,
): UnderstudyError {
  if (/Failed to get .*lock/i.test(reason)) {
    // QEMU names the file.
    const disk = layers.find(({ below, path }) =>
      [below?.path, path].some((it) => it && reason.includes(it)),
    );
    const details = { disk: disk?.key ?? 'unknown', vm: vmId ?? 'to be made', reason };
    return new UnderstudyError('disk-in-use', details);
  }
  return new UnderstudyError('image-command-failed', { action: 'serve', path: folder, reason });
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
