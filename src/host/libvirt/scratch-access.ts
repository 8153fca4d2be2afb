/**
 * Whether QEMU, which runs as another user, can reach its part of the scratch folder; found out before the VM is
 * touched, so that the operator reads the exact fix instead of "Permission denied".
 *
 * What mode bits allow is certain. What they forbid may still be allowed by an access list or a further group, so a
 * forbidding is tried out as that user where we may become it.
 */
import { chmod, chown, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Processes } from '../../ports/processes.ts';
import type { FreezePlaces } from './freeze-record.ts';
import type { Virsh } from './virsh.ts';
import { attribute, child, findAll, parseRoot, textOf } from './xml.ts';

/** As whom and under which protection the hypervisor runs its VMs. */
export type QemuIdentity = {
  /** Null: the same user as the daemon (a session daemon). */
  readonly user: { readonly uid: number; readonly gid: number } | null;
  readonly confinedBy: readonly ('apparmor' | 'selinux')[];
};

/** sun_path of unix(7) has 108 bytes, and libvirt wants the last one for a zero. */
const SOCKET_PATH_BYTES_MAX = 107;

const EXECUTE = { owner: 0o100, group: 0o010, others: 0o001 };

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

type User = { readonly uid: number; readonly gid: number };

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
  for (const parent of parentsOf(folder)) {
    const { mode, uid, gid } = await stat(parent);
    if (mayPass({ mode, uid, gid }, user)) continue;
    if (await passesAs(processes, user, parent, options)) continue;
    const reason = 'it may not pass through this folder';
    const fix = `Run: setfacl -m u:${user.uid}:x '${parent}' (or: chmod o+x '${parent}').`;
    throw new UnderstudyError('access-denied', { path: parent, who: whoIs(user), reason, fix });
  }
}

/** Every folder above, the root first. */
export function parentsOf(folder: string): string[] {
  const parents: string[] = [];
  for (let path = dirname(folder); ; path = dirname(path)) {
    parents.unshift(path);
    if (path === dirname(path)) return parents;
  }
}

/** By mode bits alone; the owner's bits decide for the owner even where others may. */
export function mayPass(
  folder: { readonly mode: number; readonly uid: number; readonly gid: number },
  user: User,
): boolean {
  if (user.uid === 0) return true;
  if (folder.uid === user.uid) return (folder.mode & EXECUTE.owner) !== 0;
  if (folder.gid === user.gid) return (folder.mode & EXECUTE.group) !== 0;
  return (folder.mode & EXECUTE.others) !== 0;
}

/** Only root may become another user; for the rest the mode bits have the last word. */
async function passesAs(
  processes: Processes,
  { uid, gid }: User,
  path: string,
  options: CallOptions,
): Promise<boolean> {
  const become = [`--reuid=${uid}`, `--regid=${gid}`, '--init-groups'];
  const command = { command: 'setpriv', arguments: [...become, 'test', '-x', path] };
  const result = await processes.run(command, options).catch((error: unknown) => {
    if (options.signal.aborted) throw error;
    return null;
  });
  return result?.exitCode === 0;
}

function refuseLongSocketPath(path: string): void {
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return;
  const reason = `a socket's path has at most ${SOCKET_PATH_BYTES_MAX} bytes`;
  const fix = 'Choose a scratch folder with a shorter path.';
  throw new UnderstudyError('access-denied', { path, who: 'QEMU', reason, fix });
}

function whoIs(user: User | null): string {
  return user === null ? 'QEMU' : `QEMU (user ${user.uid}, group ${user.gid})`;
}

function deniedToUs(path: string): (cause: unknown) => never {
  return (cause) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const fix = `Let the host agent write to ${path}, or choose another scratch folder.`;
    throw new UnderstudyError('access-denied', { path, who: 'the host agent', reason, fix }, cause);
  };
}
