/**
 * Whether QEMU, which runs as another user, can reach its part of the scratch folder; found out before the VM is
 * touched, so that the operator reads the exact fix instead of "Permission denied".
 */
import { chmod, chown, mkdir, stat } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Processes } from '../../ports/processes.ts';
import { closedFolder, parentsOf, type User, whoIs } from './folder-access.ts';
import type { FreezePlaces } from './freeze-record.ts';
import type { Virsh } from './virsh.ts';
import { attribute, child, findAll, parseRoot, textOf } from './xml.ts';

/** As whom and under which protection the hypervisor runs its VMs. */
export type QemuIdentity = {
  /** Null: the same user as the daemon (a session daemon). */
  readonly user: User | null;
  readonly confinedBy: readonly ('apparmor' | 'selinux')[];
};

/** sun_path of unix(7) has 108 bytes, and libvirt wants the last one for a zero. */
const SOCKET_PATH_BYTES_MAX = 107;

export async function readQemuIdentity(virsh: Virsh, options: CallOptions): Promise<QemuIdentity> {
  return parseQemuIdentity(await virsh.run(['capabilities'], options));
}

/** From `<secmodel>`: for `dac` a base label such as `+64055:+108`. */
export function parseQemuIdentity(capabilities: string): QemuIdentity {
  const models = findAll(parseRoot(capabilities, 'capabilities', 'the host'), 'host/secmodel');
  const named = (name: string) => models.find((model) => textOf(child(model, 'model')) === name);
  const dac = named('dac');
  const labels = dac === undefined ? [] : findAll(dac, 'baselabel');
  const label = labels.find((element) => attribute(element, 'type') === 'kvm') ?? labels[0];
  const ids = /^\+(\d+):\+(\d+)$/.exec(textOf(label ?? null) ?? '');
  const confinements = ['apparmor', 'selinux'] as const;
  return {
    user: ids === null ? null : { uid: Number(ids[1]), gid: Number(ids[2]) },
    confinedBy: confinements.filter((name) => named(name) !== undefined),
  };
}

/** Others may pass through to folders that they can name, no more. */
export async function makeScratchFolder(scratchFolder: string): Promise<void> {
  await mkdir(scratchFolder, { recursive: true, mode: 0o711 }).catch(deniedToUs(scratchFolder));
}

/** The folder of the socket, ours alone. Throws `access-denied` when its path is too long for one. */
export async function makeOwnedFolder(places: FreezePlaces): Promise<void> {
  refuseLongSocketPath(places.socketPath);
  await mkdir(places.folder, { mode: 0o700 }).catch(deniedToUs(places.folder));
}

/** Makes QEMU's folder, private to it and us. Throws `access-denied` with the fix. */
export async function makeQemuFolder(
  { places, identity, processes }: QemuFolderRequest,
  options: CallOptions,
): Promise<void> {
  await makeOwnedFolder(places);
  const { user } = identity;
  if (user === null) return;
  const { uid } = await stat(places.folder);
  if (uid === user.uid) return;
  await handOver(places.folder, { ownUid: uid, user });
  await refuseClosedParents({ folder: places.folder, user, processes }, options);
}

type QemuFolderRequest = {
  readonly places: FreezePlaces;
  readonly identity: QemuIdentity;
  readonly processes: Processes;
};

/** What to do when QEMU was refused although the mode bits are right: a confinement, or a guess. */
export function accessDenied(
  scratchFolder: string,
  { user, confinedBy }: QemuIdentity,
  { reason, cause }: { readonly reason: string; readonly cause: unknown },
): UnderstudyError {
  const fixes = [
    confinedBy.includes('apparmor')
      ? `Add the line "  ${scratchFolder}/** rwk," to /etc/apparmor.d/local/abstractions/libvirt-qemu and restart the VM, which loads it.`
      : null,
    confinedBy.includes('selinux')
      ? `Run: semanage fcontext -a -t virt_image_t '${scratchFolder}(/.*)?' && restorecon -R '${scratchFolder}'.`
      : null,
  ].filter((fix) => fix !== null);
  const fix = fixes.length > 0 ? fixes.join(' ') : `Let it read and write below ${scratchFolder}.`;
  const details = { path: scratchFolder, who: whoIs(user), reason, fix };
  return new UnderstudyError('access-denied', details, cause);
}

/**
 * To QEMU's user alone where we may give files away: its group often holds people too (`kvm`), who would be able to
 * read the disks. Else to its group, if it is one of ours.
 */
async function handOver(
  folder: string,
  { ownUid, user }: { readonly ownUid: number; readonly user: User },
): Promise<void> {
  try {
    await chown(folder, user.uid, user.gid);
  } catch {
    // We may not give it away. That is all right if we belong to the group, and known to be wrong if we do not.
    await chown(folder, ownUid, user.gid).catch((cause) => {
      const reason = `it cannot be shared with group ${user.gid}`;
      const fix = `Run the host agent as root, or add its user to group ${user.gid}.`;
      const details = { path: folder, who: 'the host agent', reason, fix };
      throw new UnderstudyError('access-denied', details, cause);
    });
    await chmod(folder, 0o770);
  }
}

/** Throws `access-denied` with the fix for the first folder above that keeps QEMU out. */
export async function refuseClosedParents(
  request: { readonly folder: string; readonly user: User; readonly processes: Processes },
  options: CallOptions,
): Promise<void> {
  const { folder, user, processes } = request;
  const closed = await closedFolder({ folders: parentsOf(folder), user, processes }, options);
  if (closed === null) return;
  const { path, fix } = closed;
  const reason = 'it may not pass through this folder';
  throw new UnderstudyError('access-denied', { path, who: whoIs(user), reason, fix });
}

function refuseLongSocketPath(path: string): void {
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return;
  const reason = `a socket's path has at most ${SOCKET_PATH_BYTES_MAX} bytes`;
  const fix = 'Choose a scratch folder with a shorter path.';
  throw new UnderstudyError('access-denied', { path, who: 'QEMU', reason, fix });
}

function deniedToUs(path: string): (cause: unknown) => never {
  return (cause) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const fix = `Let the host agent write to ${path}, or choose another scratch folder.`;
    throw new UnderstudyError('access-denied', { path, who: 'the host agent', reason, fix }, cause);
  };
}
