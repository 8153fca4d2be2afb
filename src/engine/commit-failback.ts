/**
 * Commit failback: production keeps what it took over, and is protected again.
 *
 *   load → see that the replica is off → tell the target what it missed → seal its state at the switchover as a restore point → merge production's layers
 *        → tell the replica folder → record Ready → rest the replica VM → drop its branch → retention
 *
 * The next run is incremental: production's mark since the switchover belongs to that very point. Layers newer than the
 * point failed over to stay beside it as restore points until retention takes them. Where the point failed over to is gone, or the replica
 * was seen to run since, none is made of its state.
 */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import { operationKey, type VmId } from '../domain/ids.ts';
import { apply } from '../domain/replica/phase.ts';
import type { FormerSource, Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../ports/call.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import { actingFor } from './acting-for.ts';
import type { EnginePorts } from './engine-ports.ts';
import { type Failback, homeVm, layersCommand, loadFailback } from './failback-facts.ts';
import { followVm } from './follow-vm.ts';
import { keptMarks } from './kept-marks.ts';
import { mergeProgress } from './merge-progress.ts';
import { recordGathered } from './record-gathered.ts';
import { savedReplica } from './replica-facts.ts';
import { defineAtRest } from './rest-replica.ts';
import { retirePoints } from './retire-points.ts';
import { sealBranch } from './seal-branch.ts';
import { toldOfSiblings } from './siblings.ts';
import { tellOfHome } from './tell-folder.ts';
import { hasRun, ranSettled, requireTold, tellRuns } from './tell-target.ts';
import { branchTemporary, marksLeft } from './temporaries.ts';
import { whyLater } from './why-later.ts';

export function commitFailbackDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'commit-failback',
    run: async (context, input) => {
      const failback = await loadFailback(ports, context, input, 'commit-failback');
      const { switched } = failback.failback;
      if (switched === null) throw new Error(`${failback.replica.id} has not switched over`);
      const vmId = homeVm(failback.failback.home);
      await requireOff(context, failback);
      await requireTold(context, failback);
      const why = await whyNoPoint(context, failback);
      const point = why === null ? await sealBranch(context, failback, switched, vmId) : null;
      if (point === null) await tellOfNoPoint(context, failback, why);
      else await tellOfAddedDisks(context, failback, point);
      await merge(context, failback);
      const ready = await recordReady(ports, context, failback, { point, vmId });
      await leaveBranch(context, failback, ready, point ?? failback.newest);
      await sweepProductionMarks(ports, context, ready, point ?? failback.newest);
      const { settings, target } = failback;
      const order = { supersedes: null, appliesRetention: true };
      await retirePoints(ports, context, { replica: ready, settings, target }, order);
      const sentBytes = point?.disks.reduce((sum, disk) => sum + disk.sentBytes, 0) ?? 0;
      return { pointId: point?.id ?? null, vmId, sentBytes };
    },
  };
}

/** Somebody may have started it by hand since the switchover: what it writes is not what production has. */
async function requireOff(context: OperationContext, failback: Failback): Promise<void> {
  const { target, replicaVmId, replica } = failback;
  await context.step<null>('look-at-replica', {
    do: async ({ signal }) => {
      const power = await powerOf(target, replicaVmId, signal);
      if (power === 'off' || power === 'absent') return null;
      await tellRuns(failback);
      throw new UnderstudyError('vm-not-off', { vm: replica.name });
    },
    undo: 'nothing',
  });
}

/**
 * Null: its branch holds what production took over, unless what the branch lies over is gone. Somebody may have started the replica, and
 * shut it down again, while its host could not be told. Its own files tell; where the catalogue was rebuilt nobody knows by which mark.
 */
function whyNoPoint(
  context: OperationContext,
  { catalog, replica, failover, failback, target }: Failback,
): Promise<string | null> {
  return context.step<string | null>('look-whether-it-ran', {
    do: async ({ signal }) => {
      const { branchId } = failover;
      const since = failback.syncedMark;
      const isUntouched =
        !(await hasRun(catalog, replica.id)) &&
        (since === null ||
          (await target.store.isBranchUnwritten(replica.id, branchId, since, { signal })));
      return isUntouched
        ? null
        : 'it seems to have run since production took over, which does not have what it wrote';
    },
    undo: 'nothing',
  });
}

async function powerOf({ hypervisor }: HostPorts, id: VmId, signal: AbortSignal) {
  try {
    return (await hypervisor.vm(id, { signal })).power;
  } catch (error) {
    if (asUnderstudyError(error).code === 'vm-missing') return 'absent';
    throw error;
  }
}

/** Production is what counts, and must not wait for a chain that cannot be mended. */
function tellOfNoPoint(
  context: OperationContext,
  { newest }: Failback,
  why: string | null,
): Promise<void> {
  const next = newest === null ? 'copies production whole' : `goes on from ${newest.id}`;
  const because = why ?? 'the one that it went on from is gone';
  return context.note(
    'note-no-point',
    `The replica's state is not kept as a restore point, because ${because}; the next run ${next}.`,
  );
}

/** They lie where somebody put them at the target, not in the branch; production has them. */
async function tellOfAddedDisks(
  context: OperationContext,
  { failback }: Failback,
  { disks }: RestorePoint,
): Promise<void> {
  const added = failback.layers.filter((layer) => !disks.some(({ key }) => key === layer.key));
  if (added.length === 0) return;
  const names = added.map(({ key }) => key).join(', ');
  await context.note(
    'note-added-disks',
    `The restore point of the replica's state is without ${names}, which somebody added to the replica; the next run copies it whole.`,
  );
}

