/**
 * qemu-img, as the few commands that we need. Paths are absolute, so that none looks like an option or a
 * protocol; formats are always given.
 */
import { chmod, rename } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Processes } from '../../ports/processes.ts';
import { syncFile } from './durable-file.ts';
import { imageError } from './errors.ts';

/** A merge moves as much as a whole layer holds: hours on a slow disk are not a fault. */
const COMMIT_LIMIT_MS = 24 * 60 * 60 * 1000;

export interface Images {
  /** An empty image under its name at once and durably. `backing` is the relative name below it, not opened. */
  create(
    image: {
      readonly path: string;
      readonly sizeBytes: number;
      readonly backing: string | null;
      readonly mode: number;
    },
    options: CallOptions,
  ): Promise<void>;
  /** Writes all that the image holds into the one below it, growing that if needed. The image itself is not changed. */
  commit(path: string, options: CallOptions): Promise<void>;
  /**
   * Throws `image-in-use` when a program may write to the image: QEMU's own locks say so. One that is not there, or is
   * no image, is not in use.
   */
  requireUnused(path: string, options: CallOptions): Promise<void>;
  /** Says that the image lies over another name. Content is not looked at. */
  repoint(path: string, backing: string, options: CallOptions): Promise<void>;
}

/** Every command throws `target-full`, `image-in-use`, `image-command-failed`, and what `Processes.run` does. */
export function createImages({ processes }: { readonly processes: Processes }): Images {
  const run = async (
    command: {
      readonly action: string;
      readonly path: string;
      readonly arguments: readonly string[];
      readonly timeoutMs?: number;
    },
    options: CallOptions,
  ) => {
    const { action, path, ...rest } = command;
    const result = await processes.run({ command: 'qemu-img', ...rest }, options);
    if (result.exitCode !== 0) {
      throw imageError(action, path, result.stderr || (result.signal ?? ''));
    }
  };
  return {
    create: async ({ path, sizeBytes, backing, mode }, options) => {
      const unfinished = `${path}.new`;
      const over = backing === null ? [] : ['-u', '-b', backing, '-F', 'qcow2'];
      const args = ['create', '-q', '-f', 'qcow2', ...over, unfinished, String(sizeBytes)];
      await run({ action: 'create', path, arguments: args }, options);
      await chmod(unfinished, mode);
      await syncFile(unfinished);
      await rename(unfinished, path);
    },
    commit: (path, options) =>
      run(
        {
          action: 'merge',
          path,
          arguments: ['commit', '-q', '-d', '-f', 'qcow2', path],
          timeoutMs: COMMIT_LIMIT_MS,
        },
        options,
      ),
    requireUnused: async (path, options) => {
      try {
        await run({ action: 'look at', path, arguments: ['info', '-f', 'qcow2', path] }, options);
      } catch (error) {
        const code = error instanceof UnderstudyError ? error.code : null;
        if (code !== 'image-command-failed') throw error;
      }
    },
    repoint: (path, backing, options) =>
      run(
        {
          action: 'repoint',
          path,
          arguments: [
            ...['rebase', '-q', '-u', '-f', 'qcow2', '-F', 'qcow2'],
            ...['-b', backing, path],
          ],
        },
        options,
      ),
  };
}
