/**
 * A hypervisor host of its own on this machine: a libvirt daemon with private folders, and the VMs it runs.
 *
 * Several can run side by side and stand for the hosts of a site ("production", "recovery"). As root it is a system
 * daemon in a room of its own (process-room.ts) in which only the libvirt folders are private: disks and sockets
 * anywhere else are the same files inside and outside. As an ordinary user it is a session daemon.
 *
 *   <folder>/run lib etc cache log     what libvirt keeps; `run` is empty after a power cut, as on a real host
 *   <folder>/libvirtd.log              warnings and errors of the daemon
 *
 * QEMU runs by default as an unprivileged user, so every folder above a disk must be searchable by others.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type RunOptions, rigPath, run } from './command.ts';
import { defaultCacheFolder } from './guest-image.ts';
import {
  copyCapabilities,
  type QemuUser,
  sessionEnvironment,
  systemPlaces,
  writeLibvirtFolders,
} from './libvirt-folders.ts';
import { openNamespaceRoom, openSessionRoom, type ProcessRoom } from './process-room.ts';
import { childrenOf, commandLineOf, killIfAlive, waitForExit } from './processes.ts';

export interface PrivateHost extends AsyncDisposable {
  readonly name: string;
  /** Connection URI for any libvirt client outside the room. */
  readonly uri: string;
  /** What a client needs in its environment besides the URI. */
  readonly env: Readonly<Record<string, string>>;
  readonly folder: string;
  /** Process id of the daemon; undefined while it is not running. */
  readonly pid: number | undefined;
  /** Runs virsh against this host and returns its output. Put `--` before names; better, use UUIDs. */
  virsh(args: readonly string[], options?: RunOptions): Promise<string>;
  /** Runs a program inside the room, for example to look at a private network. */
  runInside(program: string, args: readonly string[], options?: RunOptions): Promise<string>;
  /** The QEMU of a domain, by name or UUID; undefined when none runs. Works without the daemon. */
  qemuPid(domain: string): number | undefined;
  /** SIGKILL to libvirtd alone; its VMs run on. */
  killDaemon(): Promise<void>;
  /** Starts the daemon again (killing it first if needed); it finds its VMs. */
  restartDaemon(): Promise<void>;
  /** Everything of the host dies at once, as when the plug is pulled. What is defined stays on disk. */
  cutPower(): Promise<void>;
  /** After `cutPower`: the daemon runs, the VMs are off. */
  powerOn(): Promise<void>;
  /** Ends all processes and deletes `folder`. Idempotent. */
  stop(): Promise<void>;
}

export interface PrivateHostOptions {
  readonly name: string;
  /** Belongs to the host alone; deleted by `stop`. Short: the path of a socket has at most 107 bytes. */
  readonly folder: string;
  /** User of QEMU under a system daemon. Default: libvirt-qemu, as Debian and Ubuntu ship it. */
  readonly qemuUser?: QemuUser;
  /** With `private`, forwarded ports of the VMs listen inside the room only. Default: `shared`. */
  readonly network?: 'shared' | 'private';
  readonly cacheFolder?: string;
  readonly signal?: AbortSignal;
}

const socketPathLimitBytes = 107;
/** Of a VM whose name is at least as long as the 20 characters that libvirt takes of it. */
const longestSessionSocket =
  'etc/libvirt/qemu/channel/target/domain-10-12345678901234567890/org.qemu.guest_agent.0';
const readinessDeadlineMs = 60_000;

