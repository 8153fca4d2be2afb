/**
 * Which VMs a host must not start: those whose replicas serve elsewhere. A host holds them back by itself, also when
 * nobody can reach it, where a start guard was installed.
 */
import type { HostId, ReplicaId, VmId } from '../ids.ts';
import { formatInstant, type Instant } from '../instant.ts';
import type { Replica } from '../replica/replica.ts';

/** One VM that may not start, as its host knows it. A VM with several replicas has one for each that serves. */
export type HeldVm = {
  readonly vmId: VmId;
  readonly replicaId: ReplicaId;
  /** Of the replica when it was last written; a host refuses an older one. */
  readonly epoch: number;
  readonly since: Instant;
  /** For whoever tries to start it: why not, and what to do. One line. */
  readonly reason: string;
};

/** Null: nothing forbids the source to start. */
export function heldSource(replica: Replica): HeldVm | null {
  const { failover, sourceVmId: vmId, id: replicaId, epoch } = replica;
  if (failover === null || !isHeld(replica)) return null;
  return { vmId, replicaId, epoch, since: failover.startedAt, reason: reasonFor(replica) };
}

/** An accepted duplicate may start, and what was let go stays free. */
function isHeld({ phase, failover, failback, sourceHostId, sourceVmId }: Replica): boolean {
  if (failover === null || failover.isDuplicateAccepted || failover.isSourceReleased) return false;
  switch (phase) {
    case 'Failover':
    case 'ReadyToSwitch':
      return failover.isConnected; // a replica that is connected nowhere can meet nobody
    case 'Failback':
      // Production serves; where it was carried to another place, the one at the old place is held.
      return failback?.home.hostId !== sourceHostId || failback.home.vmId !== sourceVmId;
    case 'Permanent':
      return true; // the replica is the VM now, however it is connected today
    default:
      return false;
  }
}

/** Commands name ids: a name is its owner's, and may be anything. */
function reasonFor(replica: Replica): string {
  const { id, name, phase, failover, sourceVmName, sourceHostId, sourceVmId } = replica;
  const since = failover === null ? '' : ` since ${formatInstant(failover.startedAt)}`;
  const goBack = ` To go back to it: \`understudy undo-failover ${id}\`.`;
  const what =
    phase === 'Permanent'
      ? `${name} took its place for good${since}.`
      : phase === 'Failback'
        ? 'What it served was failed back to another place.'
        : `Its replica ${name} serves${since}.${phase === 'Failover' ? goBack : ''}`;
  const lift = `\`understudy guard lift ${sourceHostId} ${sourceVmId}\``;
  const all = `${sourceVmName} is kept from starting. ${what} To let it start all the same: ${lift}`;
  // A line break in a name would end the line early.
  return all.replace(/\p{Cc}+/gu, ' ');
}

export type HeldChanges = {
  readonly hold: readonly HeldVm[];
  readonly release: readonly HeldVm[];
};

/**
 * What makes the VMs that a host holds those that it should. Only what is known to be over is released: what another
 * controller holds, or what a failback left behind at its old place, a person has to let go.
 */
export function heldChanges(
  hostId: HostId,
  held: readonly HeldVm[],
  replicas: readonly Replica[],
  isBusy: (replica: Replica) => boolean,
): HeldChanges {
  const here = replicas.filter((one) => one.sourceHostId === hostId && !isBusy(one));
  const hold: HeldVm[] = [];
  const release: HeldVm[] = [];
  for (const replica of here) {
    const present = held.find((one) => isOf(one, replica));
    const wanted = isReplica(hostId, replica.sourceVmId, replicas) ? null : heldSource(replica);
    if (wanted === null) {
      if (present !== undefined && present.epoch <= replica.epoch) release.push(present);
    } else if (present === undefined || isOutdated(present, wanted)) hold.push(wanted);
  }
  return { hold, release };
}

function isOf({ replicaId, vmId }: HeldVm, { id, sourceVmId }: Replica): boolean {
  return replicaId === id && vmId === sourceVmId;
}

function isOutdated(present: HeldVm, wanted: HeldVm): boolean {
  if (present.epoch !== wanted.epoch) return present.epoch < wanted.epoch;
  return present.reason !== wanted.reason || present.since !== wanted.since;
}

/** A VM that comes back as a replica under its old identity, once replication was turned around, must be able to start. */
function isReplica(hostId: HostId, vmId: VmId, replicas: readonly Replica[]): boolean {
  return replicas.some(
    ({ targetHostId, targetVmId, phase }) =>
      targetHostId === hostId && targetVmId === vmId && phase !== 'Removed',
  );
}
