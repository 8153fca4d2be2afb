/**
 * What the demo plays on: two private libvirt hosts, a VM on the first, and a server.
 *
 *   <folder>/p  r                      the hosts' own folders: short, for the sake of the sockets in them
 *   <folder>/vm                        the source VM's disks
 *   <folder>/replicas-*                storage that the server was given on each host
 *   <folder>/server  sockets ...       the server's data, log and sockets
 */
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureGuestImage, type GuestImage } from '../../rig/guest-image.ts';
import { type PrivateHost, startPrivateHost } from '../../rig/private-host.ts';
import { checkRequirements, installMissing } from '../../rig/requirements.ts';
import { type ServerProcess, startServerProcess } from '../../rig/server-process.ts';
import { createTestVm, type TestVm } from '../../rig/test-vm.ts';
import type { Report } from './report.ts';

export interface Stage {
  readonly folder: string;
  readonly production: PrivateHost;
  readonly recovery: PrivateHost;
  readonly server: ServerProcess;
  readonly vm: TestVm;
}

export const vmName = 'ledger';
const ledgerDiskBytes = 1024 ** 3;

/** Installs what is missing, after saying so. @throws Error that names the packages, when it may not. */
export async function prepareMachine(report: Report, signal: AbortSignal): Promise<void> {
  const { missing, isRoot } = checkRequirements();
  if (!isRoot && missing.length > 0) {
    const names = missing.map(({ packageName }) => packageName).join(' ');
    throw new Error(
      `packages are missing; as root: apt-get install --no-install-recommends ${names}`,
    );
  }
  if (missing.length > 0) await installMissing({ log: report.say, signal });
  const hosts = isRoot
    ? 'system daemons in namespaces of their own, QEMU as libvirt-qemu'
    : 'session daemons of this user (not root)';
  report.say(`QEMU and libvirt are here; the two hosts will be ${hosts}`);
}

/** Whatever was begun is left to `cleaning`, also when this fails. */
export async function setStage({
  folder,
  cleaning,
  report,
  signal,
}: {
  folder: string;
  cleaning: AsyncDisposableStack;
  report: Report;
  signal: AbortSignal;
}): Promise<Stage> {
  const startHost = async (name: string): Promise<PrivateHost> => {
    const host = cleaning.use(
      await startPrivateHost({ name, folder: join(folder, name.charAt(0)), signal }),
    );
    report.say(`host ${name} is up: ${(await host.virsh(['version'])).split('\n').at(-2)?.trim()}`);
    return host;
  };
  report.meanwhile('starting two hosts and a server, preparing the disk of the VM');
  // The second finds what the first has learnt about QEMU, which takes a new daemon seconds.
  const hosts = startHost('production').then(
    async (production) => [production, await startHost('recovery')] as const,
  );
  const [image, [production, recovery], server] = await allSettledOrThrow([
    ensureGuestImage({ log: report.say, signal }),
    hosts,
    startServer(folder, cleaning, report, signal),
  ]);
  const vm = await startVm({ folder, production, image, report, signal });
  return { folder, production, recovery, server, vm };
}

async function startServer(
  folder: string,
  cleaning: AsyncDisposableStack,
  report: Report,
  signal: AbortSignal,
): Promise<ServerProcess> {
  const dataFolder = join(folder, 'server');
  const server = cleaning.use(await startServerProcess({ dataFolder, folder, signal }));
  report.say(`a server is up (process ${server.pid})`);
  return server;
}

async function startVm({
  folder,
  production,
  image,
  report,
  signal,
}: {
  folder: string;
  production: PrivateHost;
  image: GuestImage;
  report: Report;
  signal: AbortSignal;
}): Promise<TestVm> {
  const vm = await createTestVm({
    host: production,
    name: vmName,
    folder: join(folder, 'vm'),
    image,
    disks: [{ content: 'system' }, { content: 'blank', sizeBytes: ledgerDiskBytes }],
    signal,
  });
  const startedAt = report.elapsedMs();
  await vm.start();
  report.meanwhile(
    `VM ${vmName} boots (kernel ${image.kernelVersion}, without hardware acceleration)`,
  );
  await vm.waitForHttp({ deadlineMs: 120_000 });
  const tookMs = report.elapsedMs() - startedAt;
  report.say(
    `VM ${vmName} answers over HTTP ${(tookMs / 1000).toFixed(1)}s after its start: it has a system disk and a ` +
      '1 GiB disk, to which its ledger appends a hash-chained record every 20 ms',
  );
  return vm;
}

/** The end of each log, for when something went wrong; the folder will be gone. */
export async function logTails(folder: string): Promise<readonly string[]> {
  const names = ['server.log', 'server/log.jsonl', 'p/libvirtd.log', 'r/libvirtd.log'];
  const tails: string[] = [];
  for (const name of names) {
    const tail = await lastLines(join(folder, name)).catch(() => '');
    if (tail !== '') tails.push(`--- ${name}\n${tail}`);
  }
  return tails;
}

const tailBytes = 3000;

async function lastLines(path: string): Promise<string> {
  const { size } = await stat(path);
  const file = await open(path, 'r');
  try {
    const start = Math.max(0, size - tailBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(tailBytes), 0, tailBytes, start);
    const text = buffer.toString('utf8', 0, bytesRead);
    return start === 0 ? text.trim() : text.slice(text.indexOf('\n') + 1).trim();
  } finally {
    await file.close();
  }
}

/** As `Promise.all`, but waits for all: what one began may not go on behind the cleaning up. */
async function allSettledOrThrow<A, B, C>(
  promises: readonly [Promise<A>, Promise<B>, Promise<C>],
): Promise<[A, B, C]> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}
