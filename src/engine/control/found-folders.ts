/** What lies on one host: replica folders, and the VMs that use them. Reads only. */
import { asUnderstudyError } from '../../domain/error.ts';
import { readBranchAbout } from '../../domain/failover/branch-about.ts';
import type { Host } from '../../domain/host/host.ts';
import { operationId, operationKey } from '../../domain/ids.ts';
import { readAbout } from '../../domain/replica/about.ts';
import type { FoundFolder, FoundVm } from '../../domain/replica/rebuild.ts';
import { isConnected, type VmDescription } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { HostViews } from '../../ports/host-directory.ts';
import type { FoundReplica, StoredBranch } from '../../ports/replica-store.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { findHome, type KnownHosts } from './found-home.ts';

export type HostFolders = {
  readonly host: Host;
  readonly folders: readonly {
    readonly replica: FoundReplica;
    /** Null when it cannot be read, with the reason. */
    readonly folder: FoundFolder | null;
    readonly because: string | null;
  }[];
};

/** Throws `host-unreachable`. `repairsAt`: the epoch of records that are made anew; null: none is. */
export async function findFolders(
  ports: ControllerPorts,
  host: Host,
  {
    repairsAt,
    known,
    ...options
  }: CallOptions & { readonly repairsAt: number | null; readonly known: KnownHosts },
): Promise<HostFolders> {
  const at = await ports.hosts.ports(host.id);
  if (repairsAt !== null) await repairRecords(at, repairsAt, options);
  const found = await at.store.replicas(options);
  const vms = found.length === 0 ? [] : await describeAll(at, options);
  const folders: HostFolders['folders'][number][] = [];
  for (const replica of found) {
    try {
      const read = await readFolder(at, replica, vms, options);
      const folder = { ...read, home: await findHome(ports, known, read, options) };
      folders.push({ replica, folder, because: null });
    } catch (error) {
      const { code, kind, message } = asUnderstudyError(error);
      if (options.signal.aborted || kind === 'bug' || code === 'host-unreachable') throw error;
      const advice = replica.isDamaged
        ? 'With --repair its record is made anew from the images.'
        : '';
      folders.push({ replica, folder: null, because: `${message} ${advice}`.trim() });
    }
  }
  return { host, folders };
}

/** Where even that cannot be, the folder is told as one that cannot be read. */
async function repairRecords(
  { store }: HostViews,
  epoch: number,
  options: CallOptions,
): Promise<void> {
  for (const { replicaId, isDamaged } of await store.replicas(options)) {
    if (!isDamaged) continue;
    const found = await store.inspect(replicaId, options);
    const findings = found.filter(({ kind }) => kind === 'record-missing');
    const key = operationKey(operationId('op-rebuild'), 'repair');
    try {
      await store.repair({ key, replicaId, epoch, findings }, options);
    } catch (error) {
      if (asUnderstudyError(error).code !== 'invalid-file') throw error;
    }
  }
}

async function readFolder(
  { store }: HostViews,
  replica: FoundReplica,
  vms: readonly VmDescription[],
  options: CallOptions,
): Promise<Omit<FoundFolder, 'home'>> {
  const { replicaId: id, name, epoch } = replica;
  const points = await store.points(id, options);
  const stored = await store.branches(id, options);
  const branches = stored.map((branch) => ({ ...branch, about: readBranchAbout(branch.about) }));
  const keys = [...new Set(points.flatMap((point) => point.disks.map(({ key }) => key)))];
  const resting = new Set(store.restingDisks(id, keys).map(({ path }) => path));
  const using = vms.flatMap((vm) => {
    const use = useOf(vm, stored, resting);
    return use === null ? [] : [use];
  });
  return { id, name, epoch, about: readAbout(replica.about), points, branches, vms: using };
}

/** Null: its disks are elsewhere. */
function useOf(
  vm: VmDescription,
  branches: readonly StoredBranch[],
  resting: ReadonlySet<string>,
): FoundVm | null {
  const paths = vm.disks.map(({ path }) => path);
  const branch = branches.find(({ disks }) => disks.some(({ path }) => paths.includes(path)));
  if (branch === undefined && !paths.some((path) => resting.has(path))) return null;
  const { id, name, power } = vm;
  return { id, name, power, isConnected: isConnected(vm), branchId: branch?.id ?? null };
}

async function describeAll(
  { hypervisor }: HostViews,
  options: CallOptions,
): Promise<readonly VmDescription[]> {
  const described: VmDescription[] = [];
  for (const { id } of await hypervisor.vms(options)) {
    try {
      described.push(await hypervisor.vm(id, options));
    } catch (error) {
      // Undefined between the list and the look, or one that nobody can read: neither is a replica of ours.
      const { code } = asUnderstudyError(error);
      if (code !== 'vm-missing' && code !== 'invalid-vm-configuration') throw error;
    }
  }
  return described;
}
