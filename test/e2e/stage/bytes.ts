/** Compares contents with programs that share nothing with ours: qemu-img, nbdcopy and sha256sum. */
import assert from 'node:assert/strict';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../../src/rig/command.ts';

export interface Image {
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
}

/** Every byte, and the size. @throws Error with what qemu-img says, such as the first offset that differs. */
export async function requireSameContent(expected: Image, actual: Image): Promise<void> {
  const sizes = await Promise.all([virtualSize(expected), virtualSize(actual)]);
  assert.equal(sizes[1], sizes[0], `size of ${actual.path}`);
  const formats = ['-f', expected.format, '-F', actual.format];
  // `-U`: a sealed layer may be served, or the VM of a source disk that was compared before may run.
  await run('qemu-img', [
    'compare',
    '-q',
    '-U',
    ...formats,
    '--',
    expected.path,
    actual.path,
  ]).catch(async (error: unknown) => {
    const first = await run('qemu-img', [
      'compare',
      '-U',
      ...formats,
      '--',
      expected.path,
      actual.path,
    ]).catch((complaint: unknown) => String(complaint));
    throw new Error(`${actual.path} differs from ${expected.path}: ${first}`, { cause: error });
  });
}

export async function virtualSize({ path, format }: Image): Promise<number> {
  const output = await run('qemu-img', ['info', '-U', '--output=json', '-f', format, '--', path]);
  return JSON.parse(output)['virtual-size'];
}

/** Reads a whole image by itself. */
export async function sha256(image: Image): Promise<string> {
  const copy = `${image.path}.sha256-copy`;
  try {
    const formats = ['-f', image.format, '-O', 'raw'];
    await run('qemu-img', ['convert', '-U', ...formats, '--', image.path, copy]);
    return (await run('sha256sum', ['--', copy])).split(' ')[0]?.replace('\\', '') ?? '';
  } finally {
    await rm(copy, { force: true });
  }
}

/**
 * Copies the frozen view of each disk that QEMU (or a storage daemon) exports on `socketPath`.
 * @throws Error when the export goes away before the copy is complete.
 */
export async function copyFrozen(
  socketPath: string,
  keys: readonly string[],
  folder: string,
): Promise<ReadonlyMap<string, Image>> {
  await mkdir(folder, { recursive: true });
  const copies = new Map<string, Image>();
  for (const key of keys) {
    const path = join(folder, `${key}.raw`);
    const uri = `nbd+unix:///${key}?socket=${encodeURIComponent(socketPath)}`;
    await run('nbdcopy', ['--', uri, path]);
    copies.set(key, { path, format: 'raw' });
  }
  return copies;
}
