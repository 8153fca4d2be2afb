/**
 * The one folder in which the demo leaves anything, and only while it runs: `.cache/demo/<process id>`. What a demo
 * left behind that was itself killed is cleared away by the next.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { defaultCacheFolder } from '../../rig/guest-image.ts';
import { endProcessesOf } from '../../rig/leftovers.ts';
import { commandLineOf, isAlive, listProcesses } from '../../rig/processes.ts';

/** What the hosts put below it for their sockets: `/production/run/libvirt/libvirt-sock` and more for QEMU's own. */
const pathBytesMax = 60;

/** Where QEMU's own user cannot pass, or socket paths would be too long, this stands in. */
const elsewhere = '/var/tmp/understudy-demo';

/** @throws Error when the folder cannot be made. */
export async function openWorkplace(log: (line: string) => void): Promise<string> {
  const usual = join(defaultCacheFolder, 'demo');
  const obstacle = await obstacleAt(usual);
  if (obstacle !== null) log(`${obstacle}: the demo works in ${elsewhere} instead`);
  const parent = obstacle === null ? usual : elsewhere;
  await mkdir(parent, { recursive: true, mode: 0o755 });
  for (const name of await readdir(parent)) {
    if (!isDemoRunning(Number(name))) await closeWorkplace(join(parent, name));
  }
  const folder = join(parent, String(process.pid));
  await mkdir(folder, { recursive: true, mode: 0o755 });
  return folder;
}

/** Ends what still runs there and deletes it; the parent too, when no other demo is using it. */
export async function closeWorkplace(folder: string): Promise<void> {
  await endProcessesOf(folder);
  await rm(folder, { recursive: true, force: true });
  // Not empty: another demo is at work.
  await rmdir(dirname(folder)).catch(() => undefined);
}

/** Whether neither a process nor a file of it is left. */
export function isAbandoned(folder: string): boolean {
  const namesIt = (pid: number): boolean =>
    pid !== process.pid && commandLineOf(pid).some((argument) => argument.includes(`${folder}/`));
  return !existsSync(folder) && !listProcesses().some(namesIt);
}

async function obstacleAt(folder: string): Promise<string | null> {
  if (Buffer.byteLength(folder) > pathBytesMax) return `${folder} is too long for sockets`;
  if (process.getuid?.() !== 0) return null;
  for (let path = dirname(defaultCacheFolder); path !== '/'; path = dirname(path)) {
    if (((await stat(path)).mode & 0o001) === 0) return `QEMU's own user cannot pass ${path}`;
  }
  return null;
}

function isDemoRunning(pid: number): boolean {
  return (
    Number.isInteger(pid) &&
    pid !== process.pid &&
    isAlive(pid) &&
    commandLineOf(pid).some((argument) => argument.endsWith('demo.ts'))
  );
}
