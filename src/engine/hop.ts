/**
 * Hop: a replica that serves moves to another restore point, or to an archived branch. What it wrote until now is set
 * aside as after an undo.
 *
 *   load → check drift → look at the source → record epoch → power off → branch → define → record → start
 *        → running → archive the old branch → guest answering
 *
 * Failing before the record brings the replica back on its old branch, running if it ran; after it, the start can be
 * retried. On neither way does it come up beside somebody who serves only since. The source stays as the failover left it: a
 * fence that was made then is lifted by the undo.
 */
import { asUnderstudyError } from '../domain/error.ts';
import { branchId, pointId, replicaId, type VmId } from '../domain/ids.ts';
import { type Instant, instant } from '../domain/instant.ts';
import type { Json } from '../domain/operation/operation.ts';
import { apply } from '../domain/replica/phase.ts';
import type { ArchivedBranch, FailoverRecord, Replica } from '../domain/replica/replica.ts';
import type { PowerState, VmDescription } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { CatalogChange, Versioned } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition, StepAttempt } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import { addressesToTrust, awaitGuest } from './await-guest.ts';
import type { EnginePorts } from './engine-ports.ts';
import { flagIn, numberIn, optionalTextIn, textIn } from './input.ts';
import { archiveBranch, powerOffReplica } from './leave-branch.ts';
import { requireMeetsNobody } from './meet-nobody.ts';
import { cleared, newFailover, recordRunning, recordTimes, unfenced } from './record-failover.ts';
import { savedReplica } from './replica-facts.ts';
import { settleSource } from './settle-source.ts';
import {
  checkDrift,
  defineOn,
  defineOnBranch,
  makeBranch,
  prepare,
  raiseEpoch,
  start,
  type Takeover,
  type TakeoverOrder,
} from './take-over.ts';
import { branchTemporary } from './temporaries.ts';
import { whyLater } from './why-later.ts';

export function hopDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'hop',
    run: async (context, input) => {
      const prepared = await prepare(ports, context, orderIn(input), 'hop');
      await checkDrift(context, prepared);
      const { connection, isJustSeen } = await settleSource(ports, context, prepared);
      const former = await loadFormer(context, prepared);
      const { fence, fencedNics, isSourceReleased } = former.failover;
      const hop = await raiseEpoch(context, { ...prepared, fence, fencedNics, isJustSeen });
      await powerOff(ports, context, hop, former);
      const planned = newFailover(context, hop, connection, hop.requestedAt);
      const branch = await makeBranch(context, hop, { ...planned, isSourceReleased });
      const undo = (takeover: Takeover, attempt: Attempt) => goBack(takeover, former, attempt);
      const vmId = await defineOnBranch(context, hop, { branch, connection, undo });
      const now = await context.now('hopped-at');
      const archive = archiveOf(former.failover, hop, now);
      const failover = { ...newFailover(context, hop, connection, now), isSourceReleased };
      const moved = { ...hop.replica, failover, targetVmId: vmId };
      const archives = [...hop.replica.archives, archive];
      const replica = apply({ ...moved, archives }, 'branch-moved');
      const isUnfenced = connection.isUnfenced;
      const told = isUnfenced ? unfenced(replica, connection, now) : cleared(replica);
      const recorded = await recordHop(context, hop, replica, told);
      const addresses = await addressesToTrust(context, hop, connection.connect);
      const runningAfterMs = await start(ports, context, hop, recorded);
      const running = await recordRunning(context, recorded, runningAfterMs);
      await setAside(context, hop, archive);
      const answered = await awaitGuest(ports, context, { ...hop, addresses }, vmId);
      await recordTimes(context, running, answered);
      return {
        pointId: hop.point.id,
        archivedBranchId: archive.branchId,
        runningAfterMs,
        isConnected: connection.connect,
        connectionBecause: connection.because,
        ...answered,
      };
    },
  };
}

function orderIn(input: Json): TakeoverOrder {
  return {
    replicaId: replicaId(textIn(input, 'replicaId')),
    pointId: flagIn(input, 'wantsNewest') ? null : pointId(textIn(input, 'pointId')),
    archiveId: optionalTextIn(input, 'archiveId', branchId),
    fence: 'none',
    isFencedBy: 'none',
    acceptsDuplicate: flagIn(input, 'acceptsDuplicate'),
    acceptsDrift: false,
    reason: textIn(input, 'reason'),
    requestedAt: instant(numberIn(input, 'requestedAt')),
    guestDeadlineMs: numberIn(input, 'guestDeadlineMs'),
    isReturnable: false,
  };
}

