/**
 * The start guard of a host: put in and taken out when a person asks, looked at with proof, and a single VM let go. What it
 * holds in between is the engine's business (guard-source.ts, keep-guards.ts).
 */
import { asUnderstudyError, UnderstudyError } from '../../domain/error.ts';
import type { HeldVm } from '../../domain/failover/start-guard.ts';
import { DEFAULT_HOOKS_FOLDER, type Host } from '../../domain/host/host.ts';
import type { VmId } from '../../domain/ids.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Versioned } from '../../ports/catalog.ts';
import type { CommandOptions, Reference } from '../../ports/controller.ts';
import type { GuardView } from '../../ports/guard-control.ts';
import type { StartGuard } from '../../ports/start-guard.ts';
import { savedReplica } from '../replica-facts.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { findHost, resolve } from './references.ts';

/** Once more brings it up to date, or moves it to another folder of hooks. */
export async function installGuard(
  ports: ControllerPorts,
  reference: Reference,
  wishedFolder: string | null,
  options: CommandOptions,
): Promise<GuardView> {
  const before = await findHost(ports.catalog, reference);
  const former = before.value.startGuard;
  const hooksFolder = wishedFolder ?? former?.hooksFolder ?? DEFAULT_HOOKS_FOLDER;
  await requireOwnFolder(ports, before.value, hooksFolder);
  if (former !== null && former.hooksFolder !== hooksFolder) {
    await (await guardOf(ports, before.value)).remove(options);
  }
  const host = await saveGuard(ports, before, { hooksFolder });
  try {
    await (await guardOf(ports, host)).install(options);
  } catch (error) {
    await saveGuard(ports, { value: host, version: before.version + 1 }, null);
    throw error;
  }
  return viewOf(ports, host, options);
}

/** Two hosts that share one would let go what the other holds. */
async function requireOwnFolder(
  { catalog }: ControllerPorts,
  { id, name }: Host,
  hooksFolder: string,
): Promise<void> {
  const hosts = (await catalog.hosts()).map(({ value }) => value);
  const other = hosts.find((one) => one.id !== id && one.startGuard?.hooksFolder === hooksFolder);
  if (other === undefined) return;
  const reason = `${hooksFolder} holds the hooks of host ${other.name}; name its own folder with --hooks`;
  throw new UnderstudyError('guard-refused', { host: name, reason });
}

/** What it held may start then; the record goes last, so that a removal that failed half-way can be repeated. */
export async function removeGuard(
  ports: ControllerPorts,
  reference: Reference,
  options: CommandOptions,
): Promise<Host> {
  const found = await findHost(ports.catalog, reference);
  await (await guardOf(ports, found.value)).remove(options);
  return found.value.startGuard === null ? found.value : saveGuard(ports, found, null);
}

export async function showGuard(
  ports: ControllerPorts,
  reference: Reference,
  options: CallOptions,
): Promise<GuardView> {
  const { value: host } = await findHost(ports.catalog, reference);
  return viewOf(ports, host, options);
}

/** Recorded first: else the next look at the host would hold the VM again. */
export async function liftGuard(
  ports: ControllerPorts,
  hostReference: Reference,
  vmReference: Reference,
  options: CommandOptions,
): Promise<GuardView> {
  const { value: host } = await findHost(ports.catalog, hostReference);
  const guard = await guardOf(ports, host);
  const held = await guard.held(options);
  const replicas = await ports.catalog.replicas();
  const vm = resolve(named(host, held, replicas), vmReference, () => {
    return new UnderstudyError('vm-missing', { vm: vmReference, host: host.name });
  });
  for (const replica of replicas) {
    const { sourceHostId, sourceVmId } = replica.value;
    if (sourceHostId === host.id && sourceVmId === vm.id) await letGo(ports, replica);
  }
  for (const one of held) if (one.vmId === vm.id) await guard.release(one, options);
  return viewOf(ports, host, options);
}

type NamedVm = { readonly id: VmId; readonly name: string };

/** What is held there, and what would be if the host had been told. */
function named(
  host: Host,
  held: readonly HeldVm[],
  replicas: readonly Versioned<Replica>[],
): readonly NamedVm[] {
  const names = new Map<VmId, string>(held.map(({ vmId }) => [vmId, vmId]));
  for (const { value } of replicas) {
    if (value.sourceHostId !== host.id || value.failover === null) continue;
    names.set(value.sourceVmId, value.sourceVmName);
  }
  return [...names].map(([id, name]) => ({ id, name }));
}

async function letGo(
  { catalog, durable }: ControllerPorts,
  { value: replica, version }: Versioned<Replica>,
): Promise<void> {
  const { failover, id, name } = replica;
  if (failover === null || failover.isSourceReleased) return;
  const [busy] = await durable.operations({ subject: id, open: true, limit: 1 });
  if (busy !== undefined) {
    const details = { what: name, operation: busy.id, kind: busy.kind };
    throw new UnderstudyError('operation-in-progress', details);
  }
  const released = { ...replica, failover: { ...failover, isSourceReleased: true } };
  await catalog.apply([savedReplica(released, version)]);
}

async function saveGuard(
  { catalog }: ControllerPorts,
  { value, version }: Versioned<Host>,
  startGuard: Host['startGuard'],
): Promise<Host> {
  const host = { ...value, startGuard };
  await catalog.apply([{ type: 'host-saved', host, expectedVersion: version }]);
  return host;
}

async function guardOf({ hosts }: ControllerPorts, { id }: Host): Promise<StartGuard> {
  return (await hosts.ports(id)).startGuard;
}

async function viewOf(
  ports: ControllerPorts,
  host: Host,
  options: CallOptions,
): Promise<GuardView> {
  const guard = await guardOf(ports, host);
  const replicas = (await ports.catalog.replicas()).map(({ value }) => value);
  const held = await guard.held(options);
  return {
    host,
    ...(await proved(guard, options)),
    held: held.map((vm) => {
      const replica = replicas.find(({ id }) => id === vm.replicaId);
      const isSource = replica?.sourceVmId === vm.vmId;
      const vmName = isSource ? replica.sourceVmName : null;
      return { ...vm, vmName, replicaName: replica?.name ?? null };
    }),
  };
}

async function proved(
  guard: StartGuard,
  options: CallOptions,
): Promise<Pick<GuardView, 'state' | 'because'>> {
  try {
    return await guard.prove(options);
  } catch (error) {
    const { code, message } = asUnderstudyError(error);
    if (code !== 'host-unreachable') throw error;
    return { state: 'unproved', because: message };
  }
}
