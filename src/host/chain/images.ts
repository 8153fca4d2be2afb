/**
 * qemu-img, as the few commands that we need, and empty images, which need none. Paths are absolute, so that none looks like an option or a
 * protocol; formats are always given.
 */
import { type FileHandle, open, rename } from 'node:fs/promises';
import { z } from 'zod';
import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Processes } from '../../ports/processes.ts';
import { WHOLE_TABLES } from '../nbd-server-tuning.ts';
import { emptyImage } from './empty-image.ts';
import { imageError, throwIfCancelled } from './errors.ts';

/** A merge moves as much as a whole layer holds: hours on a slow disk are not a fault. */
const COMMIT_LIMIT_MS = 24 * 60 * 60 * 1000;

export type ImageAbout = {
  readonly virtualSizeBytes: number;
  readonly backing: string | null;
  readonly isEncrypted: boolean;
  /** A qcow2 whose content is in a file beside it. */
  readonly hasOtherFile: boolean;
};

const about = z.object({
  'virtual-size': z.int().nonnegative(),
  'backing-filename': z.string().optional(),
  encrypted: z.boolean().optional(),
  'format-specific': z
    .object({ data: z.object({ 'data-file': z.string().optional() }).optional() })
    .optional(),
});

export interface Images {
  /**
   * An empty image under its name at once and durably. `backing` is the relative name below it, not opened. `bitmap`:
   * one that records everything from the beginning.
   */
  create(
    image: {
      readonly path: string;
      readonly sizeBytes: number;
      readonly backing: string | null;
      readonly mode: number;
      readonly bitmap?: string | null;
    },
    options: CallOptions,
  ): Promise<void>;
  /** Puts what a bitmap of another image has into one of the same size. Throws `image-command-failed` when there is none. */
  mergeBitmap(
    bitmap: { readonly path: string; readonly name: string },
    from: { readonly path: string; readonly name: string },
    options: CallOptions,
  ): Promise<void>;
  removeBitmap(
    bitmap: { readonly path: string; readonly name: string },
    options: CallOptions,
  ): Promise<void>;
  /** Writes all that the image holds into the one below it, growing that if needed. The image itself is not changed. */
  commit(path: string, options: CallOptions): Promise<void>;
  /**
   * Throws `image-in-use` when a program may write to the image: QEMU's own locks say so. One that is not there, or is
   * no image, is not in use.
   */
  requireUnused(path: string, options: CallOptions): Promise<void>;
  /** What an image file of any format says of itself. Throws `image-in-use` as `requireUnused`. */
  describe(path: string, format: string, options: CallOptions): Promise<ImageAbout>;
  /** Says that the image lies over another name. Content is not looked at. */
  repoint(path: string, backing: string, options: CallOptions): Promise<void>;
}

type ImageCommand = {
  readonly action: string;
  readonly path: string;
  readonly arguments: readonly string[];
  readonly timeoutMs?: number;
};

/** Every command throws `target-full`, `image-in-use`, `image-command-failed`, and what `Processes.run` does. */
export function createImages({ processes }: { readonly processes: Processes }): Images {
  const ask = async (command: ImageCommand, options: CallOptions): Promise<string> => {
    const { action, path, ...rest } = command;
    const result = await processes.run({ command: 'qemu-img', ...rest }, options);
    if (result.exitCode !== 0) {
      throw imageError(action, path, result.stderr || (result.signal ?? ''));
    }
    return result.stdout;
  };
  const run = async (command: ImageCommand, options: CallOptions): Promise<void> => {
    await ask(command, options);
  };
  return {
    create: async ({ path, sizeBytes, backing, mode, bitmap = null }, { signal }) => {
      throwIfCancelled(signal);
      const unfinished = `${path}.new`;
      const { parts, fileBytes } = emptyImage({ sizeBytes, backing, bitmap });
      {
        await using handle = await open(unfinished, 'w', mode);
        for (const part of parts) await writeAll(handle, part);
        await handle.truncate(fileBytes);
        await handle.chmod(mode);
        await handle.datasync();
      }
      await rename(unfinished, path);
    },
    mergeBitmap: ({ path, name }, from, options) =>
      run(
        {
          action: 'merge a bitmap of',
          path,
          arguments: ['bitmap', '--merge', from.name, '-b', from.path, '-F', 'qcow2', path, name],
        },
        options,
      ),
    removeBitmap: ({ path, name }, options) =>
      run(
        { action: 'clean', path, arguments: ['bitmap', '--remove', '-f', 'qcow2', path, name] },
        options,
      ),
    commit: (path, options) =>
      run(
        {
          action: 'merge',
          path,
          arguments: ['commit', '-q', '-d', ownImage(path)],
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
    describe: async (path, format, options) => {
      const told = await ask(
        { action: 'look at', path, arguments: ['info', '--output=json', '-f', format, path] },
        options,
      );
      const found = about.parse(JSON.parse(told));
      return {
        virtualSizeBytes: found['virtual-size'],
        backing: found['backing-filename'] ?? null,
        isEncrypted: found.encrypted ?? false,
        hasOtherFile: found['format-specific']?.data?.['data-file'] !== undefined,
      };
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

/** All that a layer holds is looked for, in tables of which each is read at once. */
function ownImage(path: string): string {
  const file = { driver: 'file', filename: path };
  return `json:${JSON.stringify({ driver: 'qcow2', ...WHOLE_TABLES, file })}`;
}

async function writeAll(
  handle: FileHandle,
  { offset, bytes }: { readonly offset: number; readonly bytes: Buffer },
): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    at += (await handle.write(bytes, at, bytes.length - at, offset + at)).bytesWritten;
  }
}
