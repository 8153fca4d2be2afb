/**
 * Where the processes of one private host live, so that all of them can be found and ended without touching others.
 *
 * As root a room is a pair of namespaces (mounts and process ids, optionally network), kept by a first process that
 * does nothing but read a pipe held by us. When that process ends, the kernel kills everything in the room and
 * unmounts everything: closing cannot forget anything, and it also happens when our own process dies.
 *
 *   us ── pipe ──> cat (process 1 of the room)      nsenter ──> libvirtd ──> QEMU, detached: a child of cat
 *
 * An ordinary user has no such rights; there a room is the set of that user's processes whose command line or
 * environment names the room's folder.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { rigPath } from './command.ts';
import { belongsTo, childrenOf, killIfAlive, listProcesses, namespaceOf } from './processes.ts';

export interface ProcessRoom {
  /** The command line that runs a program inside the room. */
  inside(program: string, args: readonly string[]): { program: string; args: string[] };
  /** Process ids, as seen from outside, of all that runs in the room. */
  processes(): number[];
  /** Ends everything in the room and returns when it is gone. Idempotent. */
  close(): Promise<void>;
}

/** Needs root. `privateNetwork` gives the room nothing but a loopback interface, which the caller must bring up. */
export async function openNamespaceRoom({
  privateNetwork,
}: {
  privateNetwork: boolean;
}): Promise<ProcessRoom> {
  const network = privateNetwork ? ['--net'] : [];
  const namespaces = ['--mount', '--pid', '--fork', '--mount-proc', '--propagation', 'private'];
  // Ignoring SIGCHLD makes the kernel reap what is orphaned in the room: cat does not wait for children, and
  // libvirt takes a zombie QEMU for a living one.
  const first = ['env', '--ignore-signal=CHLD', 'cat'];
  const holder = spawn('unshare', [...namespaces, ...network, '--', ...first], {
    env: { ...process.env, PATH: rigPath },
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  const ended = once(holder, 'exit');
  ended.catch(() => undefined);
  holder.stdin.on('error', () => undefined);
  holder.stdin.write('ready\n');
  const echoed = await Promise.race([once(holder.stdout, 'data'), ended]);
  const initPid = holder.pid === undefined ? undefined : childrenOf(holder.pid)[0];
  if (!(echoed[0] instanceof Buffer) || initPid === undefined) {
    throw new Error('unshare could not make the namespaces of a private host');
  }
  return namespaceRoom({ holder, ended, initPid, privateNetwork });
}

function namespaceRoom({
  holder,
  ended,
  initPid,
  privateNetwork,
}: {
  holder: ChildProcess;
  ended: Promise<unknown>;
  initPid: number;
  privateNetwork: boolean;
}): ProcessRoom {
  const namespace = namespaceOf(initPid);
  const enter = [
    '--target',
    String(initPid),
    '--mount',
    '--pid',
    ...(privateNetwork ? ['--net'] : []),
  ];
  return {
    inside: (program, args) => ({ program: 'nsenter', args: [...enter, '--', program, ...args] }),
    processes: () =>
      listProcesses().filter((pid) => pid !== initPid && namespaceOf(pid) === namespace),
    async close() {
      // The kernel lets process 1 end only after all others of its namespace have.
      if (holder.exitCode === null && holder.signalCode === null) holder.stdin?.end();
      await ended;
    },
  };
}

/** For an ordinary user. `folder` must be named in the environment of whatever is started in the room. */
export function openSessionRoom({ folder }: { folder: string }): ProcessRoom {
  const processes = () =>
    listProcesses().filter((pid) => pid !== process.pid && belongsTo(pid, `${folder}/`));
  return {
    inside: (program, args) => ({ program, args: [...args] }),
    processes,
    async close() {
      for (let left = processes(); left.length > 0; left = processes()) {
        for (const pid of left) killIfAlive(pid);
        await sleep(10);
      }
    },
  };
}
