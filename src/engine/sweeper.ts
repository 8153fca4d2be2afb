/**
 * Removes what must not outlive its operation, and archives whose time is over. It reads the register, never
 * guesses: only what an operation registered, and only once that operation has ended.
 */
import { type ReplicaId, replicaId } from '../domain/ids.ts';
import { type Instant, instant } from '../domain/instant.ts';
import type { Json, OperationRecord } from '../domain/operation/operation.ts';
import { expiredArchives } from '../domain/replica/archives.ts';
import type { ArchivedBranch } from '../domain/replica/replica.ts';
import type { Durable, OperationContext, OperationDefinition } from '../ports/durable.ts';
import { actingFor } from './acting-for.ts';
import { cleanUpIfPossible } from './clean-up.ts';
import type { EnginePorts } from './engine-ports.ts';
import { beingExported } from './export.ts';
import { textIn } from './input.ts';
import { loadSettings, loadSwept, type ReplicaFacts, savedReplica } from './replica-facts.ts';
import { isOrphan, replicaOf, sweepTemporaries } from './sweep-temporaries.ts';

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
      const { swept, left, facts: after } = await sweepTemporaries(ports, durable, context, facts);
      const expired = await sweepArchives(ports, context, after);
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
