/**
 * Whether another user may pass through folders.
 *
 * What mode bits allow is certain. What they forbid may still be allowed by an access list or a further group, so a
 * forbidding is tried out as that user where we may become it.
 */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { CallOptions } from '../../ports/call.ts';
import type { Processes } from '../../ports/processes.ts';

export type User = { readonly uid: number; readonly gid: number };

export type ClosedFolder = { readonly path: string; readonly fix: string };

const EXECUTE = { owner: 0o100, group: 0o010, others: 0o001 };

/** The first of the folders that the user may not pass through, with the command that opens it; null: it may pass all. */
export async function closedFolder(
  request: {
    readonly folders: readonly string[];
    readonly user: User;
    readonly processes: Processes;
  },
  options: CallOptions,
): Promise<ClosedFolder | null> {
  const { folders, user, processes } = request;
  for (const path of folders) {
    const { mode, uid, gid } = await stat(path);
    if (mayPass({ mode, uid, gid }, user)) continue;
    if (await passesAs(processes, user, path, options)) continue;
    return { path, fix: `Run: setfacl -m u:${user.uid}:x '${path}' (or: chmod o+x '${path}').` };
  }
  return null;
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

export function whoIs(user: User | null): string {
  return user === null ? 'QEMU' : `QEMU (user ${user.uid}, group ${user.gid})`;
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
