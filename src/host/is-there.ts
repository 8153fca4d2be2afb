import { stat } from 'node:fs/promises';

/** Only "there is no such file" is an answer; a folder that may not be looked into is an error. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}
