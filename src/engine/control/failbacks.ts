/** Failback and what follows it: what it would mean, and how each part is asked for. */
import { UnderstudyError } from '../../domain/error.ts';
import { named } from '../../domain/failover/connection.ts';
import {
  type FailbackHome,
  homeRefusal,
  type SwitchoverMode,
} from '../../domain/failover/failback.ts';
import { connectsAtSwitchover } from '../../domain/failover/fencing.ts';
import { isElsewhere } from '../../domain/failover/watched-source.ts';
import { formatInstant } from '../../domain/instant.ts';
import type { Json, OperationRecord } from '../../domain/operation/operation.ts';
import { allowedOperations } from '../../domain/replica/phase.ts';
import type { FailoverRecord, Replica } from '../../domain/replica/replica.ts';
import { configurationChanges } from '../../domain/vm/configuration-change.ts';
import { isServing, type VmDescription } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { CommandOptions, Reference } from '../../ports/controller.ts';
import type { Claims } from '../../ports/durable.ts';
import type {
  FailbackOrder,
  FailbackPreview,
  SwitchOverOrder,
  UndoFailbackOrder,
} from '../../ports/orders.ts';
import { otherFailback } from '../failback.ts';
import { sourceBeside } from '../heed-source.ts';
import { lookAtSiblings } from '../siblings.ts';
import { accept, knownOperation } from './accept.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { expectedOfFailback } from './expectations.ts';
import { GUEST_DEADLINE_MS } from './failovers.ts';
import { findHost, findReplica, findVm, hostNameOf } from './references.ts';
import { sourceSlot, transferSlots } from './run-job.ts';

export async function failback(
  ports: ControllerPorts,
  reference: Reference,
  order: FailbackOrder,
  options: CommandOptions,
): Promise<OperationRecord> {
  const known = await knownOperation(ports, options);
  if (known !== null) return known;
  const { value: replica } = await findReplica(ports.catalog, reference);
  requireAhead(ports, order);
  const home = await homeOf(ports, replica, order, options);
  const { switchover, discardSavedState, applyChanges, shutdownDeadlineMs } = order;
  return accept(
    ports,
    replica,
    {
      kind: 'failback',
      allowedAs: 'failback',
      title: `Fail ${replica.sourceVmName} back to ${home.name}`,
      input: {
        homeHostId: home.hostId,
        homeVmId: home.vmId,
        homeName: home.name,
        homeKind: home.kind,
        ...switchoverInput(switchover),
        discardsSavedState: discardSavedState,
        appliesChanges: applyChanges,
        shutdownDeadlineMs,
      },
      slots: await transferSlots(ports, replica, home.hostId),
    },
    options,
  );
}

/** A mistyped year must not take down what serves. */
function requireAhead({ clock }: ControllerPorts, { switchover }: FailbackOrder): void {
  if (switchover.type !== 'at' || switchover.at > clock.now()) return;
  const reason = `${formatInstant(switchover.at)} has passed; to switch over as soon as possible, ask for an automatic switchover`;
  throw new UnderstudyError('invalid-request', { reason });
}

function switchoverInput(mode: SwitchoverMode): Readonly<Record<string, Json>> {
  if (mode.type === 'at') return { switchover: mode.type, switchoverAt: mode.at };
  if (mode.type === 'below') return { switchover: mode.type, switchoverBytes: mode.bytes };
  return { switchover: mode.type };
}

async function homeOf(
  ports: ControllerPorts,
  replica: Replica,
  { to }: FailbackOrder,
  options: CallOptions,
): Promise<FailbackHome> {
  const { sourceHostId, sourceVmId, sourceVmName, targetHostId } = replica;
  const original = {
    hostId: sourceHostId,
    vmId: sourceVmId,
    name: sourceVmName,
    kind: 'original',
  } as const;
  if (to.type === 'original') return original;
  const host = to.host === null ? sourceHostId : (await findHost(ports.catalog, to.host)).value.id;
  if (host === targetHostId) {
    const reason = 'The replica runs on that host already: make it permanent instead';
    throw new UnderstudyError('invalid-request', { reason });
  }
  const { hypervisor } = await ports.hosts.ports(host);
  const vms = await hypervisor.vms(options);
  if (to.type === 'copy') {
    const { id, name } = findVm(vms, to.vm, await hostNameOf(ports.catalog, host));
    const copy = { hostId: host, vmId: id, name, kind: 'copy' } as const;
    return isElsewhere(replica, copy) ? copy : original;
  }
  const name = to.name ?? sourceVmName;
  if (!vms.some((vm) => vm.name === name)) return { hostId: host, vmId: null, name, kind: 'new' };
  throw new UnderstudyError('name-taken', { what: 'VM', name });
}