/** @throws Error when the daemon does not come up within a minute; nothing is left behind then. */
export async function startPrivateHost(options: PrivateHostOptions): Promise<PrivateHost> {
  const { name, folder, signal } = options;
  const system = process.getuid?.() === 0;
  const qemuUser = system ? (options.qemuUser ?? 'libvirt-qemu') : null;
  const socket = join(folder, 'run', ...(system ? [] : ['libvirt']), 'libvirt-sock');
  const longest = system ? socket : join(folder, longestSessionSocket);
  if (Buffer.byteLength(longest) > socketPathLimitBytes) {
    throw new Error(`The folder of host ${name} is too long for a socket: ${longest}`);
  }
  const parts: HostParts = {
    ...options,
    qemuUser,
    env: system ? {} : sessionEnvironment(folder),
    uri: `qemu+unix:///${system ? 'system' : 'session'}?socket=${encodeURI(socket)}`,
    capabilities: join(
      options.cacheFolder ?? defaultCacheFolder,
      'capabilities',
      // With another libvirt and QEMU laid over the machine's (with-root.ts), what they know is theirs.
      `${qemuUser ?? 'session'}${basename(process.env.UNDERSTUDY_RIG_ROOT ?? '').replace(/^(?=.)/, '-')}`,
    ),
  };
  const host = privateHost(parts);
  try {
    await mkdir(folder, { recursive: true, mode: 0o755 });
    await writeLibvirtFolders({ folder, qemuUser });
    await host.powerOn();
    signal?.throwIfAborted();
    return host;
  } catch (error) {
    await host.stop();
    throw error;
  }
}

interface HostParts extends Omit<PrivateHostOptions, 'qemuUser'> {
  readonly qemuUser: QemuUser | null;
  readonly env: Readonly<Record<string, string>>;
  readonly uri: string;
  readonly capabilities: string;
}

interface Daemon {
  /** nsenter or libvirtd itself; it ends with the daemon. */
  readonly child: ChildProcess;
  readonly pid: number;
}