async function merge(
  context: OperationContext,
  { home, failback, replica, clock }: Failback,
): Promise<void> {
  await context.step<null>('merge-layers', {
    do: async ({ key, signal }) => {
      await home.productionDisks.commit(layersCommand(failback, replica, key), {
        signal,
        onProgress: mergeProgress(context, clock, 'merge-layers'),
      });
      return null;
    },
    undo: 'irreversible',
  });
}

async function recordReady(
  ports: EnginePorts,
  context: OperationContext,
  loaded: Failback,
  { point, vmId }: { readonly point: RestorePoint | null; readonly vmId: VmId },
): Promise<Replica> {
  const { replica, failover, failback, version } = loaded;
  const { hostId, name } = failback.home;
  const { sourceHostId, sourceVmId, sourceVmName } = replica;
  const requestedAt = await context.now('committed-at');
  const isElsewhere = hostId !== sourceHostId || vmId !== sourceVmId;
  const former = {
    hostId: sourceHostId,
    vmId: sourceVmId,
    name: sourceVmName,
    leftAt: requestedAt,
  };
  const moved: Replica = {
    ...replica,
    sourceHostId: hostId,
    sourceVmId: vmId,
    sourceVmName: name,
    epoch: replica.epoch + 1,
    newestPointId: (point ?? loaded.newest)?.id ?? null,
    failover: null,
    failback: null,
    formerSource: isElsewhere ? former : replica.formerSource,
  };
  const ready = apply(moved, 'failback-committed');
  await tellOfHome(context, loaded, ready);
  const newJobId = await context.freshId('new-job-id', 'job');
  const { branchId } = failover;
  const { operationId } = context;
  const branch = branchTemporary(operationId, { replica: ready, branchId, requestedAt });
  await recordGathered(context, 'record-ready', async (attempt) => {
    const jobs = (await ports.catalog.jobs()).map(
      ({ value, version: of }) => ({ job: value, version: of }) as const,
    );
    const followed = followVm(jobs, replica, { hostId, vmId, name }, newJobId);
    return [
      savedReplica({ ...ready, jobId: followed.jobId }, version),
      ...(point === null ? [] : [{ type: 'point-saved', point } as const]),
      branch.registered,
      ranSettled(replica.id),
      { type: 'temporary-registered', temporary: marksLeft(operationId, ready, requestedAt) },
      ...followed.changes,
      ...(await unfencedAfter(ports, ready, isElsewhere ? former : null, attempt)),
    ];
  });
  return ready;
}

/** Whether another replica may still serve; and a source that nobody has seen at rest, and whose place another VM has taken, may come back. */
async function unfencedAfter(
  ports: EnginePorts,
  replica: Replica,
  former: FormerSource | null,
  options: CallOptions,
): Promise<readonly CatalogChange[]> {
  const { id: replicaId, sourceVmName } = replica;
  const conditions = await ports.catalog.conditions(replicaId);
  const standing = conditions.find(({ name }) => name === 'unfenced-source');
  const beside =
    standing === undefined
      ? []
      : [await toldOfSiblings(ports, replica, sourceVmName, standing.since, options)];
  if (former === null) return beside;
  const { since } = standing ?? conditions.find(({ name }) => name === 'source-returned') ?? {};
  const name = 'former-source-unfenced';
  if (since === undefined) return [...beside, { type: 'condition-cleared', replicaId, name }];
  const message =
    `${former.name} has not been seen at rest since ${sourceVmName} took its place, so that it may still run beside it. ` +
    'Make sure that it does not: shut it down at its old host and remove it there.';
  return [...beside, { type: 'condition-raised', replicaId, condition: { name, message, since } }];
}

/** Its state is a restore point now. What cannot be tidied this moment is registered: the sweeper comes back for it. */
async function leaveBranch(
  context: OperationContext,
  { failover, settings, target, replicaVmId }: Failback,
  ready: Replica,
  /** Null: there is none to define the replica by. It stays parked until the next run. */
  point: RestorePoint | null,
): Promise<void> {
  const because = await context.step<string | null>('leave-branch', {
    do: async (attempt) => {
      const { key, signal } = attempt;
      try {
        if (point !== null) {
          await defineAtRest({ replica: ready, point, settings, target }, key, { signal });
        }
        const command = { key, replicaId: ready.id, epoch: ready.epoch };
        await target.store.deleteBranch({ ...command, branchId: failover.branchId }, { signal });
        await target.pointSource.sweepMarks({ vmId: replicaVmId, keep: [] }, { signal });
        return null;
      } catch (error) {
        return whyLater(error, attempt);
      }
    },
    undo: 'nothing',
  });
  if (because === null) {
    const key = operationKey(context.operationId, 'branch');
    await context.record('release-branch', [{ type: 'temporary-released', key }], {
      undo: 'nothing',
    });
    return;
  }
  await context.note('note-branch', `The replica's branch is left to the sweeper. ${because}`);
}

/** Of what production had before, only the mark of the new newest point is needed any more; else the sweeper comes back. */
async function sweepProductionMarks(
  ports: EnginePorts,
  context: OperationContext,
  ready: Replica,
  point: RestorePoint | null,
): Promise<void> {
  const { pointSource } = await actingFor(ports, ready.id, ready.sourceHostId);
  const because = await context.step<string | null>('sweep-marks', {
    do: async (attempt) => {
      try {
        const keep = await keptMarks(ports.catalog, ready, point);
        await pointSource.sweepMarks({ vmId: ready.sourceVmId, keep }, attempt);
        return null;
      } catch (error) {
        return whyLater(error, attempt);
      }
    },
    undo: 'nothing',
  });
  if (because !== null) {
    await context.note('note-marks', `Old marks wait for a sweep. ${because}`);
    return;
  }
  const { key } = marksLeft(context.operationId, ready, ready.createdAt);
  await context.record('release-marks', [{ type: 'temporary-released', key }], { undo: 'nothing' });
}
