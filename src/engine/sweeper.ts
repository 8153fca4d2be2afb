/**
 * Removes what must not outlive its operation, and archives whose time is over. It reads the register, never
 * guesses: only what an operation registered, and only once that operation has ended.
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
import { type Instant, instant } from '../domain/instant.ts';
import { hasEnded, type Json, type OperationRecord } from '../domain/operation/operation.ts';
import { expiredArchives } from '../domain/replica/archives.ts';
import type { ArchivedBranch, Replica } from '../domain/replica/replica.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Temporary } from '../ports/catalog.ts';
import type { Durable, OperationContext, OperationDefinition } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import { actingFor } from './acting-for.ts';
import { cleanUpIfPossible } from './clean-up.ts';
import { dropLayers } from './drop-layers.ts';
import type { EnginePorts } from './engine-ports.ts';
import { beingExported } from './export.ts';
import { textIn } from './input.ts';
import { keptMarks, markOfBranch } from './kept-marks.ts';
import { removeBranch } from './leave-branch.ts';
import { loadSettings, loadSwept, type ReplicaFacts, savedReplica } from './replica-facts.ts';
import { startableSettled, tellUntold } from './tell-target.ts';

/** Sweeps what belongs to one replica: it holds the replica's claim, so that nothing swept is in use. */
export function sweepDefinition(
  ports: EnginePorts,
  durable: Pick<Durable, 'operation'>,
): OperationDefinition {
  return {
    kind: 'sweep',
    run: async (context, input) => {
      const id = replicaId(textIn(input, 'replicaId'));
      const facts = await loadSwept(ports, context, id);
      const isClean = await cleanUp(ports, context, facts);
      const { swept, left } = await sweepTemporaries(ports, durable, context, facts);
      const expired = await sweepArchives(ports, context, facts);
      return { swept, left: left + (isClean ? 0 : 1), expired };
    },
  };
}

async function cleanUp(
  ports: EnginePorts,
  context: OperationContext,
  facts: ReplicaFacts,
): Promise<boolean> {
  const { replica, newest } = facts;
  if (replica.phase !== 'Ready' && replica.phase !== 'Pending') return true;
  const settings = await loadSettings(ports, context, replica);
  const target = await actingFor(ports, replica.id, replica.targetHostId);
  return cleanUpIfPossible(ports, context, { replica, newest, settings, target });
}

/** Replicas that have something to sweep at this moment. */
export async function replicasToSweep(
  ports: EnginePorts,
  durable: Pick<Durable, 'operation'>,
): Promise<readonly ReplicaId[]> {
  const due = new Set<ReplicaId>();
  for (const temporary of await ports.catalog.temporaries()) {
    const owner = replicaOf(temporary);
    if (owner !== null && (await isOrphan(durable, temporary))) due.add(owner);
  }
  const now = ports.clock.now();
  for (const { value } of await ports.catalog.replicas()) {
    if (expiredArchives(value, now).length > 0) due.add(value.id);
  }
  return [...due];
}

const FIRST_PAUSE_MS = 15_000;
const PAUSE_MS_MAX = 10 * 60_000;

/**
 * When a replica may be swept again, null: now. Sweeps in a row that had to leave something double the pause: a host
 * that is away for days must not fill the history. `sweeps` are the last ones, newest first.
 */
export function sweepAgainAt(
  sweeps: readonly OperationRecord[],
  now: Instant,
  pauseMsMax: number = PAUSE_MS_MAX,
): Instant | null {
  const past = sweeps.filter(({ state }) => state === 'succeeded' || state === 'failed');
  const done = past.findIndex(({ state, result }) => state === 'succeeded' && !hasLeft(result));
  const inVain = done === -1 ? past.length : done;
  const endedAt = past[0]?.endedAt ?? null;
  if (inVain === 0 || endedAt === null || endedAt > now) return null;
  const againAt = endedAt + Math.min(pauseMsMax, FIRST_PAUSE_MS * 2 ** (inVain - 1));
  return againAt <= now ? null : instant(againAt);
}

function hasLeft(result: Json): boolean {
  return result !== null && typeof result === 'object' && 'left' in result && result.left !== 0;
}

type Swept = { readonly swept: number; readonly left: number };

