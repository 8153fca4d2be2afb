/**
 * Runs a program on a machine that seems to have another libvirt and QEMU installed:
 *
 *   node src/rig/with-root.ts FOLDER PROGRAM [ARGUMENT...]
 *
 * FOLDER holds an unpacked system, as fetch-root.ts makes one. Its `usr` is laid over the machine's in a mount namespace
 * of the program's own: the daemons and QEMUs of private hosts, virsh, qemu-img and qemu-storage-daemon all come from
 * there, and nobody else sees it. Needs root and overlayfs. The program finds the folder in UNDERSTUDY_RIG_ROOT.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { rigPath, run } from './command.ts';

const INSIDE = 'UNDERSTUDY_RIG_ROOT';

const [folder, program, ...args] = process.argv.slice(2);
if (folder === undefined || program === undefined) {
  console.error('usage: node src/rig/with-root.ts FOLDER PROGRAM [ARGUMENT...]');
  process.exitCode = 64;
} else if (process.env[INSIDE] === undefined) {
  const root = resolve(folder);
  if (!existsSync(join(root, 'usr'))) throw new Error(`${root} holds no system`);
  const again = [process.execPath, import.meta.filename, root, program, ...args];
  await become('unshare', ['--mount', '--propagation', 'private', '--', ...again], root);
} else {
  // A colon or comma in the path would end it: mount(8) says so, and gives no way to quote.
  if (/[:,\\]/.test(folder)) throw new Error(`${folder} cannot be a layer of overlayfs`);
  const layers = `lowerdir=${join(folder, 'usr')}:/usr`;
  await run('mount', ['-t', 'overlay', '-o', layers, 'overlay', '/usr']);
  await replaceModules(folder);
  await become(program, args, folder);
}

/** A daemon loads all modules in its folder, and refuses those of another version that the new one no longer has. */
async function replaceModules(root: string): Promise<void> {
  for (const architecture of await readdir(join(root, 'usr', 'lib'))) {
    for (const name of ['libvirt', 'qemu']) {
      const place = join('usr', 'lib', architecture, name);
      if (!architecture.includes('-linux-') || !existsSync(join(root, place))) continue;
      await run('mount', ['--bind', join(root, place), join('/', place)]);
    }
  }
}

/** Ends as the program does. */
async function become(name: string, words: readonly string[], root: string): Promise<void> {
  const env = { ...process.env, PATH: rigPath, [INSIDE]: root };
  const child = spawn(name, words, { env, stdio: 'inherit' });
  // An interrupt at the terminal reaches the child by itself; we wait for what it makes of it.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  const { promise, resolve: end, reject } = Promise.withResolvers<number>();
  child.once('error', reject);
  child.once('close', (code, signal) => end(code ?? 128 + constants.signals[signal ?? 'SIGKILL']));
  process.exitCode = await promise;
}
