/**
 * Takes away what an ended operation registered and left, one after the other. Of a partial point the target may tell that it is
 * sealed: then it is listed. What the marks at the source are worth is known only then, so they are looked at again; the freeze
 * does not wait for it, since its scratch fills.
 */
import { asUnderstudyError } from '../domain/error.ts';
import {
  type BranchId,
  branchId,
  failbackId,
  type MarkName,
  operationId,
  pointId,
  type ReplicaId,
  replicaId,
  vmId,
} from '../domain/ids.ts';
import { hasEnded } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Temporary } from '../ports/catalog.ts';
import type { Durable, OperationContext } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import { actingFor } from './acting-for.ts';
import { discardPartial } from './discard-partial.ts';
import { dropLayers } from './drop-layers.ts';
import type { EnginePorts } from './engine-ports.ts';
import { listing } from './find-points.ts';
import { keptMarks, markOfBranch } from './kept-marks.ts';
import { removeBranch } from './leave-branch.ts';
import type { ReplicaFacts } from './replica-facts.ts';
import { startableSettled, tellUntold } from './tell-target.ts';
import { marksLeft } from './temporaries.ts';

type Swept = {
  readonly swept: number;
  readonly left: number;
  /** As they are then: what was taken for a partial may be a restore point. */
  readonly facts: ReplicaFacts;
};

export async function sweepTemporaries(
  ports: EnginePorts,
  durable: Pick<Durable, 'operation'>,
  context: OperationContext,
  loaded: ReplicaFacts,
): Promise<Swept> {
  const orphans = await context.step<readonly Temporary[]>('find-orphans', {
    do: async () => {
      const all = await ports.catalog.temporaries();
      const mine = all.filter((temporary) => replicaOf(temporary) === loaded.replica.id);
      const flags = await Promise.all(mine.map((temporary) => isOrphan(durable, temporary)));
      return mine.filter((_, index) => flags[index]).sort(byUrgency);
    },
    undo: 'nothing',
  });
  const queue = [...orphans];
  let facts = loaded;
  let count = 0;
  let isUntold = false;
  for (const [index, orphan] of queue.entries()) {
    // What an untold target is to be told is read from the freeze.
    if (isUntold && orphan.kind === 'freeze') continue;
    const known = facts;
    const removal = await context.step<Removal>(`remove-${index}`, {
      do: ({ signal }) => removed(() => remove(ports, known, orphan, { signal })),
      undo: 'nothing',
    });
    if (removal === false) {
      isUntold ||= isOfSwitchover(orphan);
      continue;
    }
    count += 1;
    const listed = listing(facts, removal === true ? [] : [removal]);
    facts = listed.facts;
    const marks = isPartial(orphan) ? [await marksAfter(context, index, facts)] : [];
    queue.push(...marks);
    await context.record(
      `release-${index}`,
      [
        { type: 'temporary-released', key: orphan.key },
        ...listed.changes,
        ...marks.map((temporary) => ({ type: 'temporary-registered', temporary }) as const),
        ...(isOfSwitchover(orphan) ? [startableSettled(facts.replica.id)] : []),
      ],
      { undo: 'nothing' },
    );
  }
  return { swept: count, left: queue.length - count, facts };
}

/** While nobody knew what had become of a partial its mark had to stay. */
async function marksAfter(
  context: OperationContext,
  index: number,
  { replica }: ReplicaFacts,
): Promise<Temporary> {
  return marksLeft(context.operationId, replica, await context.now(`settled-at-${index}`));
}

function isPartial({ kind }: Temporary): boolean {
  return kind === 'partial-point';
}

function isOfSwitchover({ kind }: Temporary): boolean {
  return kind === 'untold-switchover';
}

function byUrgency(one: Temporary, other: Temporary): number {
  return Number(isOfSwitchover(other)) - Number(isOfSwitchover(one));
}

/** False when its host is away: it stays registered, and the next sweep comes back. A point: unlisted, and taken for a partial. */
type Removal = boolean | RestorePoint;

async function removed(removal: () => Promise<RestorePoint | null>): Promise<Removal> {
  try {
    return (await removal()) ?? true;
  } catch (error) {
    const { kind } = asUnderstudyError(error);
    if (kind === 'bug' || kind === 'cancelled') throw error;
    return kind === 'missing';
  }
}

