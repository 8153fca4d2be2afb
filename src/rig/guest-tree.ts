/** The two file trees of the guest: the initial RAM disk and the root file system, made from guest/ and packages. */
import { chmod, copyFile, cp, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type RunOptions, rigPath, run } from './command.ts';
import type { GuestPackages } from './guest-packages.ts';

const sources = join(import.meta.dirname, 'guest');
const rootFolders =
  'bin sbin usr/bin usr/sbin proc sys dev tmp run var etc/qemu mnt data lib lib64 root';

/** Returns the path of `initrd.gz`. The modules are loaded in the order of guest/modules.txt. */
export async function buildInitialRamDisk({
  work,
  packages,
  moduleNames,
  signal,
}: {
  work: string;
  packages: GuestPackages;
  moduleNames: readonly string[];
  signal: AbortSignal | undefined;
}): Promise<string> {
  const tree = join(work, 'initrd');
  for (const folder of ['bin', 'proc', 'sys', 'dev', 'new', 'modules']) {
    await mkdir(join(tree, folder), { recursive: true });
  }
  await copyExecutable(await findBusybox(), join(tree, 'bin', 'busybox'));
  for (const applet of ['sh', 'mount', 'insmod', 'sleep', 'switch_root', 'echo']) {
    await symlink('busybox', join(tree, 'bin', applet));
  }
  await copyExecutable(join(sources, 'initramfs-init'), join(tree, 'init'));
  await copyFile(join(sources, 'modules.txt'), join(tree, 'modules.txt'));
  for (const name of moduleNames) {
    await copyFile(
      join(packages.folder, 'modules', `${name}.ko`),
      join(tree, 'modules', `${name}.ko`),
    );
  }
  const names = await readdir(tree, { recursive: true });
  const archive = join(work, 'initrd');
  await run('cpio', ['-o', '-H', 'newc', '-R', '0:0', '--quiet', '-F', `${archive}.cpio`], {
    signal,
    cwd: tree,
    input: `${names.join('\n')}\n`,
  });
  await run('gzip', ['-9', '-k', '-S', '.gz', `${archive}.cpio`], { signal });
  await copyFile(`${archive}.cpio.gz`, join(work, 'initrd.gz'));
  return join(work, 'initrd.gz');
}

/** Returns the folder that becomes the ext4 root. */
export async function buildRootTree({
  work,
  packages,
  signal,
}: {
  work: string;
  packages: GuestPackages;
  signal: AbortSignal | undefined;
}): Promise<string> {
  const tree = join(work, 'root');
  for (const folder of rootFolders.split(' ')) await mkdir(join(tree, folder), { recursive: true });
  await symlink('/run', join(tree, 'var', 'run'));
  await installBusybox(tree, { signal });
  await cp(join(sources, 'root'), tree, { recursive: true });
  for (const path of ['etc/rcS', 'sbin/shutdown']) await chmod(join(tree, path), 0o755);
  for (const name of await readdir(join(sources, 'root', 'usr', 'sbin'))) {
    await chmod(join(tree, 'usr', 'sbin', name), 0o755);
  }
  await cp(join(packages.folder, 'agent'), tree, { recursive: true });
  await compile('ledger', tree, { signal });
  await compile('pwrbtn', tree, { signal });
  await writeFile(join(tree, 'etc', 'passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  await writeFile(join(tree, 'etc', 'group'), 'root:x:0:\n');
  return tree;
}

async function installBusybox(tree: string, options: RunOptions): Promise<void> {
  const busybox = await findBusybox();
  await copyExecutable(busybox, join(tree, 'bin', 'busybox'));
  const applets = (await run(busybox, ['--list'], options)).split('\n');
  for (const applet of applets) {
    if (applet !== '' && applet !== 'busybox') {
      await symlink('/bin/busybox', join(tree, 'bin', applet));
    }
  }
  await symlink('/bin/busybox', join(tree, 'sbin', 'init'));
}

async function compile(name: string, tree: string, options: RunOptions): Promise<void> {
  const source = join(sources, `${name}.c`);
  const program = join(tree, 'usr', 'sbin', name);
  const flags = ['-static', '-O2', '-s', '-Wall', '-Wextra', '-pthread'];
  await run('gcc', [...flags, '-o', program, source], options);
}

async function findBusybox(): Promise<string> {
  const path = (await run('which', ['busybox'], { env: { PATH: rigPath } })).trim();
  return path;
}

async function copyExecutable(from: string, to: string): Promise<void> {
  await copyFile(from, to);
  await chmod(to, 0o755);
}