async function sweepTemporaries(
  ports: EnginePorts,
  durable: Pick<Durable, 'operation'>,
  context: OperationContext,
  facts: ReplicaFacts,
): Promise<Swept> {
  const orphans = await context.step<readonly Temporary[]>('find-orphans', {
    do: async () => {
      const all = await ports.catalog.temporaries();
      const mine = all.filter((temporary) => replicaOf(temporary) === facts.replica.id);
      const flags = await Promise.all(mine.map((temporary) => isOrphan(durable, temporary)));
      return mine.filter((_, index) => flags[index]).sort(byUrgency);
    },
    undo: 'nothing',
  });
  let count = 0;
  let isUntold = false;
  for (const [index, orphan] of orphans.entries()) {
    // What an untold target is to be told is read from the freeze.
    if (isUntold && orphan.kind === 'freeze') continue;
    const isGone = await context.step<boolean>(`remove-${index}`, {
      do: ({ signal }) => removed(() => remove(ports, facts, orphan, { signal })),
      undo: 'nothing',
    });
    if (!isGone) {
      isUntold ||= isOfSwitchover(orphan);
      continue;
    }
    count += 1;
    const isStartable = isOfSwitchover(orphan) ? [startableSettled(facts.replica.id)] : [];
    const changes = [{ type: 'temporary-released', key: orphan.key } as const, ...isStartable];
    await context.record(`release-${index}`, changes, { undo: 'nothing' });
  }
  return { swept: count, left: orphans.length - count };
}

function isOfSwitchover({ kind }: Temporary): boolean {
  return kind === 'untold-switchover';
}

function byUrgency(one: Temporary, other: Temporary): number {
  return Number(isOfSwitchover(other)) - Number(isOfSwitchover(one));
}

/** False when its host is away: it stays registered, and the next sweep comes back. */
async function removed(removal: () => Promise<void>): Promise<boolean> {
  try {
    await removal();
    return true;
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
): Promise<void> {
  const { replica, newest } = facts;
  const host = await actingFor(ports, replica.id, hostId);
  const { pointSource, store, testBench } = host;
  const command = { key, replicaId: replica.id, epoch: replica.epoch };
  switch (kind) {
    case 'freeze': {
      const vm = vmId(identity.vmId ?? '');
      if (identity.whose === 'unknown') await pointSource.endAll(vm, options);
      else await pointSource.end({ key, vmId: vm }, options);
      const keep =
        hostId === replica.targetHostId
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
    case 'partial-point':
      await store.discardPartial({ ...command, pointId: pointId(identity.pointId ?? '') }, options);
      break;
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

async function sweepArchives(
  ports: EnginePorts,
  context: OperationContext,
  { replica, version }: ReplicaFacts,
): Promise<number> {
  const now = await context.now('swept-at');
  const expired = await context.step<readonly ArchivedBranch[]>('find-expired', {
    do: async () => {
      const busy = await beingExported(ports, replica);
      return expiredArchives(replica, now).filter(({ branchId }) => !busy.has(branchId));
    },
    undo: 'nothing',
  });
  if (expired.length === 0) return 0;
  const { store } = await ports.hosts.ports(replica.targetHostId);
  await context.step<null>('delete-archives', {
    do: async ({ key, signal }) => {
      for (const { branchId } of expired) {
        const command = { key, replicaId: replica.id, epoch: replica.epoch, branchId };
        await store.deleteBranch(command, { signal });
      }
      return null;
    },
    undo: 'nothing',
  });
  const gone = new Set(expired.map(({ branchId }) => branchId));
  const archives = replica.archives.filter(({ branchId }) => !gone.has(branchId));
  await context.record('record-archives', [savedReplica({ ...replica, archives }, version)], {
    undo: 'nothing',
  });
  return expired.length;
}

function replicaOf({ identity }: Temporary): ReplicaId | null {
  return identity.replicaId === undefined ? null : replicaId(identity.replicaId);
}

/** The operation is the part of the key before the slash. */
async function isOrphan(durable: Pick<Durable, 'operation'>, { key }: Temporary): Promise<boolean> {
  const owner = await durable.operation(operationId(key.slice(0, key.indexOf('/'))));
  return owner === null || hasEnded(owner.state);
}
