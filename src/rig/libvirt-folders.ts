/** The private folders of one libvirt daemon and the configuration written into them. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './command.ts';

export type QemuUser = 'root' | 'libvirt-qemu';

/** Folder of the host -> place where a system daemon expects it. */
export const systemPlaces = {
  run: '/run/libvirt',
  lib: '/var/lib/libvirt',
  etc: '/etc/libvirt',
  cache: '/var/cache/libvirt',
  log: '/var/log/libvirt',
} as const;

/** Where a session daemon looks; the folders are the same, one level up. */
export function sessionEnvironment(folder: string): Record<string, string> {
  return {
    XDG_RUNTIME_DIR: join(folder, 'run'),
    XDG_CONFIG_HOME: join(folder, 'etc'),
    XDG_CACHE_HOME: join(folder, 'cache'),
    XDG_DATA_HOME: join(folder, 'lib'),
    HOME: folder,
  };
}

/** Creates folders and configuration; the identity of the host (its UUID) survives a second call. */
export async function writeLibvirtFolders({
  folder,
  qemuUser,
}: {
  folder: string;
  /** null: a session daemon, whose QEMU runs as the same user. */
  qemuUser: QemuUser | null;
}): Promise<void> {
  for (const name of Object.keys(systemPlaces)) {
    await mkdir(join(folder, name), { recursive: true });
  }
  const etc = qemuUser === null ? join(folder, 'etc', 'libvirt') : join(folder, 'etc');
  await mkdir(etc, { recursive: true });
  await writeFile(join(etc, 'qemu.conf'), await qemuConfiguration(qemuUser));
  await writeFile(join(etc, 'libvirtd.conf'), await daemonConfiguration(folder));
}

/**
 * Ownership of disks is left to libvirt, as distributions ship it. Mandatory access control is off: its profiles
 * name the folders of the distribution, not ours. `stdio_handler` saves the separate virtlogd.
 */
async function qemuConfiguration(qemuUser: QemuUser | null): Promise<string> {
  const identity =
    qemuUser === null
      ? []
      : [`user = "${qemuUser}"`, `group = "+${(await run('id', ['-g', qemuUser])).trim()}"`];
  const rest = ['cgroup_controllers = [ ]', 'namespaces = [ ]', 'stdio_handler = "file"'];
  return `${[...identity, 'security_driver = "none"', ...rest].join('\n')}\n`;
}

async function daemonConfiguration(folder: string): Promise<string> {
  const uuidFile = join(folder, 'host-uuid');
  if (!existsSync(uuidFile)) await writeFile(uuidFile, randomUUID());
  return [
    'auth_unix_rw = "none"',
    'auth_unix_ro = "none"',
    'unix_sock_rw_perms = "0700"',
    `host_uuid = "${await readFile(uuidFile, 'utf8')}"`,
    `log_outputs = "3:file:${join(folder, 'libvirtd.log')}"`,
    '',
  ].join('\n');
}

/** Probing QEMU takes a fresh daemon seconds; libvirt checks itself whether a cached answer still holds. */
export async function copyCapabilities({ from, to }: { from: string; to: string }): Promise<void> {
  if (!existsSync(from)) return;
  await mkdir(to, { recursive: true });
  const known = new Set(await readdir(to));
  for (const name of await readdir(from)) {
    if (known.has(name) || !name.endsWith('.xml')) continue;
    const temporary = join(to, `.${name}.${process.pid}`);
    await copyFile(join(from, name), temporary);
    await rename(temporary, join(to, name)).catch(() => rm(temporary, { force: true }));
  }
}
