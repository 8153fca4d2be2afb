/**
 * Files that survive a crash at any line. A name appears by rename, after its content was made durable and
 * before its folder is; so a reader finds the old file, or the new one, never half of one.
 */
import { chmod, copyFile, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isNodeError, isNoSpace } from './errors.ts';

/** Replaces the file at once and durably. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  try {
    await using handle = await open(temporary, 'w', 0o644);
    await handle.writeFile(text);
    await handle.datasync();
  } catch (error) {
    // Half a file would take the last bytes of a full disk, and nobody wants it.
    await rm(temporary, { force: true });
    throw error;
  }
  await rename(temporary, path);
  await syncFolder(dirname(path));
}

/**
 * For a write that comes before something is removed. On a full disk the order is turned round, or nothing could ever be
 * removed: `remove` must be safe to do first, too.
 */
export async function writeOrRemoveFirst(
  write: () => Promise<void>,
  remove: () => Promise<void>,
): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (!isNoSpace(error)) throw error;
    await remove();
    await write();
  }
}

export function writeJson(path: string, value: unknown): Promise<void> {
  return writeDurably(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** Makes what was written to a file durable, whoever wrote it. */
export async function syncFile(path: string): Promise<void> {
  await using handle = await open(path, 'r');
  await handle.datasync();
}

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  await using handle = await open(path, 'r');
  await handle.sync();
}

/** Makes a folder with exactly this mode, whatever the umask. An existing one is success. */
export async function makeFolder(path: string, mode: number): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode });
  if (made === undefined) return;
  await chmod(path, mode);
  await syncFolder(dirname(path));
}

/** Copies a file durably; the folder is left to the caller. An existing target is replaced. */
export async function copyDurably(from: string, to: string, mode: number): Promise<void> {
  const temporary = `${to}.new`;
  await rm(temporary, { force: true });
  await copyFile(from, temporary);
  await chmod(temporary, mode);
  await syncFile(temporary);
  await rename(temporary, to);
}

/**
 * Takes a folder away at once by renaming it, then removes what was in it. `gonePath` must be its sibling
 * and may hold the rest of an earlier, interrupted removal.
 */
export async function removeFolder(path: string, gonePath: string): Promise<void> {
  await rm(gonePath, { recursive: true, force: true });
  try {
    await rename(path, gonePath);
  } catch (error) {
    if (!isNodeError(error, 'ENOENT')) throw error;
    return;
  }
  await syncFolder(dirname(path));
  await rm(gonePath, { recursive: true, force: true });
}

/** Gives a complete folder its name at once and durably; content first. */
export async function renameFolder(path: string, name: string): Promise<void> {
  await syncFolder(path);
  await rename(path, name);
  await syncFolder(dirname(name));
}
