/**
 * The guest of all rig VMs: a 512 MiB disk that boots by itself from BIOS to an HTTP server in a few seconds.
 *
 *   MBR (syslinux) | partition 1: FAT16, syslinux + kernel + initial RAM disk | partition 2: ext4 root, busybox
 *
 * It is built without root and without loop devices, once per state of its sources: the folder name is a hash over
 * the files in guest/, this builder and the kernel version. What the guest does is told in guest/ledger.c.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { buildGuestDisk } from './guest-disk.ts';
import { ensureGuestPackages, type GuestPackages } from './guest-packages.ts';
import { buildInitialRamDisk, buildRootTree } from './guest-tree.ts';

export interface GuestImage {
  /** qcow2 without backing file. Copy it; never run a VM on it. */
  readonly systemDiskPath: string;
  readonly sizeBytes: number;
  readonly kernelVersion: string;
  /** Identifies sources and kernel. */
  readonly hash: string;
}

/** `.cache` of the repository, which version control ignores. */
export const defaultCacheFolder = join(import.meta.dirname, '..', '..', '.cache');

const guestSources = join(import.meta.dirname, 'guest');
const sizeBytes = 512 * 1024 * 1024;

/**
 * Returns the image, building it first when the cache lacks it. Safe to call from several processes at once: each
 * builds in a folder of its own and the first rename wins.
 */
export async function ensureGuestImage({
  cacheFolder = defaultCacheFolder,
  log = () => undefined,
  signal,
}: {
  cacheFolder?: string;
  log?: (line: string) => void;
  signal?: AbortSignal;
} = {}): Promise<GuestImage> {
  const folder = join(cacheFolder, 'guest');
  const moduleNames = await readModuleNames();
  const packages = await ensureGuestPackages({ cacheFolder: folder, moduleNames, log, signal });
  const hash = await hashSources(packages.kernelVersion);
  const image: GuestImage = {
    systemDiskPath: join(folder, hash, 'system.qcow2'),
    sizeBytes,
    kernelVersion: packages.kernelVersion,
    hash,
  };
  if (existsSync(image.systemDiskPath)) return image;
  log(`Building the disk image of the test VM (kernel ${packages.kernelVersion})`);
  await buildInto(join(folder, hash), { packages, moduleNames, signal });
  return image;
}

async function buildInto(
  target: string,
  parts: {
    packages: GuestPackages;
    moduleNames: readonly string[];
    signal: AbortSignal | undefined;
  },
): Promise<void> {
  const work = await mkdtemp(`${target}-`);
  try {
    const { packages, moduleNames, signal } = parts;
    const ramDisk = await buildInitialRamDisk({ work, packages, moduleNames, signal });
    const rootTree = await buildRootTree({ work, packages, signal });
    await mkdir(join(work, 'result'));
    await buildGuestDisk({
      work,
      bootFiles: [join(packages.folder, 'vmlinuz'), ramDisk, join(guestSources, 'syslinux.cfg')],
      rootTree,
      sizeBytes,
      target: join(work, 'result', 'system.qcow2'),
      signal,
    });
    await rename(join(work, 'result'), target).catch((error: unknown) => {
      // Another process has just published the same image.
      if (!existsSync(join(target, 'system.qcow2'))) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function readModuleNames(): Promise<string[]> {
  const text = await readFile(join(guestSources, 'modules.txt'), 'utf8');
  return text.split('\n').filter((line) => line !== '');
}

async function hashSources(kernelVersion: string): Promise<string> {
  const hash = createHash('sha256').update(kernelVersion);
  const builders = ['guest-image.ts', 'guest-tree.ts', 'guest-disk.ts'];
  const entries = await readdir(guestSources, { recursive: true, withFileTypes: true });
  const sources = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const path of [...builders.map((name) => join(import.meta.dirname, name)), ...sources]) {
    const content = await readFile(path);
    hash.update(`${path.slice(import.meta.dirname.length)}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex').slice(0, 16);
}
