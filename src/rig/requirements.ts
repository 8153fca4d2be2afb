/**
 * What the rig needs from the distribution (Debian and Ubuntu names) and whether it is there.
 *
 * Presence is judged by the file that the rig will use, not by the package database: a program built by hand is as
 * good. The guest's kernel and agent are not listed here: they are unpacked from their packages into the cache and
 * never installed (guest-packages.ts).
 */
import { spawn } from 'node:child_process';
import { accessSync, readdirSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { rigPath } from './command.ts';

export interface Requirement {
  /** Name of the distribution package. */
  readonly packageName: string;
  /** Programs (looked up in PATH and the sbin folders) or absolute files; all must be there. */
  readonly files: readonly string[];
  readonly purpose: string;
}

export interface RequirementsReport {
  readonly missing: readonly Requirement[];
  /** Without root there is no private system daemon, only a session daemon, and nothing can be installed. */
  readonly isRoot: boolean;
}

export const requirements: readonly Requirement[] = [
  need('libvirt-daemon-system', ['/var/lib/libvirt', '/etc/libvirt'], 'the folders of libvirt'),
  need('libvirt-daemon', ['libvirtd'], 'the hypervisor daemon'),
  need('libvirt-clients', ['virsh'], 'driving the daemon'),
  need('qemu-system-x86', ['qemu-system-x86_64'], 'running the VMs'),
  need('qemu-utils', ['qemu-img', 'qemu-nbd', 'qemu-io'], 'disk images'),
  need('libnbd-bin', ['nbdinfo', 'nbdcopy'], 'reading disk exports in tests'),
  need('util-linux', ['unshare', 'nsenter', 'mount'], 'private namespaces for each daemon'),
  need('iproute2', ['ip'], 'the network of a private namespace'),
  need('busybox-static', ['busybox'], 'the userland of the guest'),
  need('gcc', ['gcc'], 'compiling the programs of the guest'),
  need('libc6-dev', ['/usr/include/stdio.h'], 'compiling the programs of the guest'),
  need('linux-libc-dev', ['/usr/include/linux/fs.h'], 'compiling the programs of the guest'),
  need('cpio', ['cpio'], 'the initial RAM disk of the guest'),
  need('fdisk', ['sfdisk'], 'the partition table of the guest'),
  need('dosfstools', ['mkfs.fat'], 'the boot partition of the guest'),
  need('mtools', ['mcopy'], 'the boot partition of the guest'),
  need('e2fsprogs', ['mke2fs'], 'the root file system of the guest'),
  need('syslinux', ['syslinux'], 'the boot loader of the guest'),
  need('syslinux-common', ['/usr/lib/syslinux/mbr/mbr.bin'], 'the boot loader of the guest'),
];

/** What only the tests of UEFI and TPM guests need, beyond all that. */
export const firmwareRequirements: readonly Requirement[] = [
  need('ovmf', ['/usr/share/OVMF/OVMF_CODE_4M.fd'], 'guests with UEFI'),
  need('swtpm', ['swtpm'], 'guests with a TPM'),
  need('swtpm-tools', ['swtpm_setup'], 'guests with a TPM'),
];

/** Looks at the machine; changes nothing. */
export function checkRequirements(needed = requirements): RequirementsReport {
  return {
    missing: needed.filter(({ files }) => !files.every(isPresent)),
    isRoot: process.getuid?.() === 0,
  };
}

/**
 * Installs what is missing, after telling `log` the exact packages. Does nothing when nothing is missing.
 *
 * `RUNLEVEL=1` makes Debian's invoke-rc.d treat the machine as being in single-user mode, so that the packages'
 * scripts start no daemon where init is sysvinit; with systemd the units are socket-activated and `libvirtd` may
 * start, as it does on every machine that installs the package.
 *
 * @throws Error when not root, or when apt-get fails.
 */
export async function installMissing({
  needed = requirements,
  log,
  signal,
}: {
  needed?: readonly Requirement[];
  log: (line: string) => void;
  signal?: AbortSignal;
}): Promise<void> {
  const { missing, isRoot } = checkRequirements(needed);
  if (missing.length === 0) return;
  const names = missing.map(({ packageName }) => packageName);
  log(`Packages to be installed: ${names.join(' ')}`);
  for (const { packageName, purpose } of missing) log(`  ${packageName}: ${purpose}`);
  if (!isRoot)
    throw new Error(`Installing packages needs root: apt-get install ${names.join(' ')}`);
  log('They are installed with RUNLEVEL=1, so that no service is started by the installation.');
  if (!hasPackageLists()) await aptGet(['update'], signal);
  await aptGet(['install', '-y', '--no-install-recommends', ...names], signal);
}

function need(packageName: string, files: readonly string[], purpose: string): Requirement {
  return { packageName, files, purpose };
}

function isPresent(file: string): boolean {
  const candidates = isAbsolute(file)
    ? [file]
    : rigPath.split(delimiter).map((folder) => join(folder || '.', file));
  return candidates.some((candidate) => {
    try {
      accessSync(candidate);
      return true;
    } catch {
      return false;
    }
  });
}

function hasPackageLists(): boolean {
  try {
    return readdirSync('/var/lib/apt/lists').some((name) => name.includes('_Packages'));
  } catch {
    return false;
  }
}

/** Output goes straight to the terminal: an installation is long and the administrator wants to see it. */
async function aptGet(args: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const child = spawn('apt-get', args, { env, signal, stdio: ['ignore', 'inherit', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`apt-get ${args.join(' ')} ended with status ${code}`));
    });
  });
}
