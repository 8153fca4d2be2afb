/**
 * What must not outlive its operation. It is registered before it is made; the sweeper removes what is still
 * registered when its operation has ended, however that ended.
 */
import { asUnderstudyError } from '../domain/error.ts';
import type { FailbackRecord } from '../domain/failover/failback.ts';
import type { LeftProduction } from '../domain/failover/siblings.ts';
import {
  type BranchId,
  type HostId,
  type OperationId,
  type OperationKey,
  operationId,
  operationKey,
  type PointId,
  type ReplicaId,
  replicaId,
  type VmId,
  vmId,
} from '../domain/ids.ts';
import { type Instant, instant } from '../domain/instant.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../ports/call.ts';
import type { CatalogChange, Temporary } from '../ports/catalog.ts';
import type { Clock } from '../ports/clock.ts';
import type { Sidecar } from '../ports/hypervisor.ts';
import { withDeadline } from './deadline.ts';

/** After this a temporary is swept even if its operation claims to be alive. */
const LIFETIME_MS = 7 * 24 * 3600 * 1000;

/** The register entries of one replication run, and the changes that make and end them. */
export function temporaryChanges(
  operation: OperationId,
  replica: Replica,
  point: PointId,
  startedAt: Instant,
): {
  readonly freezeKey: OperationKey;
  readonly registered: readonly CatalogChange[];
  readonly freezeReleased: CatalogChange;
  readonly partialReleased: CatalogChange;
} {
  // One operation may make several points: each has a freeze of its own, so that none is taken for another's.
  const freezeKey = operationKey(operation, `freeze-${point}`);
  const partial = partialTemporary(operation, replica, point, startedAt);
  const expiresAt = instant(startedAt + LIFETIME_MS);
  return {
    freezeKey,
    registered: [
      {
        type: 'temporary-registered',
        temporary: {
          key: freezeKey,
          hostId: replica.sourceHostId,
          kind: 'freeze',
          identity: { replicaId: replica.id, vmId: replica.sourceVmId },
          expiresAt,
        },
      },
      { type: 'temporary-registered', temporary: partial },
    ],
    freezeReleased: { type: 'temporary-released', key: freezeKey },
    partialReleased: { type: 'temporary-released', key: partial.key },
  };
}

/** What is written of a restore point until it is sealed. */
export function partialTemporary(
  operation: OperationId,
  { id, targetHostId }: Replica,
  point: PointId,
  since: Instant,
): Temporary {
  return {
    key: operationKey(operation, `partial-${point}`),
    hostId: targetHostId,
    kind: 'partial-point',
    identity: { replicaId: id, pointId: point },
    expiresAt: instant(since + LIFETIME_MS),
  };
}

/** A branch is temporary until the failover that made it is recorded. */
export function branchTemporary(
  operation: OperationId,
  takeover: {
    readonly replica: Replica;
    readonly branchId: BranchId;
    readonly requestedAt: Instant;
  },
): { readonly registered: CatalogChange; readonly released: CatalogChange } {
  const { replica, branchId, requestedAt } = takeover;
  const key = operationKey(operation, 'branch');
  return {
    registered: {
      type: 'temporary-registered',
      temporary: {
        key,
        hostId: replica.targetHostId,
        kind: 'branch',
        identity: { replicaId: replica.id, branchId },
        expiresAt: instant(requestedAt + LIFETIME_MS),
      },
    },
    released: { type: 'temporary-released', key },
  };
}

/** What a pass of a failback freezes at the replica. */
export function replicaFreezeTemporary(
  key: OperationKey,
  { id, targetHostId, targetVmId }: Replica,
  since: Instant,
): Temporary {
  return {
    key,
    hostId: targetHostId,
    kind: 'freeze',
    identity: { replicaId: id, vmId: targetVmId ?? '' },
    expiresAt: instant(since + LIFETIME_MS),
  };
}

/** Freezes that a lost controller may have left: nobody knows their keys. */
export function unknownFreezes(
  { id, sourceHostId, sourceVmId, targetHostId, targetVmId }: Replica,
  since: Instant,
): readonly Temporary[] {
  const at = (end: string, hostId: HostId, vmId: VmId): Temporary => ({
    key: operationKey(operationId(`op-${id}`), `freezes-at-${end}`),
    hostId,
    kind: 'freeze',
    identity: { replicaId: id, vmId, whose: 'unknown' },
    expiresAt: instant(since + LIFETIME_MS),
  });
  const source = at('source', sourceHostId, sourceVmId);
  return targetVmId === null ? [source] : [source, at('target', targetHostId, targetVmId)];
}

