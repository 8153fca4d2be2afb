/** Ends what a server or a libvirt daemon left running in the background when it was killed. */
import { basename } from 'node:path';
import { commandLineOf, killIfAlive, listProcesses, waitForExit } from './processes.ts';

/**
 * Kills every QEMU program, libvirt daemon and Understudy server whose command line names something inside
 * `folder`, and returns when they are gone. Others that do, such as somebody's pager, are left alone.
 * As root, what runs in a private host ends with its room, not here.
 */
export async function endProcessesOf(folder: string): Promise<void> {
  const left = listProcesses().filter((pid) => pid !== process.pid && isOurs(pid, `${folder}/`));
  for (const pid of left) killIfAlive(pid);
  await Promise.all(left.map((pid) => waitForExit(pid)));
}

function isOurs(pid: number, path: string): boolean {
  const args = commandLineOf(pid);
  const program = basename(args[0] ?? '');
  const isProgramOfOurs =
    program.startsWith('qemu-') ||
    program === 'libvirtd' ||
    args.some((argument) => argument.endsWith('/understudy.js'));
  return isProgramOfOurs && args.some((argument) => argument.includes(path));
}
