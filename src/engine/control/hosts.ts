import { asUnderstudyError, UnderstudyError } from '../../domain/error.ts';
import type { Host } from '../../domain/host/host.ts';
import { hostId } from '../../domain/ids.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import { shellArgument } from '../../domain/shell-argument.ts';
import type { VmSummary } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { AddHost, CommandOptions, HostView, Reference } from '../../ports/controller.ts';
import { textIn } from '../input.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { byName, findHost } from './references.ts';

export async function addHost(
  ports: ControllerPorts,
  request: AddHost,
  options: CommandOptions,
): Promise<HostView> {
  const id = hostId(options.seed === null ? ports.ids.fresh('host') : `host-${options.seed}`);
  const known = await ports.catalog.host(id);
  if (known !== null) return hostView(ports, known.value, options);
  const hosts = await ports.catalog.hosts();
  if (hosts.some(({ value }) => value.name === request.name)) {
    throw new UnderstudyError('name-taken', { what: 'host', name: request.name });
  }
  for (const { value } of hosts) refuseSharedStorage(request, value);
  const scratchFolder = request.scratchFolder ?? `${request.storageFolder}/.scratch`;
  const host: Host = {
    ...request,
    id,
    scratchFolder,
    startGuard: null,
    addedAt: ports.clock.now(),
  };
  await ports.catalog.apply([{ type: 'host-saved', host, expectedVersion: null }]);
  try {
    return await provedView(ports, host, options);
  } catch (error) {
    await ports.catalog.apply([{ type: 'host-removed', hostId: id }]);
    throw error;
  }
}

/** All hosts are on this machine, so one path is one folder. */
function refuseSharedStorage({ storageFolder: path }: AddHost, other: Host): void {
  const [mine, theirs] = [asPrefix(path), asPrefix(other.storageFolder)];
  if (!mine.startsWith(theirs) && !theirs.startsWith(mine)) return;
  throw new UnderstudyError('storage-taken', { path, host: other.name });
}

function asPrefix(folder: string): string {
  return `${folder}/`.replaceAll(/\/+/g, '/');
}

async function provedView(
  ports: ControllerPorts,
  host: Host,
  options: CallOptions,
): Promise<HostView> {
  const view = await hostView(ports, host, options);
  if (view.description !== null) return view;
  const reason = view.unreachableBecause ?? 'no answer';
  throw new UnderstudyError('host-unreachable', { host: host.name, reason });
}

export async function listHosts(ports: ControllerPorts): Promise<readonly Host[]> {
  return (await ports.catalog.hosts()).map(({ value }) => value).sort(byName);
}

export async function showHost(
  ports: ControllerPorts,
  reference: Reference,
  options: CallOptions,
): Promise<HostView> {
  const { value } = await findHost(ports.catalog, reference);
  return hostView(ports, value, options);
}

async function hostView(
  ports: ControllerPorts,
  host: Host,
  options: CallOptions,
): Promise<HostView> {
  try {
    const { hypervisor } = await ports.hosts.ports(host.id);
    const description = await hypervisor.describe(options);
    return { host, description, unreachableBecause: null };
  } catch (error) {
    const { code, message, details } = asUnderstudyError(error);
    if (code !== 'host-unreachable') throw error;
    return { host, description: null, unreachableBecause: String(details.reason ?? message) };
  }
}

export async function removeHost(ports: ControllerPorts, reference: Reference): Promise<Host> {
  const { value: host } = await findHost(ports.catalog, reference);
  const jobs = (await ports.catalog.jobs()).map(({ value }) => value);
  const replicas = (await ports.catalog.replicas()).map(({ value }) => value);
  const failbacks = { kind: 'failback', open: true, limit: OPEN_FAILBACKS_MAX } as const;
  const goingThere = (await ports.durable.operations(failbacks))
    .filter(({ input }) => textIn(input, 'homeHostId') === host.id)
    .map(({ subject }) => subject);
  const users = [
    ...jobs.filter((job) => job.sourceHostId === host.id || job.targetHostId === host.id),
    ...replicas.filter((replica) => isUsing(replica, host) || goingThere.includes(replica.id)),
  ];
  if (users.length > 0) {
    throw new UnderstudyError('host-in-use', { host: host.name, what: someNames(users) });
  }
  if (host.startGuard !== null) {
    const what = `its start guard (\`understudy guard remove ${shellArgument(host.name)}\`)`;
    throw new UnderstudyError('host-in-use', { host: host.name, what });
  }
  await ports.catalog.apply([{ type: 'host-removed', hostId: host.id }]);
  return host;
}

/** Also by a failback that goes there: without it neither a commit nor an undo would lead on. */
function isUsing({ sourceHostId, targetHostId, failback, phase }: Replica, { id }: Host): boolean {
  if (phase === 'Removed' || phase === 'Permanent') return false;
  return sourceHostId === id || targetHostId === id || failback?.home.hostId === id;
}

/** Enough for every replica there is: each has one at most. */
const OPEN_FAILBACKS_MAX = 100_000;

const NAMES_MAX = 5;

function someNames(users: readonly { readonly name: string }[]): string {
  const names = users.slice(0, NAMES_MAX).map(({ name }) => name);
  const more = users.length - names.length;
  return [...names, ...(more > 0 ? [`${more} more`] : [])].join(', ');
}

export async function listVms(
  ports: ControllerPorts,
  reference: Reference,
  options: CallOptions,
): Promise<readonly VmSummary[]> {
  const { value } = await findHost(ports.catalog, reference);
  const { hypervisor } = await ports.hosts.ports(value.id);
  return hypervisor.vms(options);
}