async function remove(
  ports: EnginePorts,
  facts: ReplicaFacts,
  { hostId, kind, key, identity }: Temporary,
  options: CallOptions,
): Promise<RestorePoint | null> {
  const { replica, newest } = facts;
  const host = await actingFor(ports, replica.id, hostId);
  const { pointSource, store, testBench } = host;
  const command = { key, replicaId: replica.id, epoch: replica.epoch };
  switch (kind) {
    case 'freeze': {
      const vm = vmId(identity.vmId ?? '');
      if (identity.whose === 'unknown') await pointSource.endAll(vm, options);
      else await pointSource.end({ key, vmId: vm }, options);
      // Both ends may be on one host, and a VM may have the same UUID at both.
      const isReplica = hostId === replica.targetHostId && vm === replica.targetVmId;
      const keep = isReplica
        ? branchMarks(replica)
        : await keptMarks(ports.catalog, replica, newest);
      await pointSource.sweepMarks({ vmId: vm, keep }, options);
      break;
    }
    case 'working-layers':
      await leaveHome(ports, facts, host, { key, hostId, identity }, options);
      break;
    case 'untold-switchover':
      await tellUntold({ ...ports, target: host, replica }, identity, { key, ...options });
      break;
    case 'partial-point': {
      const partial = { ...command, pointId: pointId(identity.pointId ?? '') };
      return discardPartial({ catalog: ports.catalog, replica, store }, partial, options);
    }
    case 'reading':
      await store.closeReading(
        { ...command, replicaId: replicaId(identity.readId ?? '') },
        options,
      );
      break;
    case 'export':
      await store.discardExport({ ...command, exportId: identity.exportId ?? '' }, options);
      break;
    case 'branch': {
      const branch = { key, branchId: branchId(identity.branchId ?? '') };
      if (!isKept(replica, branch.branchId))
        await removeBranch(ports, facts, host, branch, options);
      break;
    }
    case 'test': {
      await testBench.tearDown({ key, testId: identity.testId ?? '' }, options);
      const branch = branchId(identity.branchId ?? '');
      await store.deleteBranch({ ...command, branchId: branch }, options);
      break;
    }
  }
  return null;
}

/** What the replica's own disks need: the branch's mark, and that of the last pass of a failback. */
function branchMarks({ failover, failback }: Replica): readonly MarkName[] {
  if (failover === null) return [];
  const pass = failback?.syncedMark ?? null;
  return [markOfBranch(failover.branchId), ...(pass === null ? [] : [pass])];
}

/**
 * A failback that was undone past its host may have left production running on layers that nobody wants any more: that VM
 * and no other refuses to let them go, and is powered off.
 */
async function leaveHome(
  { catalog }: EnginePorts,
  { replica, newest }: ReplicaFacts,
  home: HostPorts,
  { key, hostId, identity }: Pick<Temporary, 'key' | 'hostId' | 'identity'>,
  options: CallOptions,
): Promise<void> {
  const id = failbackId(identity.failbackId ?? '');
  if (replica.failback?.id === id) return;
  const vm = identity.vmId ? vmId(identity.vmId) : null; // none was made yet
  const laid = { replica, newest, catalog, home, hostId, vmId: vm };
  const command = { key, replicaId: replica.id, epoch: replica.epoch, failbackId: id };
  try {
    await dropLayers(laid, command, options);
  } catch (error) {
    if (vm === null || asUnderstudyError(error).code !== 'vm-not-off') throw error;
    await home.hypervisor.powerOff({ key, vmId: vm }, options);
    await dropLayers(laid, command, options);
  }
}

/** Recorded by a failover, or archived by an undo: no debris. */
function isKept({ failover, archives }: Replica, branch: BranchId): boolean {
  return failover?.branchId === branch || archives.some(({ branchId }) => branchId === branch);
}

/** Whose it is; null: nobody's that can be swept. */
export function replicaOf({ identity }: Temporary): ReplicaId | null {
  return identity.replicaId === undefined ? null : replicaId(identity.replicaId);
}

/** Its operation has ended: that is the part of the key before the slash. */
export async function isOrphan(
  durable: Pick<Durable, 'operation'>,
  { key }: Temporary,
): Promise<boolean> {
  const owner = await durable.operation(operationId(key.slice(0, key.indexOf('/'))));
  return owner === null || hasEnded(owner.state);
}
