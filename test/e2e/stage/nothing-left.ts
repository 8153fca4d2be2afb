/**
 * Looks, past the product, for what must not outlive an operation: scratch and sockets, storage daemons, half-made
 * layers, backup jobs, change marks. What a failed run left to the sweeper may take the sweeper's period to go.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { PointAnswer } from '../../../src/contract/point.ts';
import type { PrivateHost } from '../../../src/rig/private-host.ts';
import { commandLineOf, listProcesses } from '../../../src/rig/processes.ts';

export interface Places {
  readonly production: PrivateHost;
  readonly scratchFolders: readonly string[];
  readonly storageFolder: string;
  readonly runtimeFolder: string;
}

export interface Kept {
  readonly vmId: string;
  readonly replicaId: string;
  /** All of the replica, oldest first. */
  readonly points: readonly PointAnswer[];
}

/** Sentences; empty when nothing is left over. Layers that retention keeps hidden would be reported, too. */
export async function leftovers(places: Places, kept: readonly Kept[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const folder of places.scratchFolders) {
    found.push(...(await namesIn(folder)).map((name) => `scratch ${join(folder, name)}`));
  }
  found.push(...(await sessionsIn(places.runtimeFolder)));
  found.push(...storageDaemons(places));
  for (const one of kept) {
    found.push(...(await strayFiles(places.storageFolder, one)));
    found.push(...(await strayMarks(places.production, one)));
    found.push(...(await activeJob(places.production, one)));
  }
  return found;
}

async function sessionsIn(runtimeFolder: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const host of await namesIn(runtimeFolder)) {
    const sessions = await namesIn(join(runtimeFolder, host));
    found.push(...sessions.map((name) => `session ${join(runtimeFolder, host, name)}`));
  }
  return found;
}

/** Those that serve something of this stage. */
function storageDaemons({ storageFolder, scratchFolders, runtimeFolder }: Places): string[] {
  const places = [storageFolder, runtimeFolder, ...scratchFolders];
  return storageDaemonsOf(places).map((pid) => `storage daemon ${pid}`);
}

/** Process ids of storage daemons whose command line names one of these folders. */
export function storageDaemonsOf(folders: readonly string[]): readonly number[] {
  return listProcesses().filter((pid) => {
    const [program = '', ...args] = commandLineOf(pid);
    if (!program.endsWith('qemu-storage-daemon')) return false;
    return args.some((argument) => folders.some((folder) => argument.includes(`${folder}/`)));
  });
}

async function strayFiles(storage: string, { replicaId, points }: Kept): Promise<string[]> {
  const layers = join(storage, replicaId, 'layers');
  const expected = new Map<string, string>();
  for (const { layerId, key } of points.flatMap(({ disks }) => disks)) expected.set(layerId, key);
  const found: string[] = [];
  for (const layer of await namesIn(layers)) {
    const key = expected.get(layer);
    if (key === undefined) found.push(`layer ${join(layers, layer)} of no point`);
    const wanted = [`${key}.hash`, `${key}.qcow2`];
    const strays = (await namesIn(join(layers, layer))).filter((name) => !wanted.includes(name));
    if (key !== undefined) found.push(...strays.map((name) => `file ${join(layers, layer, name)}`));
  }
  return found;
}

/** At most the newest point's mark may be there; a VM that was undefined has none. */
async function strayMarks(production: PrivateHost, { vmId, points }: Kept): Promise<string[]> {
  const listed = await production.virsh(['checkpoint-list', '--domain', vmId, '--name']);
  const allowed = new Set(points.at(-1)?.disks.map(({ mark }) => mark));
  const marks = listed.split('\n').filter((line) => line.startsWith('us-') && !allowed.has(line));
  return marks.map((mark) => `change mark ${mark}`);
}

async function activeJob(production: PrivateHost, { vmId }: Kept): Promise<string[]> {
  const state = await production.virsh(['domstate', '--domain', vmId]);
  if (state.trim() === 'shut off') return [];
  const job = await production.virsh(['domjobinfo', '--domain', vmId]);
  return /Job type:\s+None/.test(job) ? [] : [`job of VM ${vmId}: ${job.trim()}`];
}

async function namesIn(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch(() => []);
}
