/**
 * Change marks in the header of a qcow2 file, for a VM that is off. Reading takes no lock. Adding or removing one takes
 * the file's write lock for some 5 ms, like any program that changes it; a start of the VM at
 * that very moment is refused by QEMU's own locking, and the next try works.
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { CommandResult, Processes } from '../../ports/processes.ts';

export type HeaderBitmap = {
  readonly name: string;
  /** QEMU did not close it, as after a crash: its contents are void. While QEMU runs all of them look so. */
  readonly isInUse: boolean;
  /** It goes on recording when QEMU opens the file. */
  readonly isRecording: boolean;
};

export type ImageHeader = {
  readonly sizeBytes: number;
  readonly bitmaps: readonly HeaderBitmap[];
  /** Resolved path of the backing file, null without one. */
  readonly backingPath: string | null;
};

/** Throws `freeze-failed` when it cannot be read. The format is given, never guessed. */
export async function readImageHeader(
  processes: Processes,
  { path, format, vm }: { readonly path: string; readonly format: string; readonly vm: string },
  options: CallOptions,
): Promise<ImageHeader> {
  const command = ['info', '--force-share', '--output=json', '-f', format, '--', path];
  const result = await processes.run({ command: 'qemu-img', arguments: command }, options);
  if (result.exitCode !== 0) throw imageError(vm, result);
  return parseImageHeader(result.stdout);
}

export function parseImageHeader(text: string): ImageHeader {
  const image = JSON.parse(text) as {
    'virtual-size': number;
    'full-backing-filename'?: string;
    'format-specific'?: { data?: { bitmaps?: { name: string; flags: string[] }[] } };
  };
  const bitmaps = image['format-specific']?.data?.bitmaps ?? [];
  return {
    sizeBytes: image['virtual-size'],
    backingPath: image['full-backing-filename'] ?? null,
    bitmaps: bitmaps.map(({ name, flags }) => ({
      name,
      isInUse: flags.includes('in-use'),
      isRecording: flags.includes('auto'),
    })),
  };
}

export type BitmapChange = {
  readonly action: 'add' | 'remove';
  readonly path: string;
  readonly name: string;
  readonly vm: string;
};

/** Throws `disk-in-use` when somebody has the file open for writing, else `freeze-failed`. */
export async function changeBitmap(
  processes: Processes,
  { action, path, name, vm }: BitmapChange,
  options: CallOptions,
): Promise<void> {
  const command = ['bitmap', `--${action}`, '-f', 'qcow2', '--', path, name];
  const result = await processes.run({ command: 'qemu-img', arguments: command }, options);
  if (result.exitCode !== 0) throw imageError(vm, result, path);
}

function imageError(vm: string, { stderr }: CommandResult, disk = '?'): UnderstudyError {
  const reason = (stderr.trim().split('\n')[0] ?? '').slice(0, 1000);
  if (/Failed to get .*lock/i.test(stderr)) {
    return new UnderstudyError('disk-in-use', { disk, vm, reason: 'another program writes to it' });
  }
  return new UnderstudyError('freeze-failed', { vm, reason });
}