/** The branch that it leaves, with what it takes to go back to it. */
type Former = {
  readonly failover: FailoverRecord;
  readonly vm: VmDescription;
  readonly power: PowerState;
};
type Attempt = Pick<StepAttempt, 'key' | 'signal'>;

function loadFormer(context: OperationContext, { replica, newest, target }: Takeover) {
  const { failover, targetVmId } = replica;
  if (failover === null || targetVmId === null || newest === null) {
    throw new Error(`replica ${replica.id} is in ${replica.phase} without what it runs on`);
  }
  return context.step<Former>('look-at-replica', {
    do: async ({ signal }) => {
      const branches = await target.store.branches(replica.id, { signal });
      const branch = branches.find(({ id }) => id === failover.branchId);
      const power = await powerOf(target, targetVmId, { signal });
      return { failover, vm: branch?.vm ?? newest.vm, power };
    },
    undo: 'nothing',
  });
}

/** One that somebody undefined does not run. */
async function powerOf(
  { hypervisor }: HostPorts,
  vmId: VmId,
  options: CallOptions,
): Promise<PowerState> {
  try {
    return await hypervisor.power(vmId, options);
  } catch (error) {
    if (asUnderstudyError(error).code === 'vm-missing') return 'off';
    throw error;
  }
}

function powerOff(
  ports: EnginePorts,
  context: OperationContext,
  { target, replica, isJustSeen }: Takeover,
  { power }: Former,
): Promise<null> {
  return context.step<null>('power-off-replica', {
    do: async (attempt) => {
      await powerOffReplica(target, replica, attempt);
      return null;
    },
    undo: async ({ key, signal }) => {
      const { targetVmId: vmId } = replica;
      if (vmId === null || power === 'off') return;
      if (!isJustSeen) await requireMeetsNobody(ports, { replica, target, vmId }, { signal });
      await target.hypervisor.start({ key, vmId }, { signal });
    },
  });
}

/** The old branch is there, so that making it is asking for it. A TPM goes on with the state it has. */
async function goBack(hop: Takeover, former: Former, attempt: Attempt): Promise<void> {
  const { target, replica, epoch } = hop;
  const { branchId, pointId, overBranchId: archiveId, isConnected } = former.failover;
  const { key, signal } = attempt;
  const command = { key, replicaId: replica.id, epoch, branchId, pointId, archiveId };
  const { disks, sidecars } = await target.store.createBranch(command, { signal });
  const branch = { disks, sidecars: sidecars.filter(({ name }) => name !== 'tpm') };
  await defineOn(hop, { vm: former.vm, branch, isConnected }, attempt);
}

function archiveOf(
  { branchId, pointId, overBranchId }: FailoverRecord,
  { settings }: Takeover,
  archivedAt: Instant,
): ArchivedBranch {
  const keepUntil = instant(archivedAt + settings.archiveSeconds * 1000);
  return { branchId, pointId, overBranchId, archivedAt, keepUntil };
}

async function recordHop(
  context: OperationContext,
  hop: Takeover,
  replica: Replica,
  told: CatalogChange,
): Promise<Versioned<Replica>> {
  const { released } = branchTemporary(context.operationId, hop);
  const changes = [savedReplica(replica, hop.version), released, told];
  await context.record('record-hop', changes, { undo: 'irreversible' });
  return { value: replica, version: hop.version + 1 };
}

/** After the start, because nobody waits for it. Left for later, the next one that needs it archived does it. */
async function setAside(
  context: OperationContext,
  { target, replica, epoch }: Takeover,
  archive: ArchivedBranch,
): Promise<void> {
  const failure = await context.step<string | null>('archive-branch', {
    do: async (attempt) => {
      try {
        await archiveBranch(target, { ...replica, epoch }, archive, attempt);
        return null;
      } catch (error) {
        return whyLater(error, attempt);
      }
    },
    undo: 'nothing',
  });
  if (failure === null) return;
  await context.note('note-archive', `The branch before is made read-only later. ${failure}`);
}
