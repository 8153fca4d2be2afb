/**
 * What is known about the working layers of a failback outside this process, written before anything of them is made.
 *
 *   <storage>/failbacks/<id>/record.json    what was laid over which disks, and what the VM was before
 *   <storage>/failbacks/<id>/<disk>.qcow2   a working layer, or a disk that production had not got
 *   <storage>/failbacks/<id>/nvram          firmware variables that came with the replica
 *   <storage>/failbacks/<id>/kept-tpm.tar   the VM's own TPM state, while another is in its place
 */
import { chmod, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { UnderstudyError } from '../../domain/error.ts';
import {
  type DiskKey,
  type FailbackId,
  failbackId,
  type MarkName,
  type ReplicaId,
  type VmId,
} from '../../domain/ids.ts';
import type { ConfigurationChange } from '../../domain/vm/configuration-change.ts';
import type { ProcessIdentity } from '../../ports/processes.ts';
import * as text from '../file-parsing.ts';
import { syncFolder } from './sync.ts';

export type LaidLayer = {
  readonly key: DiskKey;
  readonly path: string;
  readonly sizeBytes: number;
  /** Production's disk; null for one that it has not got. */
  readonly below: { readonly path: string; readonly format: 'qcow2' | 'raw' } | null;
  readonly since: MarkName | null;
};

/**
 *   laid         the VM is parked, layers may be served
 *   attaching    the VM may be defined on the layers already
 *   attached     the VM is defined on the layers
 *   committing   layers are merged one by one; there is no way back
 *   committed    the VM has its own disks again; only disks of its own are left in the folder
 *   dropped      nothing runs on the layers any more: the VM is given its own disks, and files go
 */
export type LayersState = (typeof STATES)[number];

const STATES = ['laid', 'attaching', 'attached', 'committing', 'committed', 'dropped'] as const;

export type LayersRecord = {
  readonly format: 1;
  readonly replicaId: ReplicaId;
  readonly state: LayersState;
  /** The VM they were laid for, or that `attach` made; null until then. */
  readonly vmId: VmId | null;
  /** Its definition as it was; null for one that `attach` made. */
  readonly originalXml: string | null;
  readonly startsWithHost: boolean;
  readonly layers: readonly LaidLayer[];
  readonly mark: MarkName | null;
  readonly changes: readonly ConfigurationChange[];
  /** Firmware variables that came with the replica are beside this record. */
  readonly hasNvram: boolean;
  /** The server of the layers; null when none is meant to run. */
  readonly process: ProcessIdentity | null;
};

export type LayersPlaces = {
  readonly id: FailbackId;
  readonly folder: string;
  readonly recordPath: string;
  readonly nvramPath: string;
  readonly keptTpmPath: string;
  readonly serverLogPath: string;
  readonly layerPath: (key: DiskKey) => string;
  /** In a folder that never exists. */
  readonly parkedPath: (key: DiskKey) => string;
};

export function layersPlaces(storageFolder: string, id: FailbackId): LayersPlaces {
  const folder = join(storageFolder, 'failbacks', id);
  return {
    id,
    folder,
    recordPath: join(folder, 'record.json'),
    nvramPath: join(folder, 'nvram'),
    keptTpmPath: join(folder, 'kept-tpm.tar'),
    serverLogPath: join(folder, 'server.log'),
    layerPath: (key) => join(folder, `${key}.qcow2`),
    parkedPath: (key) => join(folder, 'parked', `${key}.qcow2`),
  };
}

const layerFile = z.object({
  key: text.diskKeyText,
  path: z.string(),
  sizeBytes: text.byteCount,
  below: z.object({ path: z.string(), format: z.enum(['qcow2', 'raw']) }).nullable(),
  since: text.markNameText.nullable(),
});

const fromTo = { fromBytes: text.byteCount, toBytes: text.byteCount };
const nic = { mac: z.string(), network: z.string() };

const changeFile: z.ZodType<ConfigurationChange> = z.discriminatedUnion('type', [
  z.object({ type: z.literal('memory'), ...fromTo }),
  z.object({ type: z.literal('cpus'), from: text.count, to: text.count }),
  z.object({ type: z.literal('nic-added'), ...nic }),
  z.object({ type: z.literal('nic-removed'), ...nic }),
  z.object({ type: z.literal('disk-added'), key: text.diskKeyText, sizeBytes: text.byteCount }),
  z.object({ type: z.literal('disk-removed'), key: text.diskKeyText }),
  z.object({ type: z.literal('disk-grown'), key: text.diskKeyText, ...fromTo }),
]);

const recordFile: z.ZodType<LayersRecord> = z.object({
  format: z.literal(1),
  replicaId: text.replicaIdText,
  state: z.enum(STATES),
  vmId: text.vmIdText.nullable(),
  originalXml: z.string().nullable(),
  startsWithHost: z.boolean(),
  layers: z.array(layerFile),
  mark: text.markNameText.nullable(),
  changes: z.array(changeFile),
  hasNvram: z.boolean(),
  process: text.processIdentity.nullable(),
});

/** Null when there is none. Throws `invalid-file`. */
export async function readLayers({ recordPath }: LayersPlaces): Promise<LayersRecord | null> {
  const content = await text.readJson(recordPath);
  return content === null ? null : text.parseFile(recordFile, content, recordPath);
}

/** Durable when it resolves. */
export async function writeLayers(
  { folder, recordPath }: LayersPlaces,
  record: LayersRecord,
): Promise<LayersRecord> {
  await makePassable(folder);
  await writeDurably(recordPath, JSON.stringify(record));
  return record;
}

/** Failbacks that have a folder. */
export async function laidFailbacks(storageFolder: string): Promise<readonly FailbackId[]> {
  let names: readonly string[];
  try {
    names = await readdir(join(storageFolder, 'failbacks'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
  return names.filter((name) => FAILBACK.test(name)).map(failbackId);
}

const FAILBACK = /^fb-[a-z0-9-]+$/;

/** The record goes last: while anything is left, it can be found. Files with no name of ours stay beside disks that are kept. */
export async function removeLayers(
  places: LayersPlaces,
  { layers }: LayersRecord,
  { keepsDisks }: { readonly keepsDisks: boolean },
): Promise<void> {
  for (const { path, below } of layers) {
    if (below !== null || !keepsDisks) await rm(path, { force: true });
  }
  // What was written only in part goes, too: a write that was cut off is not always repeated.
  const ours = [places.keptTpmPath, `${places.keptTpmPath}.new`, places.serverLogPath];
  for (const path of [...ours, `${places.recordPath}.new`]) await rm(path, { force: true });
  if (keepsDisks) await rm(places.recordPath, { force: true });
  else await removeFolder(places);
}

async function removeFolder({ folder, nvramPath, recordPath }: LayersPlaces): Promise<void> {
  await rm(nvramPath, { force: true });
  await rm(recordPath, { force: true });
  await rm(folder, { recursive: true, force: true });
}

/** QEMU, which runs as another user, passes through to its disks, whatever our umask. */
async function makePassable(folder: string): Promise<void> {
  const made = await mkdir(folder, { recursive: true, mode: 0o711 });
  if (made === undefined) return;
  // `made` is the first of the folders that was missing; at most `failbacks` and one below it.
  for (let path = folder; path.startsWith(made); path = dirname(path)) await chmod(path, 0o711);
  await syncFolder(dirname(folder));
}

async function writeDurably(path: string, content: string): Promise<void> {
  const temporary = `${path}.new`;
  try {
    await using file = await open(temporary, 'w', 0o600);
    await file.writeFile(content);
    await file.sync();
  } catch (error) {
    // Half a file would take the last bytes of a full disk.
    await rm(temporary, { force: true });
    const isFull = error instanceof Error && 'code' in error && error.code === 'ENOSPC';
    if (!isFull) throw error;
    const details = { path: dirname(path), reason: 'it is full' };
    throw new UnderstudyError('target-full', details, error);
  }
  await rename(temporary, path);
  await syncFolder(dirname(path));
}
