/**
 * Failover: the replica takes over at a chosen restore point.
 *
 *   load → clean up → check drift → look at the source → fence → record epoch → branch → define → record phase
 *        → start → running → guest answering
 *
 * Until the phase is recorded, a failure discards the branch and lifts the fence. From then on the replica
 * stays in Failover: a start that fails suspends the operation, and can be retried or undone.
 */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import {
  type ConnectionDecision,
  decideConnection,
  fenceRefusal,
  neededFence,
  type SourceAtFailover,
} from '../domain/failover/connection.ts';
import { branchId, pointId, replicaId, type VmId } from '../domain/ids.ts';
import { type Instant, instant } from '../domain/instant.ts';
import type { Json } from '../domain/operation/operation.ts';
import { apply } from '../domain/replica/phase.ts';
import type { FailoverRecord, Replica, SourceFence } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import { NO_RETRY, type OperationContext, type OperationDefinition } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { Sidecar } from '../ports/hypervisor.ts';
import type { BranchDisk } from '../ports/replica-store.ts';
import { awaitGuest } from './await-guest.ts';
import { cleanUpTarget } from './clean-up.ts';
import type { EnginePorts } from './engine-ports.ts';
import { fenceIn, flagIn, numberIn, textIn } from './input.ts';
import {
  loadReplica,
  loadSettings,
  type ReplicaFacts,
  type ReplicaSettings,
  savedReplica,
} from './replica-facts.ts';
import { defineAtRest } from './rest-replica.ts';
import { fenceSource, lookAtSource } from './source-fence.ts';
import { branchTemporary } from './temporaries.ts';

export function failoverDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'failover',
    run: async (context, input) => {
      const prepared = await prepare(ports, context, input);
      await checkDrift(context, prepared);
      const { fence, connection } = await settleSource(ports, context, prepared);
      const takeover = await raiseEpoch(context, { ...prepared, fence });
      const branch = await makeBranch(context, takeover);
      const vmId = await defineOnBranch(context, takeover, branch, connection);
      const replica = await recordFailover(context, takeover, vmId, connection);
      const runningAfterMs = await start(context, takeover, vmId);
      const answeringAfterMs = await awaitGuest(ports, context, takeover, vmId);
      await recordTimes(context, takeover, replica, { runningAfterMs, answeringAfterMs });
      return { pointId: takeover.point.id, runningAfterMs, answeringAfterMs };
    },
  };
}

export type Takeover = ReplicaFacts & {
  readonly settings: ReplicaSettings;
  readonly source: HostPorts;
  readonly target: HostPorts;
  readonly point: RestorePoint;
  readonly branchId: ReturnType<typeof branchId>;
  /** As asked for; `none` from when it turned out that there is nothing to fence. */
  readonly fence: SourceFence;
  readonly acceptsDuplicate: boolean;
  readonly reason: string;
  /** When the request came, before anything was made to give way: what RTO is measured from. */
  readonly requestedAt: Instant;
  /** How long to wait for the guest to answer before the operation ends without that figure. */
  readonly guestDeadlineMs: number;
  /** One higher than before: from now on hosts refuse whoever acts for the former epoch. */
  readonly epoch: number;
};

async function prepare(
  ports: EnginePorts,
  context: OperationContext,
  input: Json,
): Promise<Takeover> {
  const id = replicaId(textIn(input, 'replicaId'));
  const facts = await loadReplica(ports, context, id, 'failover');
  const point = await loadPoint(ports, context, facts, input);
  const settings = await loadSettings(ports, context, facts.replica);
  const target = await ports.hosts.ports(facts.replica.targetHostId);
  await cleanUpTarget(ports, context, { ...facts, settings, target });
  return {
    ...facts,
    settings,
    source: await ports.hosts.ports(facts.replica.sourceHostId),
    target,
    point,
    branchId: branchId(await context.freshId('branch-id', 'br')),
    fence: fenceIn(input),
    acceptsDuplicate: flagIn(input, 'acceptsDuplicate'),
    reason: textIn(input, 'reason'),
    requestedAt: instant(numberIn(input, 'requestedAt')),
    guestDeadlineMs: numberIn(input, 'guestDeadlineMs'),
    epoch: facts.replica.epoch + 1,
  };
}

/** Whoever asked for the latest gets it, also when the run that had to end first has made a newer one, or retired it. */
function loadPoint(
  ports: EnginePorts,
  context: OperationContext,
  { replica, newest }: ReplicaFacts,
  input: Json,
): Promise<RestorePoint> {
  const wanted = pointId(textIn(input, 'pointId'));
  const wantsNewest = flagIn(input, 'wantsNewest');
  return context.step<RestorePoint>('load-point', {
    do: async () => {
      const points = await ports.catalog.points(replica.id);
      const found = wantsNewest ? newest : points.find((candidate) => candidate.id === wanted);
      if (found !== null && found !== undefined) return found;
      throw new UnderstudyError('point-missing', { replica: replica.name, point: wanted });
    },
    undo: 'nothing',
  });
}

/** Before anything is done to the source. Only what the chosen point needs counts: another one's damage is no reason. */
function checkDrift(
  context: OperationContext,
  { replica, target, point }: Takeover,
): Promise<null> {
  return context.step<null>('check-drift', {
    do: async ({ signal }) => {
      const findings = await target.store.inspect(replica.id, { signal });
      const finding = findings.find(
        ({ blocksWrites, pointIds }) => blocksWrites && pointIds.includes(point.id),
      );
      if (finding === undefined) return null;
      throw new UnderstudyError('replica-drifted', {
        replica: replica.name,
        finding: `${finding.object}: ${finding.message.replace(/\.$/, '')}`,
      });
    },
    undo: 'nothing',
  });
}

