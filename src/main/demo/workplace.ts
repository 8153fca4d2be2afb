/**
 * The one folder in which the demo leaves anything, and only while it runs: `.cache/demo/us-<process id>`, or in
 * /var/tmp where that place does not serve. What a demo left behind that was itself killed is cleared away by the next.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { defaultCacheFolder } from '../../rig/guest-image.ts';
import { endProcessesOf } from '../../rig/leftovers.ts';
import { commandLineOf, isAlive, listProcesses } from '../../rig/processes.ts';

const cachePlace = join(defaultCacheFolder, 'demo');
/** On disk, other than /tmp; passable for everybody; short. */
const elsewhere = '/var/tmp';

/** Base 36 keeps it short. */
const prefix = 'us-';
const radix = 36;

/** What a system daemon, QEMU and the server put below: 107 bytes of a socket's path, less the longest of those. */
const pathBytesMax = 50;

/** Returns the folder, made and empty. `log` hears of a place that is not the usual one. */
export async function openWorkplace(log: (line: string) => void): Promise<string> {
  const obstacle = await obstacleAt(cachePlace);
  const parent = obstacle === null ? cachePlace : elsewhere;
  const folder = join(parent, prefix + process.pid.toString(radix));
  if (obstacle !== null) log(`${obstacle}: the demo works in ${folder} instead`);
  await mkdir(parent, { recursive: true, mode: 0o755 });
  for (const name of await readdir(parent)) await clearAway(join(parent, name));
  // Not recursive: in a public place somebody else's folder must not be taken for ours.
  await mkdir(folder, { mode: process.getuid?.() === 0 ? 0o755 : 0o700 });
  return folder;
}

/** Ends what still runs there and deletes it; the parent too, when no other demo is using it. */
export async function closeWorkplace(folder: string): Promise<void> {
  await endProcessesOf(folder);
  await rm(folder, { recursive: true, force: true });
  // Not empty: another demo is at work.
  if (dirname(folder) === cachePlace) await rmdir(cachePlace).catch(() => undefined);
}

/** Whether neither a process nor a file of it is left. */
export function isAbandoned(folder: string): boolean {
  const namesIt = (pid: number): boolean =>
    pid !== process.pid && commandLineOf(pid).some((argument) => argument.includes(`${folder}/`));
  return !existsSync(folder) && !listProcesses().some(namesIt);
}

/** Removes a demo's folder if it is ours and its demo has ended. */
async function clearAway(folder: string): Promise<void> {
  const name = basename(folder);
  const pid = Number.parseInt(name.slice(prefix.length), radix);
  if (name !== prefix + pid.toString(radix) || isDemoRunning(pid)) return;
  if ((await stat(folder)).uid !== process.getuid?.()) return;
  await endProcessesOf(folder);
  await rm(folder, { recursive: true, force: true });
}

function isDemoRunning(pid: number): boolean {
  if (pid === process.pid || !isAlive(pid)) return false;
  return commandLineOf(pid).some((argument) => argument.endsWith('demo.ts'));
}

/** Why the demo cannot work there; null when it can. */
async function obstacleAt(place: string): Promise<string | null> {
  if (process.getuid?.() !== 0) return 'sockets of session daemons need a short path';
  if (Buffer.byteLength(place) > pathBytesMax) return `${place} is too long for sockets`;
  for (let path = dirname(defaultCacheFolder); path !== '/'; path = dirname(path)) {
    if (((await stat(path)).mode & 0o001) === 0) return `QEMU's own user cannot pass ${path}`;
  }
  return null;
}