/** Asks both hosts, changes nothing. */
export async function previewFailback(
  ports: ControllerPorts,
  reference: Reference,
  order: FailbackOrder,
  options: CallOptions,
): Promise<FailbackPreview> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  requireAhead(ports, order);
  const home = await homeOf(ports, replica, order, options);
  const target = await ports.hosts.ports(replica.targetHostId);
  const { hypervisor } = await ports.hosts.ports(home.hostId);
  const own = home.vmId === null ? null : await hypervisor.vm(home.vmId, options);
  const standIn =
    replica.targetVmId === null ? null : await target.hypervisor.vm(replica.targetVmId, options);
  const branch = replica.failover?.branchId ?? null;
  const isAllowed = allowedOperations(replica.phase).includes('failback');
  const branchBytes =
    branch === null || !isAllowed
      ? null
      : await target.store.branchBytes(replica.id, branch, options);
  return {
    replicaId: replica.id,
    replicaName: replica.name,
    home,
    homeHostName: await hostNameOf(ports.catalog, home.hostId),
    homePower: own?.power ?? null,
    hasSavedState: own?.hasSavedState ?? false,
    branchBytes,
    // Elsewhere more than the branch is read and sent, and nobody knows how much.
    ...(await expectedOfFailback(ports, replica, home.kind === 'original' ? branchBytes : null)),
    changes: own === null || standIn === null ? [] : configurationChanges(own, standIn),
    consequence: consequenceOf(home, own, replica.failover),
    refusedBecause: isAllowed
      ? ((await otherFailback(ports.catalog, replica, home)) ??
        refusalOf(own, standIn, order) ??
        (await besideOthers(ports, replica, home, options)))
      : `the replica is in phase ${replica.phase}`,
  };
}

/** Why nothing may take the place of the source now, a sentence part; null when it may. */
export async function besideOthers(
  ports: ControllerPorts,
  replica: Replica,
  home: FailbackHome,
  options: CallOptions,
): Promise<string | null> {
  if (replica.failover?.isDuplicateAccepted === true) return null;
  const seen = await sourceBeside(ports, replica, home, options);
  if (seen !== null && isServing(seen)) {
    return `the source VM ${replica.sourceVmName} runs and is connected`;
  }
  const sibling = (await lookAtSiblings(ports, replica, options)).find(isServing);
  if (sibling === undefined) return null;
  return `${named(sibling)}, runs and is connected`;
}

function refusalOf(
  own: VmDescription | null,
  standIn: VmDescription | null,
  { discardSavedState }: FailbackOrder,
): string | null {
  if (own === null || standIn === null) return null;
  if (own.hasSavedState && !discardSavedState) {
    return 'production has a saved memory image (see --discard-saved-state)';
  }
  return homeRefusal(own, standIn);
}

function consequenceOf(
  { name, kind }: FailbackHome,
  own: VmDescription | null,
  failover: FailoverRecord | null,
): string {
  if (kind === 'new') {
    return `All that the replica's disks hold is copied, and VM ${name} is made at the switchover; the replica serves until then`;
  }
  const connects = kind === 'original' && failover !== null ? connectsAtSwitchover(failover) : null;
  const now = own?.power === 'off' ? 'stays off' : 'is shut down now';
  return (
    `VM ${name} ${now} and cannot be started until the switchover, because its disks must stand still; ` +
    'the replica serves until then, and what production wrote since the restore point is not kept' +
    (connects === null ? '' : `; ${connects}`)
  );
}

export async function switchOver(
  ports: ControllerPorts,
  reference: Reference,
  order: SwitchOverOrder,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  return startSwitchOver(ports, replica, options, order);
}

/** Nobody may be there to ask when it begins by itself. */
const UNATTENDED: SwitchOverOrder = {
  shutdownDeadlineMs: 120_000,
  onMissedDeadline: 'give-up',
};

export async function startSwitchOver(
  ports: ControllerPorts,
  replica: Replica,
  options: CommandOptions,
  { applyChanges, ...order }: SwitchOverOrder = UNATTENDED,
): Promise<OperationRecord> {
  return accept(
    ports,
    replica,
    {
      kind: 'switch-over',
      allowedAs: 'switch-over',
      title: `Switch ${replica.sourceVmName} over to production`,
      input: {
        ...order,
        failbackId: replica.failback?.id ?? null,
        guestDeadlineMs: GUEST_DEADLINE_MS,
        ...(applyChanges === undefined ? {} : { appliesChanges: applyChanges }),
      },
      slots: await transferSlots(ports, replica),
    },
    options,
  );
}

export async function startCatchUp(
  ports: ControllerPorts,
  replica: Replica,
  options: CommandOptions,
): Promise<OperationRecord> {
  return accept(
    ports,
    replica,
    {
      kind: 'catch-up-failback',
      allowedAs: 'catch-up-failback',
      title: `Copy what ${replica.name} wrote since to production`,
      input: { failbackId: replica.failback?.id ?? null },
      slots: await transferSlots(ports, replica),
    },
    options,
  );
}

export async function cancelFailback(
  ports: ControllerPorts,
  reference: Reference,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const title = `Give up the failback of ${replica.sourceVmName}`;
  const order = {
    kind: 'cancel-failback',
    allowedAs: 'cancel-failback',
    title,
    input: {},
  } as const;
  return accept(ports, replica, order, options);
}

export async function commitFailback(
  ports: ControllerPorts,
  reference: Reference,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const title = `Commit the failback of ${replica.sourceVmName}`;
  const order = {
    kind: 'commit-failback',
    allowedAs: 'commit-failback',
    title,
    input: {},
    slots: homeSlots(replica),
  } as const;
  return accept(ports, replica, order, options);
}

/** Another replica of the VM may be reading what production's working layers hold. */
function homeSlots({ failback }: Replica): Claims['slots'] {
  const { hostId, vmId = null } = failback?.home ?? {};
  return hostId === undefined || vmId === null ? [] : [sourceSlot(hostId, vmId)];
}

export async function undoFailback(
  ports: ControllerPorts,
  reference: Reference,
  { force, shutdownDeadlineMs }: UndoFailbackOrder,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const title = `Undo the failback of ${replica.sourceVmName}`;
  const input = { force, shutdownDeadlineMs };
  const order = { kind: 'undo-failback', allowedAs: 'undo-failback', title, input } as const;
  return accept(ports, replica, order, options);
}
