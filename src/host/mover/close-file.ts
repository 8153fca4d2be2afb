import type { FileHandle } from 'node:fs/promises';

/**
 * Lets go of a file that was written to. What is wanted of it was flushed, so that what the file system says only now (NFS: close(2)) is
 * no news, and must not stand in the place of an error that is.
 */
export async function closeFile(file: FileHandle): Promise<void> {
  await file.close().catch(() => {});
}
