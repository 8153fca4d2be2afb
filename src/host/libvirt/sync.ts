/** Making durable what is written already, by whomever: a power cut right after it loses nothing of it. */
import { open, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** The content of a file. */
export async function syncFile(path: string): Promise<void> {
  await using file = await open(path, 'r');
  await file.sync();
}

/** The names in a folder. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r');
  await folder.sync();
}

/** A file of ours, and its name. */
export async function syncWithName(path: string): Promise<void> {
  await syncFile(path);
  await syncFolder(dirname(path));
}

/** A folder with all files and folders in it. Nothing else in it is touched: opening a pipe would wait for its other end. */
export async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isFile()) await syncFile(path);
    if (entry.isDirectory()) await syncTree(path);
  }
  await syncFolder(folder);
}
