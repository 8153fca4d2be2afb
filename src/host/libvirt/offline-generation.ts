/**
 * Whether a powered-off VM's disks were touched: any start changes them in a way that can be seen afterwards.
 *
 * QEMU marks its bitmaps as in use when it opens a qcow2 (mtime), and libvirt gives the file to QEMU's user and
 * back (ctime, which nobody can set). A raw disk that was opened but not written may differ in neither, and then
 * reads the same. For backing files ctime is left out: the start of any VM that shares them changes it.
 */
import { stat } from 'node:fs/promises';

export type FileGeneration = {
  readonly path: string;
  /** Device, inode, size and times in nanoseconds. */
  readonly seen: string;
};

/** `isShared`: a backing file. Throws what `stat` throws. */
export async function fileGeneration(
  path: string,
  { isShared }: { readonly isShared: boolean },
): Promise<FileGeneration> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  const seen = [dev, ino, size, mtimeNs, isShared ? 'shared' : ctimeNs].join(':');
  return { path, seen };
}

/** The paths that are no longer as they were, or cannot be looked at any more. */
export async function changedSince(generations: readonly FileGeneration[]): Promise<string[]> {
  const changed: string[] = [];
  for (const { path, seen } of generations) {
    const isShared = seen.endsWith(':shared');
    const now = await fileGeneration(path, { isShared }).catch(() => null);
    if (now?.seen !== seen) changed.push(path);
  }
  return changed;
}