/** Recorded, with the branch to come, before a host hears of it: else, when the failover fails, hosts would refuse what we ask for afterwards. */
async function raiseEpoch(context: OperationContext, takeover: Takeover): Promise<Takeover> {
  const { epoch, version } = takeover;
  const replica = { ...takeover.replica, epoch };
  const { registered } = branchTemporary(context.operationId, takeover);
  const changes = [savedReplica(replica, version), registered];
  await context.record('raise-epoch', changes, { undo: 'nothing' });
  return { ...takeover, replica, version: version + 1 };
}

async function settleSource(
  ports: EnginePorts,
  context: OperationContext,
  takeover: Takeover,
): Promise<{ readonly fence: SourceFence; readonly connection: ConnectionDecision }> {
  const { replica, source, acceptsDuplicate } = takeover;
  const { seen, fence } = await context.step<Settled>('look-at-source', {
    do: async ({ signal }) => {
      const parts = { hypervisor: source.hypervisor, clock: ports.clock };
      const seen = await lookAtSource(parts, replica, { signal });
      const refused = fenceRefusal(seen, takeover.fence);
      if (refused === null) return { seen, fence: neededFence(seen, takeover.fence) };
      throw new UnderstudyError('fence-failed', { vm: replica.sourceVmName, reason: refused });
    },
    undo: 'nothing',
  });
  if (fence !== 'none') await fenceSource(context, source, replica, fence);
  return { fence, connection: decideConnection(seen, fence, acceptsDuplicate) };
}

type Settled = { readonly seen: SourceAtFailover; readonly fence: SourceFence };

type Branch = { readonly disks: readonly BranchDisk[]; readonly sidecars: readonly Sidecar[] };

function makeBranch(context: OperationContext, takeover: Takeover): Promise<Branch> {
  const { replica, target, epoch } = takeover;
  const command = { replicaId: replica.id, epoch, branchId: takeover.branchId };
  return context.step<Branch>('make-branch', {
    do: ({ key, signal }) =>
      target.store.createBranch({ ...command, key, pointId: takeover.point.id }, { signal }),
    undo: ({ key, signal }) => target.store.deleteBranch({ ...command, key }, { signal }),
  });
}

function defineOnBranch(
  context: OperationContext,
  takeover: Takeover,
  branch: Branch,
  connection: ConnectionDecision,
): Promise<VmId> {
  const { replica, target, point, settings, epoch, newest } = takeover;
  return context.step<VmId>('define-replica', {
    do: ({ key, signal }) =>
      target.hypervisor.defineReplica(
        {
          key,
          replicaId: replica.id,
          epoch,
          name: replica.name,
          source: point.vm,
          vmId: replica.targetVmId,
          disks: branch.disks,
          networkMap: settings.networkMap,
          connectNics: connection.connect,
          sidecars: branch.sidecars,
        },
        { signal },
      ),
    undo: async ({ key, signal }) => {
      const resting = { replica: { ...replica, epoch }, point: newest ?? point, settings, target };
      try {
        await defineAtRest(resting, key, { signal });
      } catch (error) {
        // A VM of somebody else has the name: then there is no definition of ours to take back.
        if (asUnderstudyError(error).code !== 'name-taken') throw error;
      }
    },
  });
}

async function recordFailover(
  context: OperationContext,
  takeover: Takeover,
  vmId: VmId,
  connection: ConnectionDecision,
): Promise<Replica> {
  const startedAt = await context.now('started-at');
  const failover: FailoverRecord = {
    pointId: takeover.point.id,
    branchId: takeover.branchId,
    operationId: context.operationId,
    reason: takeover.reason,
    fence: takeover.fence,
    startedAt,
    isConnected: connection.connect,
    connectionBecause: connection.because,
    runningAfterMs: null,
    answeringAfterMs: null,
  };
  const { epoch } = takeover;
  const replica = apply(
    { ...takeover.replica, epoch, failover, targetVmId: vmId },
    'failover-started',
  );
  const { released } = branchTemporary(context.operationId, takeover);
  const changes: CatalogChange[] = [savedReplica(replica, takeover.version), released];
  if (connection.isUnfenced) changes.push(unfenced(replica, connection, startedAt));
  await context.record('record-failover', changes, { undo: 'irreversible' });
  return replica;
}

function unfenced(replica: Replica, connection: ConnectionDecision, since: Instant): CatalogChange {
  const message =
    `The replica is connected although the source is not fenced: ${connection.because}. ` +
    'Make sure that only one of them serves.';
  return {
    type: 'condition-raised',
    replicaId: replica.id,
    condition: { name: 'unfenced-source', message, since },
  };
}

/** Milliseconds from the request to the hypervisor calling it running. */
async function start(context: OperationContext, takeover: Takeover, vmId: VmId): Promise<number> {
  await context.step<null>('start-replica', {
    do: async ({ key, signal }) => {
      await takeover.target.hypervisor.start({ key, vmId }, { signal });
      return null;
    },
    undo: 'nothing',
    retry: { ...NO_RETRY, attemptsMax: 2, firstDelayMs: 500, delayMsMax: 500 },
  });
  const runningAt = await context.now('running-at');
  return Math.max(0, runningAt - takeover.requestedAt);
}

type Times = { readonly runningAfterMs: number; readonly answeringAfterMs: number | null };

async function recordTimes(
  context: OperationContext,
  takeover: Takeover,
  replica: Replica,
  times: Times,
): Promise<void> {
  if (replica.failover === null) return;
  const measured = { ...replica, failover: { ...replica.failover, ...times } };
  await context.record('record-times', [savedReplica(measured, takeover.version + 1)], {
    undo: 'irreversible',
  });
}