/** Working layers over production's disks are temporary until the failback that laid them is recorded, and once it is given up. */
export function layersTemporary(
  operation: OperationId,
  { id }: Replica,
  failback: Pick<FailbackRecord, 'id' | 'home'>,
  since: Instant,
  /** The VM on them was production and could not be asked: it may go on. */
  isLeftServing = false,
): Temporary {
  const { hostId, vmId, name } = failback.home;
  return {
    key: operationKey(operation, 'working-layers'),
    hostId,
    kind: 'working-layers',
    identity: {
      replicaId: id,
      failbackId: failback.id,
      vmId: vmId ?? '',
      ...(isLeftServing ? { mayServeAs: name } : {}),
    },
    expiresAt: instant(since + LIFETIME_MS),
  };
}

/** Until its layers are gone, and it with them or stopped. */
export function leftProduction(temporaries: readonly Temporary[]): readonly LeftProduction[] {
  return temporaries.flatMap(({ hostId, identity }) => {
    const { replicaId: owner, vmId: vm, mayServeAs: name } = identity;
    if (owner === undefined || !vm || name === undefined) return [];
    return [{ replicaId: replicaId(owner), hostId, vmId: vmId(vm), name }];
  });
}

/** That production took over is to be told to a target that did not answer; with it, where its frozen sidecars are. */
export function untoldTemporary(
  operation: OperationId,
  { id, targetHostId }: Replica,
  failback: Pick<FailbackRecord, 'id' | 'startedAt'>,
  sidecars: readonly Sidecar[],
): Temporary {
  const paths = sidecars.map(({ name, path }) => [name, path] as const);
  return {
    key: operationKey(operation, 'untold'),
    hostId: targetHostId,
    kind: 'untold-switchover',
    identity: { replicaId: id, failbackId: failback.id, ...Object.fromEntries(paths) },
    expiresAt: instant(failback.startedAt + LIFETIME_MS),
  };
}

export function sidecarsIn(identity: Temporary['identity']): readonly Sidecar[] {
  const names = ['nvram', 'tpm'] as const;
  return names.flatMap((name) => {
    const path = identity[name];
    return path === undefined ? [] : [{ name, path }];
  });
}

export type TestPlan = {
  readonly testId: string;
  readonly branchId: BranchId;
  readonly point: RestorePoint;
  /** Of the VM. */
  readonly name: string;
};

/** A test VM with its network, and the branch below it: gone together, the VM first. */
export function testTemporary(
  operation: OperationId,
  replica: Replica,
  { testId, branchId }: TestPlan,
  registeredAt: Instant,
): { readonly registered: CatalogChange; readonly released: CatalogChange } {
  const key = operationKey(operation, testId);
  return {
    registered: {
      type: 'temporary-registered',
      temporary: {
        key,
        hostId: replica.targetHostId,
        kind: 'test',
        identity: { replicaId: replica.id, testId, branchId },
        expiresAt: instant(registeredAt + LIFETIME_MS),
      },
    },
    released: { type: 'temporary-released', key },
  };
}

/** A replica (its own, or the one it is seeded from) that is served to be read, under the key of the step that reads. */
export function readingTemporary(
  key: OperationKey,
  { id, targetHostId }: Replica,
  readId: ReplicaId,
  since: Instant,
): Temporary {
  return {
    key,
    hostId: targetHostId,
    kind: 'reading',
    identity: { replicaId: id, readId },
    expiresAt: instant(since + LIFETIME_MS),
  };
}

/** How long tidying may take before it is left to the sweeper. */
export const PATIENCE_MS = 30_000;
/** The same on the way back: somebody may be waiting for the replica, because this very host was lost. */
export const UNDO_PATIENCE_MS = 5_000;

type Tidying = {
  readonly clock: Clock;
  readonly patienceMs: number;
  readonly signal: AbortSignal;
};

/** Marks at a replica's source that nobody needs any more, until they are swept. */
export function marksLeft(
  operation: OperationId,
  { id, sourceHostId, sourceVmId }: Replica,
  leftAt: Instant,
): Temporary {
  return {
    key: operationKey(operation, 'forget-marks'),
    hostId: sourceHostId,
    kind: 'freeze',
    identity: { replicaId: id, vmId: sourceVmId },
    expiresAt: instant(leftAt + LIFETIME_MS),
  };
}

/**
 * Tidying that may fail, or hang, without harm: what it would have removed is registered, invisible to everyone
 * else, and the sweeper comes back for it. False when it must. Errors that are our own bugs still surface.
 */
export async function orLeaveToSweeper(
  { clock, patienceMs, signal }: Tidying,
  tidy: (options: CallOptions) => Promise<void>,
): Promise<boolean> {
  try {
    await withDeadline(clock, patienceMs, { signal }, (deadline) => tidy({ signal: deadline }));
    return true;
  } catch (error) {
    if (asUnderstudyError(error).kind === 'bug') throw error;
    return false;
  }
}
