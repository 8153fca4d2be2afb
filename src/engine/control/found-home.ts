/** What the host of a replica's production has of its failbacks. Reads only. */
import { asUnderstudyError } from '../../domain/error.ts';
import type { Host } from '../../domain/host/host.ts';
import type { VmId } from '../../domain/ids.ts';
import type { FoundFolder } from '../../domain/replica/rebuild.ts';
import type { FoundHome } from '../../domain/replica/rebuilt-failover.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { HostViews } from '../../ports/host-directory.ts';
import type { ControllerPorts } from './controller-ports.ts';

export type KnownHosts = {
  readonly hosts: readonly Host[];
  /** Of replicas whose source host is not known. */
  readonly fallback: Host | null;
};

/** Its id is another one now: by the name it had, else by its address. */
export function hostThatWas(
  { hosts }: KnownHosts,
  { name, address }: { readonly name: string; readonly address: string },
): Host | null {
  const byName = hosts.find((host) => host.name === name);
  return byName ?? hosts.find((host) => host.address === address) ?? null;
}

/** Null: which host it is, is not known, or it does not answer. */
export async function findHome(
  ports: ControllerPorts,
  known: KnownHosts,
  folder: Omit<FoundFolder, 'home'>,
  options: CallOptions,
): Promise<FoundHome | null> {
  const told = toldFailback(folder);
  const host = told === null ? sourceHost(known, folder) : homeHost(known, told);
  if (host === null) return null;
  try {
    const at = await ports.hosts.ports(host.id);
    const { epoch, failbacks } = await at.productionDisks.found(folder.id, options);
    const laid = failbacks.find(({ failbackId }) => failbackId === told?.id);
    const homePower = await powerOf(at, laid?.vmId ?? told?.home.vmId ?? null, options);
    return { hostId: host.id, hostName: host.name, epoch, failbacks, homePower };
  } catch (error) {
    if (asUnderstudyError(error).code !== 'host-unreachable') throw error;
    return null;
  }
}

function toldFailback({ branches }: Pick<FoundFolder, 'branches'>) {
  const active = branches.filter(({ state }) => state === 'active');
  return active.map(({ about }) => about?.failback ?? null).find((told) => told !== null) ?? null;
}

function homeHost(
  known: KnownHosts,
  told: { readonly homeHostName: string; readonly homeHostAddress: string },
): Host | null {
  return hostThatWas(known, { name: told.homeHostName, address: told.homeHostAddress });
}

function sourceHost(known: KnownHosts, { about }: Pick<FoundFolder, 'about'>): Host | null {
  if (about === null) return known.fallback;
  const { sourceHostName: name, sourceHostAddress: address } = about;
  return hostThatWas(known, { name, address }) ?? known.fallback;
}

async function powerOf(
  { hypervisor }: HostViews,
  vmId: VmId | null,
  options: CallOptions,
): Promise<FoundHome['homePower']> {
  if (vmId === null) return 'absent';
  try {
    return await hypervisor.power(vmId, options);
  } catch (error) {
    if (asUnderstudyError(error).code === 'vm-missing') return 'absent';
    throw error;
  }
}