function privateHost(parts: HostParts): PrivateHost {
  const { name, folder, uri, env } = parts;
  let room: ProcessRoom | undefined;
  let daemon: Daemon | undefined;
  /** Whole seconds since 1970; libvirt rounds the boot time it computes to seconds. */
  let poweredOnAt = 0;

  const start = async (): Promise<void> => {
    if (!room) throw new Error(`Host ${name} is switched off`);
    daemon = await startDaemon(parts, room, poweredOnAt);
  };
  const killDaemon = async (): Promise<void> => {
    const dying = daemon;
    daemon = undefined;
    if (!dying) return;
    killIfAlive(dying.pid);
    await waitForExit(dying.pid);
  };
  const cutPower = async (): Promise<void> => {
    daemon = undefined;
    await room?.close();
    room = undefined;
  };
  const stop = async (): Promise<void> => {
    await cutPower();
    await rm(folder, { recursive: true, force: true });
  };
  return {
    name,
    folder,
    uri,
    env,
    get pid() {
      return daemon && !hasEnded(daemon.child) ? daemon.pid : undefined;
    },
    virsh: (args, options = {}) =>
      run('virsh', ['-q', '-c', uri, ...args], { signal: parts.signal, ...options, env }),
    runInside(program, args, options = {}) {
      const command = room?.inside(program, args);
      if (!command) throw new Error(`Host ${name} is switched off`);
      return run(command.program, command.args, options);
    },
    qemuPid: (domain) => room?.processes().find((pid) => isQemuOf(pid, domain)),
    killDaemon,
    async restartDaemon() {
      await killDaemon();
      await start();
    },
    cutPower,
    async powerOn() {
      if (room) return;
      poweredOnAt = Math.max(poweredOnAt + 1, Math.floor(Date.now() / 1000));
      room = await openRoom(parts);
      await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function openRoom({ folder, qemuUser, network }: HostParts): Promise<ProcessRoom> {
  // As after a boot: what libvirt keeps in /run is about processes that no longer exist.
  await rm(join(folder, 'run'), { recursive: true, force: true });
  await mkdir(join(folder, 'run'), { mode: qemuUser === null ? 0o700 : 0o755 });
  if (qemuUser === null) return openSessionRoom({ folder });
  const room = await openNamespaceRoom({ privateNetwork: network === 'private' });
  const inRoom = async (program: string, args: string[]): Promise<void> => {
    const command = room.inside(program, args);
    await run(command.program, command.args);
  };
  try {
    for (const [own, place] of Object.entries(systemPlaces)) {
      await mkdir(place, { recursive: true });
      await inRoom('mount', ['--bind', join(folder, own), place]);
    }
    if (existsSync('/dev/kvm')) await hideKvm(folder, inRoom);
    await hideBootTime(folder, inRoom);
    if (network === 'private') await inRoom('ip', ['link', 'set', 'lo', 'up']);
    return room;
  } catch (error) {
    await room.close();
    throw error;
  }
}

/**
 * Covers /dev/kvm with a file that nobody can open for writing (a read-only mount holds for root, too). The rig
 * runs all VMs under TCG, and with KVM in sight libvirt may drop what it has cached and probe QEMU again, 1.3 s each
 * time: when QEMU's user may not open it, or when the CPUs of the machine report differing features.
 */
async function hideKvm(
  folder: string,
  inRoom: (program: string, args: string[]) => Promise<void>,
): Promise<void> {
  const cover = join(folder, 'no-kvm');
  await writeFile(cover, '');
  await inRoom('mount', ['--bind', cover, '/dev/kvm']);
  await inRoom('mount', ['-o', 'remount,bind,ro', '/dev/kvm']);
}

/**
 * Lets a power cut look like one. libvirt marks files in use with extended attributes that hold the boot time of the
 * machine and takes marks of an earlier boot as void. Without a boot time of its own the host would, after a power
 * cut, find its files "already in use"; and two hosts would respect each other's marks.
 */
async function hideBootTime(
  folder: string,
  inRoom: (program: string, args: string[]) => Promise<void>,
): Promise<void> {
  await writeFile(join(folder, 'uptime'), '');
  await inRoom('mount', ['--bind', join(folder, 'uptime'), '/proc/uptime']);
  if (existsSync('/run/utmp')) await inRoom('mount', ['--bind', '/dev/null', '/run/utmp']);
}

async function startDaemon(
  parts: HostParts,
  room: ProcessRoom,
  poweredOnAt: number,
): Promise<Daemon> {
  const { folder, env, qemuUser } = parts;
  // A session daemon keeps its own cache one folder deeper.
  const place = qemuUser === null ? ['libvirt', 'qemu', 'cache'] : ['qemu'];
  const cache = join(folder, 'cache', ...place, 'capabilities');
  await copyCapabilities({ from: parts.capabilities, to: cache });
  // Written in place: the file is mounted over /proc/uptime.
  await writeFile(join(folder, 'uptime'), `${(Date.now() / 1000 - poweredOnAt).toFixed(2)} 0.00\n`);
  const { program, args } = room.inside('libvirtd', ['--pid-file', join(folder, 'libvirtd.pid')]);
  const child = spawn(program, args, {
    env: { ...process.env, ...env, PATH: rigPath },
    stdio: 'ignore',
    // An interrupt at the terminal is for us; we then stop the host in order.
    detached: true,
  });
  await once(child, 'spawn');
  await waitUntilReady(parts, child);
  await copyCapabilities({ from: cache, to: parts.capabilities });
  const outer = child.pid ?? 0;
  // nsenter --pid stays outside and waits for the daemon, its only child.
  return { child, pid: qemuUser === null ? outer : (childrenOf(outer)[0] ?? outer) };
}

/** Reading the capabilities makes libvirt probe QEMU now rather than during somebody's first call. */
async function waitUntilReady({ name, folder, uri, env, signal }: HostParts, child: ChildProcess) {
  const deadline = Date.now() + readinessDeadlineMs;
  for (;;) {
    try {
      await run('virsh', ['-c', uri, 'capabilities'], { signal, env });
      return;
    } catch (error) {
      const ended = hasEnded(child);
      if (!ended && Date.now() < deadline && !signal?.aborted) {
        await sleep(20);
        continue;
      }
      const log = await readFile(join(folder, 'libvirtd.log'), 'utf8').catch(() => '');
      const state = ended ? 'ended at once' : 'does not answer';
      throw new Error(`libvirtd of host ${name} ${state}: ${log.slice(-1000)}`, { cause: error });
    }
  }
}

/** libvirt starts QEMU with `-name guest=NAME,...` and `-uuid UUID`. */
function isQemuOf(pid: number, domain: string): boolean {
  const args = commandLineOf(pid);
  if (!args[0]?.includes('qemu')) return false;
  const uuid = args[args.indexOf('-uuid') + 1];
  // QEMU's option syntax doubles commas.
  const name = args[args.indexOf('-name') + 1];
  return uuid === domain || name?.startsWith(`guest=${domain.replaceAll(',', ',,')},`) === true;
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
