/** The failover in the catalogue: from the moment before the start to the times that were measured. */
import type { ConnectionDecision } from '../domain/failover/connection.ts';
import type { VmId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import { apply } from '../domain/replica/phase.ts';
import type { FailoverRecord, Replica } from '../domain/replica/replica.ts';
import type { CatalogChange, Versioned } from '../ports/catalog.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { GuestAnswered } from './await-guest.ts';
import { savedReplica } from './replica-facts.ts';
import type { Takeover } from './take-over.ts';
import { branchTemporary } from './temporaries.ts';

export async function recordFailover(
  context: OperationContext,
  takeover: Takeover,
  vmId: VmId,
  connection: ConnectionDecision,
): Promise<Versioned<Replica>> {
  const startedAt = await context.now('started-at');
  const failover = newFailover(context, takeover, connection, startedAt);
  const { epoch } = takeover;
  const replica = apply(
    { ...takeover.replica, epoch, failover, targetVmId: vmId, leftFencedNics: [] },
    'failover-started',
  );
  const { registered, released } = branchTemporary(context.operationId, takeover);
  const changes: CatalogChange[] = [savedReplica(replica, takeover.version), released];
  if (connection.isUnfenced) changes.push(unfenced(replica, connection, startedAt));
  const version = takeover.version + 1;
  // Back in Ready with a higher epoch still: hosts have heard of this one as the one that runs.
  const ready = { ...takeover.replica, epoch: epoch + 1 };
  const undo = takeover.isReturnable
    ? [savedReplica(ready, version), registered, cleared(replica)]
    : 'irreversible';
  await context.record('record-failover', changes, { undo });
  return { value: replica, version };
}

export function newFailover(
  context: OperationContext,
  takeover: Takeover,
  connection: ConnectionDecision,
  startedAt: Instant,
): FailoverRecord {
  return {
    pointId: takeover.point.id,
    branchId: takeover.branchId,
    overBranchId: takeover.archiveId,
    operationId: context.operationId,
    reason: takeover.reason,
    fence: takeover.fence,
    fencedNics: takeover.fencedNics,
    // Where there was none to accept, nobody has agreed to one that comes later.
    isDuplicateAccepted: takeover.acceptsDuplicate && connection.isUnfenced,
    isSourceReleased: false,
    startedAt,
    isConnected: connection.connect,
    connectionBecause: connection.because,
    runningAfterMs: null,
    answeringAfterMs: null,
    answeredBy: null,
  };
}

export function cleared({ id }: Replica): CatalogChange {
  return { type: 'condition-cleared', replicaId: id, name: 'unfenced-source' };
}

export function unfenced(
  replica: Replica,
  connection: ConnectionDecision,
  since: Instant,
): CatalogChange {
  const message =
    `The replica is connected although the source is not fenced: ${connection.because}. ` +
    'Make sure that only one of them serves.';
  return {
    type: 'condition-raised',
    replicaId: replica.id,
    condition: { name: 'unfenced-source', message, since },
  };
}

/** From here on there is no way back but by undoing the failover: the guest has begun to write. */
export async function recordRunning(
  context: OperationContext,
  recorded: Versioned<Replica>,
  runningAfterMs: number,
): Promise<Versioned<Replica>> {
  return saveTimes(context, 'record-running', recorded, { runningAfterMs });
}

export async function recordTimes(
  context: OperationContext,
  running: Versioned<Replica>,
  answered: GuestAnswered,
): Promise<void> {
  if (answered.answeringAfterMs === null) return;
  await saveTimes(context, 'record-times', running, answered);
}

async function saveTimes(
  context: OperationContext,
  name: string,
  { value: replica, version }: Versioned<Replica>,
  times: Partial<Pick<FailoverRecord, 'runningAfterMs' | 'answeringAfterMs' | 'answeredBy'>>,
): Promise<Versioned<Replica>> {
  const { failover } = replica;
  if (failover === null) throw new Error(`replica ${replica.id} has no failover to time`);
  const value = { ...replica, failover: { ...failover, ...times } };
  await context.record(name, [savedReplica(value, version)], { undo: 'irreversible' });
  return { value, version: version + 1 };
}
