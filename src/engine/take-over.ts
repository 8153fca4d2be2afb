/**
 * The replica takes over at a chosen restore point.
 *
 *   load → clean up → check drift → look at the source → fence → record epoch → branch → define → record phase
 *        → hold the source back → start → running → guest answering
 *
 * Until the phase is recorded, a failure discards the branch and lifts the fence. From then on the replica stays in
 * Failover: a start that fails suspends the operation, and can be retried or undone. Where the way back to a source that
 * is known to be fine must stay open, as in a planned failover, all of that is undone until the replica runs.
 */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import { aboutBranch } from '../domain/failover/branch-about.ts';
import type { ConnectionDecision } from '../domain/failover/connection.ts';
import { type BranchId, branchId, type PointId, type ReplicaId, type VmId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import { readsThrough } from '../domain/replica/archives.ts';
import { driftOfBasis } from '../domain/replica/finding.ts';
import type { FailoverRecord, Replica, SourceFence } from '../domain/replica/replica.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Versioned } from '../ports/catalog.ts';
import type { Clock } from '../ports/clock.ts';
import { NO_RETRY, type OperationContext, type StepAttempt } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { Sidecar } from '../ports/hypervisor.ts';
import type { BranchDisk } from '../ports/replica-store.ts';
import { actingFor } from './acting-for.ts';
import { addressesToTrust, awaitGuest, type GuestAnswered } from './await-guest.ts';
import { cleanUpTarget } from './clean-up.ts';
import type { EnginePorts } from './engine-ports.ts';
import { holdSource } from './guard-source.ts';
import { markOfBranch } from './kept-marks.ts';
import { archiveBranch, powerOffReplica } from './leave-branch.ts';
import { type Basis, loadBasis } from './load-basis.ts';
import { requireMeetsNobody } from './meet-nobody.ts';
import { newFailover, recordFailover, recordRunning, recordTimes } from './record-failover.ts';
import {
  loadReplica,
  loadSettings,
  type ReplicaFacts,
  type ReplicaSettings,
  savedReplica,
} from './replica-facts.ts';
import { defineAtRest } from './rest-replica.ts';
import { settleSource } from './settle-source.ts';
import { branchTemporary, orLeaveToSweeper, UNDO_PATIENCE_MS } from './temporaries.ts';

export type TakeoverOrder = {
  readonly replicaId: ReplicaId;
  /** Null: the newest there is when it begins. */
  readonly pointId: PointId | null;
  /** The archived branch of that point to go on from; null: the point as it is. */
  readonly archiveId: BranchId | null;
  /** What is to be done to the source first. */
  readonly fence: SourceFence;
  /** What this operation has done to the source already, with evidence: an undo lifts it. */
  readonly isFencedBy: SourceFence;
  readonly acceptsDuplicate: boolean;
  /** Whether a point that somebody changed is better than none; told in the history. */
  readonly acceptsDrift: boolean;
  readonly reason: string;
  /** When the request came, before anything was made to give way: what RTO is measured from. */
  readonly requestedAt: Instant;
  /** How long to wait for the guest to answer before the operation ends without that figure. */
  readonly guestDeadlineMs: number;
  /** Whether everything is undone when the replica does not come to run: only where the source is fine. */
  readonly isReturnable: boolean;
};

export type Tookover = GuestAnswered & {
  readonly pointId: PointId;
  readonly runningAfterMs: number;
  readonly isConnected: boolean;
  readonly connectionBecause: string;
};

export async function takeOver(
  ports: EnginePorts,
  context: OperationContext,
  order: TakeoverOrder,
): Promise<Tookover> {
  const prepared = await prepare(ports, context, order, 'failover');
  await checkDrift(context, prepared);
  const { connection, isAnswering, ...fencing } = await settleSource(ports, context, prepared);
  const takeover = await raiseEpoch(context, { ...prepared, ...fencing });
  const planned = newFailover(context, takeover, connection, takeover.requestedAt);
  const branch = await makeBranch(context, takeover, planned);
  const vmId = await defineOnBranch(context, takeover, { branch, connection, undo: toRest });
  const recorded = await recordFailover(context, takeover, vmId, connection);
  // A host that does not answer is told when it does: the outage does not wait for it twice.
  if (isAnswering) await holdSource(ports, context, { ...takeover, replica: recorded.value });
  const addresses = await addressesToTrust(context, takeover, connection.connect);
  const runningAfterMs = await start(ports, context, takeover, recorded);
  const running = await recordRunning(context, recorded, runningAfterMs);
  const answered = await awaitGuest(ports, context, { ...takeover, addresses }, vmId);
  await recordTimes(context, running, answered);
  const { connect: isConnected, because: connectionBecause } = connection;
  return {
    pointId: takeover.point.id,
    runningAfterMs,
    isConnected,
    connectionBecause,
    ...answered,
  };
}

export type Takeover = ReplicaFacts &
  TakeoverOrder & {
    readonly settings: ReplicaSettings;
    readonly source: HostPorts;
    readonly target: HostPorts;
    readonly point: Basis;
    readonly branchId: ReturnType<typeof branchId>;
    /** NICs of the source that were disconnected. */
    readonly fencedNics: readonly string[] | null;
    /** Whether this very run of the operation looked whom the replica would meet. */
    readonly isJustSeen: boolean;
    /** One higher than before: from now on hosts refuse whoever acts for the former epoch. */
    readonly epoch: number;
    readonly clock: Clock;
  };

export async function prepare(
  ports: EnginePorts,
  context: OperationContext,
  order: TakeoverOrder,
  operation: 'failover' | 'hop',
): Promise<Takeover> {
  const facts = await loadReplica(ports, context, order.replicaId, operation);
  const target = await actingFor(ports, order.replicaId, facts.replica.targetHostId);
  const point = await loadBasis(ports, context, { ...facts, target }, order);
  const settings = await loadSettings(ports, context, facts.replica);
  await cleanUpTarget(ports, context, { ...facts, settings, target });
  return {
    ...facts,
    ...order,
    settings,
    source: await actingFor(ports, order.replicaId, facts.replica.sourceHostId),
    target,
    point,
    branchId: branchId(await context.freshId('branch-id', 'br')),
    fencedNics: [],
    isJustSeen: false,
    epoch: facts.replica.epoch + 1,
    clock: ports.clock,
  };
}

/** Before anything is done to the source. Only what the chosen point needs counts: another one's damage is no reason. */
export async function checkDrift(
  context: OperationContext,
  { replica, target, point, archiveId, acceptsDrift }: Takeover,
): Promise<void> {
  const finding = await context.step<string | null>('check-drift', {
    do: async ({ signal }) => {
      const findings = await target.store.inspect(replica.id, { signal });
      const archiveIds = readsThrough(replica, archiveId);
      const drift = driftOfBasis(findings, { pointId: point.id, archiveIds });
      if (drift === null || acceptsDrift) return drift;
      throw new UnderstudyError('replica-drifted', { replica: replica.name, finding: drift });
    },
    undo: 'nothing',
  });
  if (finding === null) return;
  await context.note(
    'note-drift',
    `The restore point was changed by someone else, and taken all the same as asked: ${finding}.`,
  );
}

/** Recorded, with the branch to come, before a host hears of it: else, when the failover fails, hosts would refuse what we ask for afterwards. */
export async function raiseEpoch(context: OperationContext, takeover: Takeover): Promise<Takeover> {
  const { epoch, version } = takeover;
  const replica = { ...takeover.replica, epoch };
  const { registered } = branchTemporary(context.operationId, takeover);
  const changes = [savedReplica(replica, version), registered];
  await context.record('raise-epoch', changes, { undo: 'nothing' });
  return { ...takeover, replica, version: version + 1 };
}

export type Branch = {
  readonly disks: readonly BranchDisk[];
  readonly sidecars: readonly Sidecar[];
};

/** With what it is for beside it, so that a controller which lost its own records finds the fence again. */
export function makeBranch(
  context: OperationContext,
  takeover: Takeover,
  failover: FailoverRecord,
): Promise<Branch> {
  const { replica, target, epoch, archiveId, acceptsDrift } = takeover;
  const command = { replicaId: replica.id, epoch, branchId: takeover.branchId };
  return context.step<Branch>('make-branch', {
    do: async (attempt) => {
      const { key, signal } = attempt;
      const archive = replica.archives.find(({ branchId }) => branchId === archiveId);
      // Setting it aside may have been left for later.
      if (archive !== undefined)
        await archiveBranch(target, { ...replica, epoch }, archive, attempt);
      const mark = markOfBranch(takeover.branchId);
      const over = {
        pointId: takeover.point.id,
        archiveId,
        acceptsDrift,
        mark,
        about: aboutBranch(failover, null),
      };
      return target.store.createBranch({ ...command, key, ...over }, { signal });
    },
    undo: ({ key, signal }) =>
      orLeave(takeover, signal, (options) =>
        target.store.deleteBranch({ ...command, key }, options),
      ),
  });
}

/** It is registered, and the replica was never started: a source that waits to be started again must not wait for the target. */
async function orLeave(
  { clock }: Takeover,
  signal: AbortSignal,
  tidy: (options: CallOptions) => Promise<unknown>,
): Promise<void> {
  const tidying = { clock, patienceMs: UNDO_PATIENCE_MS, signal };
  await orLeaveToSweeper(tidying, async (options) => void (await tidy(options)));
}

type Definition = {
  readonly branch: Branch;
  readonly connection: Pick<ConnectionDecision, 'connect'>;
  /** What the VM is defined as again when the takeover fails. */
  readonly undo: (takeover: Takeover, attempt: Attempt) => Promise<unknown>;
};
type Attempt = Pick<StepAttempt, 'key' | 'signal'>;

export function defineOnBranch(
  context: OperationContext,
  takeover: Takeover,
  { branch, connection, undo }: Definition,
): Promise<VmId> {
  const { point } = takeover;
  return context.step<VmId>('define-replica', {
    do: (attempt) =>
      defineOn(takeover, { vm: point.vm, branch, isConnected: connection.connect }, attempt),
    undo: async (attempt) => {
      try {
        await undo(takeover, attempt);
      } catch (error) {
        // A VM of somebody else has the name: then there is no definition of ours to take back.
        if (asUnderstudyError(error).code !== 'name-taken') throw error;
      }
    },
  });
}

export function defineOn(
  { replica, target, settings, epoch, fencedNics }: Takeover,
  defined: { readonly vm: VmDescription; readonly branch: Branch; readonly isConnected: boolean },
  { key, signal }: Attempt,
): Promise<VmId> {
  return target.hypervisor.defineReplica(
    {
      key,
      replicaId: replica.id,
      epoch,
      name: replica.name,
      source: defined.vm,
      vmId: replica.targetVmId,
      disks: defined.branch.disks,
      networkMap: settings.networkMap,
      connectNics: defined.isConnected,
      fencedNics,
      sidecars: defined.branch.sidecars,
    },
    { signal },
  );
}

function toRest(takeover: Takeover, { key, signal }: Attempt): Promise<void> {
  const { replica, target, point, settings, epoch, newest } = takeover;
  const resting = { replica: { ...replica, epoch }, point: newest ?? point, settings, target };
  return orLeave(takeover, signal, (options) => defineAtRest(resting, key, options));
}

/** Milliseconds from the request to the hypervisor calling it running. */
export async function start(
  ports: EnginePorts,
  context: OperationContext,
  takeover: Takeover,
  { value: replica }: Versioned<Replica>,
): Promise<number> {
  const { target, isReturnable, requestedAt, isJustSeen } = takeover;
  const vmId = replica.targetVmId;
  if (vmId === null) throw new Error(`replica ${replica.id} is to be started without a VM`);
  await context.step<null>('start-replica', {
    do: async ({ key, signal }) => {
      if (!isJustSeen) await requireMeetsNobody(ports, { replica, target, vmId }, { signal });
      await target.hypervisor.start({ key, vmId }, { signal });
      return null;
    },
    undo: isReturnable ? (attempt) => powerOffReplica(target, replica, attempt) : 'nothing',
    retry: { ...NO_RETRY, attemptsMax: 2, firstDelayMs: 500, delayMsMax: 500 },
  });
  const runningAt = await context.now('running-at');
  return Math.max(0, runningAt - requestedAt);
}
