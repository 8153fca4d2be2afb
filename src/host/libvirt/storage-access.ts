/**
 * Whether QEMU can open what a failover would give it: branches and layers lie below the storage folder, and QEMU runs
 * as another user. What we make there lets others pass (`FOLDER_MODE` of the chain); the folder itself and those above
 * it are the operator's, so a closed one is found out when a VM is protected, not in a disaster.
 *
 * Confinement. AppArmor: libvirt's own helper (`virt-aa-helper`) gives each VM a profile that names its disks and all
 * layers below them when it starts, so nothing is to be done. SELinux: libvirt labels the files of a VM, but not the
 * folders above, and `svirt_t` may not search a folder of unknown kind.
 */
import { mkdir, realpath, stat } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { PreflightFinding } from '../../domain/vm/preflight.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Processes } from '../../ports/processes.ts';
import { blocks, warns } from './finding.ts';
import { closedFolder, parentsOf, whoIs } from './folder-access.ts';
import type { QemuIdentity } from './scratch-access.ts';

/** Where the policy of the distributions already labels images. */
const LABELLED_FOLDERS = ['/var/lib/libvirt/images', '/var/lib/libvirt/qemu'];
const ELEMENT = 'storage folder';

export async function storageFindings(
  {
    storageFolder,
    identity,
    processes,
  }: {
    readonly storageFolder: string;
    readonly identity: QemuIdentity;
    readonly processes: Processes;
  },
  options: CallOptions,
): Promise<PreflightFinding[]> {
  const folder = await existingFolder(storageFolder);
  const { user } = identity;
  const folders = parentsOf(join(folder, 'replica'));
  const closed = user === null ? null : await closedFolder({ folders, user, processes }, options);
  return [
    ...(closed === null
      ? []
      : [
          blocks(
            ELEMENT,
            `${whoIs(user)} may not pass through ${closed.path}, so no replica could open its disks. ${closed.fix}`,
          ),
        ]),
    ...labelFindings(folder, identity),
  ];
}

/**
 * Makes the folder and those above it, one by one: Node's recursive `mkdir` never returns where a file system says ENOENT
 * for good, as /proc does. Throws `access-denied`.
 */
export async function makeStorageFolder(path: string): Promise<void> {
  try {
    for (const folder of [...parentsOf(path), path]) await makeOne(folder);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const fix = 'Name a folder that can be made and written to.';
    throw new UnderstudyError('access-denied', { path, who: 'the host agent', reason, fix }, cause);
  }
}

/** A file in its place makes `mkdir` say EEXIST. */
async function makeOne(folder: string): Promise<void> {
  try {
    if ((await stat(folder)).isDirectory()) return;
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!isMissing) throw error;
  }
  await mkdir(folder, { mode: 0o755 });
}

function labelFindings(folder: string, { confinedBy }: QemuIdentity): PreflightFinding[] {
  const isLabelled = LABELLED_FOLDERS.some((each) => `${folder}${sep}`.startsWith(`${each}${sep}`));
  if (isLabelled || !confinedBy.includes('selinux')) return [];
  const fix = `semanage fcontext -a -t virt_image_t '${folder}(/.*)?' && restorecon -R '${folder}'`;
  return [
    warns(
      ELEMENT,
      `SELinux confines QEMU here, which may search only folders labelled for it. Unless ${folder} is, run: ${fix}`,
    ),
  ];
}

/** Where links on the way lead is what counts. What does not exist yet is made by us, and lets others pass. */
async function existingFolder(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!isMissing || path === dirname(path)) throw error;
    return await existingFolder(dirname(path));
  }
}
