/**
 * Lays out the guest's disk, as an ordinary user and without mounting anything:
 *
 *   0        1 MiB                  49 MiB                    end
 *   | MBR    | FAT16 (BOOT)         | ext4 (root)             |
 */
import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './command.ts';

const sectorBytes = 512;
const mebibyte = 1024 * 1024;
const bootStartBytes = mebibyte;
const bootSizeBytes = 48 * mebibyte;
const rootStartBytes = bootStartBytes + bootSizeBytes;
/** The partition table begins after the boot code of the MBR. */
const bootCodeBytes = 440;

/** Builds the disk in `work` and writes it as compact qcow2 to `target`. */
export async function buildGuestDisk({
  work,
  bootFiles,
  rootTree,
  sizeBytes,
  target,
  signal,
}: {
  work: string;
  bootFiles: readonly string[];
  rootTree: string;
  sizeBytes: number;
  target: string;
  signal: AbortSignal | undefined;
}): Promise<void> {
  const disk = join(work, 'disk.raw');
  await createSparse(disk, sizeBytes);
  await run('sfdisk', ['-q', disk], { signal, input: partitionTable() });
  const bootPartition = await buildBootPartition({ work, bootFiles, signal });
  const bootCode = await readFile('/usr/lib/syslinux/mbr/mbr.bin');
  await writeAt(disk, bootCode.subarray(0, bootCodeBytes), 0);
  await writeAt(disk, await readFile(bootPartition), bootStartBytes);
  const extended = `offset=${rootStartBytes},lazy_itable_init=1,root_owner=0:0`;
  const kibibytes = Math.floor((sizeBytes - rootStartBytes) / 1024);
  const options = ['-q', '-t', 'ext4', '-d', rootTree, '-L', 'root', '-E', extended];
  await run('mke2fs', [...options, disk, `${kibibytes}k`], { signal });
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', disk, target], { signal });
}

function partitionTable(): string {
  const start = bootStartBytes / sectorBytes;
  const size = bootSizeBytes / sectorBytes;
  const root = rootStartBytes / sectorBytes;
  return `label: dos\nstart=${start},size=${size},type=6,bootable\nstart=${root},type=83\n`;
}

async function buildBootPartition({
  work,
  bootFiles,
  signal,
}: {
  work: string;
  bootFiles: readonly string[];
  signal: AbortSignal | undefined;
}): Promise<string> {
  const partition = join(work, 'boot.img');
  await createSparse(partition, bootSizeBytes);
  await run('mkfs.fat', ['-F', '16', '-n', 'BOOT', partition], { signal });
  const env = { MTOOLS_SKIP_CHECK: '1' };
  await run('mcopy', ['-i', partition, ...bootFiles, '::'], { signal, env });
  await run('syslinux', ['--install', partition], { signal, env });
  return partition;
}

async function createSparse(path: string, sizeBytes: number): Promise<void> {
  await writeFile(path, '');
  await truncate(path, sizeBytes);
}

async function writeAt(path: string, bytes: Uint8Array, position: number): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.write(bytes, 0, bytes.length, position);
  } finally {
    await file.close();
  }
}
