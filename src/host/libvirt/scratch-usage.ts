import { lstat, readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes that the files of a freeze occupy; holes do not count. A file that vanishes meanwhile counts as nothing. */
export async function usedBytes(folder: string): Promise<number> {
  let total = 0;
  for (const name of await readdir(folder).catch(() => [])) {
    const file = await lstat(join(folder, name)).catch(() => null);
    total += (file?.blocks ?? 0) * 512;
  }
  return total;
}

/** What an ordinary user may still write there: QEMU is one. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
