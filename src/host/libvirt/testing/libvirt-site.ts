/** A private libvirt host with a machine on it that has disks and no system: what tests of the driver begin with. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { vmId } from '../../../domain/ids.ts';
import { type PrivateHost, startPrivateHost } from '../../../rig/private-host.ts';
import { systemClock } from '../../../system/clock.ts';
import { systemIds } from '../../../system/ids.ts';
import { systemProcesses } from '../../../system/processes.ts';
import { createLibvirtHypervisor, type LibvirtHypervisor } from '../hypervisor.ts';
import { createVirsh, type Virsh } from '../virsh.ts';

export const SOURCE = vmId('5b1f1c7e-6f4c-4a53-9a0e-0d6d7a3c9b01');
export const run = promisify(execFile);
const signal = new AbortController().signal;

export type Site = AsyncDisposable & {
  readonly host: PrivateHost;
  readonly virsh: Virsh;
  readonly hypervisor: LibvirtHypervisor;
  readonly folder: string;
};

/** A host with the source VM; nothing is left behind when that fails. */
export async function openSite(): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), 'us-lv-'));
  await using opening = new AsyncDisposableStack();
  opening.defer(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  const host = opening.use(await startPrivateHost({ name: 'e2e', folder: join(folder, 'h') }));
  const processes = systemProcesses();
  const virsh = createVirsh({ uri: host.uri, hostName: 'e2e', environment: host.env, processes });
  const clock = systemClock();
  const ids = systemIds();
  const storageFolder = join(folder, 'storage');
  const hypervisor = createLibvirtHypervisor({ virsh, processes, clock, ids, storageFolder });
  await defineSource({ virsh, folder });
  const resources = opening.move();
  const dispose = () => resources.disposeAsync();
  return { host, virsh, hypervisor, folder, [Symbol.asyncDispose]: dispose };
}

/** A machine without a system on its disks: its firmware runs, which is all that is needed here. */
async function defineSource({ virsh, folder }: Pick<Site, 'virsh' | 'folder'>): Promise<void> {
  await run('qemu-img', ['create', '-q', '-f', 'raw', join(folder, 'gone.raw'), '1M']);
  await run('qemu-img', ['create', '-q', '-f', 'raw', join(folder, 'base.raw'), '16M']);
  const write = ['-f', 'raw', '-c', 'write -q -P 7 1M 3M', join(folder, 'base.raw')];
  await run('qemu-io', write);
  const vda = join(folder, 'vda.qcow2');
  await run('qemu-img', ['convert', '-O', 'qcow2', '-f', 'raw', join(folder, 'base.raw'), vda]);
  await virsh.run(['define', { file: sourceXml(folder) }], { signal });
}

function sourceXml(folder: string): string {
  return `<domain type='qemu'>
  <name>production 'db" &lt;1&gt;</name><uuid>${SOURCE}</uuid>
  <memory unit='MiB'>32</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${folder}/vda.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${folder}/gone.raw'/><target dev='vdb' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>
    <interface type='user'><mac address='52:54:00:aa:bb:01'/><model type='virtio'/></interface>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  </devices>
</domain>`;
}

/** Of the storage folder. */
export async function branchFolder({ folder }: Site, name: string): Promise<string> {
  const path = join(folder, 'storage', name);
  await mkdir(path, { recursive: true });
  return path;
}

/** Over the content of the first disk. */
export async function overlay({ folder }: Site, path: string): Promise<void> {
  const base = join(folder, 'base.raw');
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, path]);
}

/** Null when everything is here. */
export async function missingProgram(): Promise<string | null> {
  for (const program of ['virsh', 'qemu-img', 'qemu-io', 'qemu-system-x86_64']) {
    const found = await run(program, ['--version']).then(
      () => true,
      () => false,
    );
    if (!found) return program;
  }
  return null;
}
