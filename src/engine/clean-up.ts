/**
 * Finishes at the target what a forced undo had to leave: the replica VM proven off, its branch archived,
 * its definition at rest. Until then nothing is replicated to it, and nothing fails over to it. Whoever needs the target
 * insists on it; the sweeper tries as soon as the host answers again.
 */
import { asUnderstudyError } from '../domain/error.ts';
import type { ReplicaId } from '../domain/ids.ts';
import type { Phase } from '../domain/replica/phase.ts';
import type { ConditionName, Replica } from '../domain/replica/replica.ts';
import { isConnected, type PowerState } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import { withDeadline } from './deadline.ts';
import type { EnginePorts } from './engine-ports.ts';
import { archiveBranch, powerOffReplica } from './leave-branch.ts';
import { cleared } from './record-failover.ts';
import type { ReplicaFacts, ReplicaSettings } from './replica-facts.ts';
import { defineAtRest } from './rest-replica.ts';
import { toldOfSource } from './siblings.ts';
import { tellLeftFence } from './tell-folder.ts';
import { whyLater } from './why-later.ts';

type CleanUp = Pick<ReplicaFacts, 'replica' | 'newest'> & {
  readonly settings: Pick<ReplicaSettings, 'networkMap'>;
  readonly target: HostPorts;
};

/** Throws when it cannot be done now: whoever needs the target cannot go on. */
export async function cleanUpTarget(
  ports: EnginePorts,
  context: OperationContext,
  cleanUp: CleanUp,
): Promise<void> {
  if (!(await isPending(ports, context, cleanUp))) return;
  const found = await context.step<Found>('clean-up-target', {
    do: (attempt) => performCleanUp(ports, cleanUp, attempt),
    undo: 'nothing',
  });
  await record(ports, context, cleanUp, found);
}

/** For the sweeper: false when it must be tried again later. */
export async function cleanUpIfPossible(
  ports: EnginePorts,
  context: OperationContext,
  cleanUp: CleanUp,
): Promise<boolean> {
  if (!(await isPending(ports, context, cleanUp))) return true;
  const found = await context.step<Found | string>('clean-up-target', {
    do: async (attempt) => {
      try {
        return await performCleanUp(ports, cleanUp, attempt);
      } catch (error) {
        return whyLater(error, attempt);
      }
    },
    undo: 'nothing',
  });
  if (typeof found === 'string') {
    await context.note('note-clean-up', `The target is cleaned up later. ${found}`);
    return false;
  }
  await record(ports, context, cleanUp, found);
  return true;
}

/** What tells that a replica waits for its host: after a forced undo, and after a switchover that could not tell it. */
const AWAITED: Partial<Record<Phase, ConditionName>> = {
  Pending: 'cleanup-pending',
  Ready: 'cleanup-pending',
  Failback: 'replica-startable',
};

/** How long a host that may be gone is waited for. */
const PROBE_MS = 3_000;

/** Replicas of which something is to be made up for at their host, which answers now. */
export async function replicasToCleanUp(
  { catalog, hosts, clock }: EnginePorts,
  options: CallOptions,
): Promise<readonly ReplicaId[]> {
  const waiting: Replica[] = [];
  for (const { value } of await catalog.replicas()) {
    const awaited = AWAITED[value.phase];
    if (awaited !== undefined && (await hasCondition(catalog, value.id, awaited)))
      waiting.push(value);
  }
  const answers = await Promise.all(
    waiting.map(async ({ targetHostId, targetVmId }) => {
      if (targetVmId === null) return true;
      try {
        const { hypervisor } = await hosts.ports(targetHostId);
        await withDeadline(clock, PROBE_MS, options, (signal) =>
          hypervisor.power(targetVmId, { signal }),
        );
        return true;
      } catch (error) {
        // That it has no such VM is an answer, too.
        return asUnderstudyError(error).code === 'vm-missing';
      }
    }),
  );
  return waiting.filter((_, index) => answers[index]).map(({ id }) => id);
}

function isPending(
  { catalog }: EnginePorts,
  context: OperationContext,
  { replica }: CleanUp,
): Promise<boolean> {
  return context.step<boolean>('look-for-debris', {
    do: () => hasCondition(catalog, replica.id, 'cleanup-pending'),
    undo: 'nothing',
  });
}

async function hasCondition(
  catalog: EnginePorts['catalog'],
  id: ReplicaId,
  wanted: ConditionName,
): Promise<boolean> {
  return (await catalog.conditions(id)).some(({ name }) => name === wanted);
}

/** How the replica VM was found: it may have started by itself before anybody could stop it. */
type Found = { readonly power: PowerState | 'absent'; readonly isConnected: boolean };

async function performCleanUp(
  { catalog }: EnginePorts,
  { replica, newest, settings, target }: CleanUp,
  attempt: StepAttempt,
): Promise<Found> {
  const { key, signal } = attempt;
  const found = await lookAtReplica(target, replica, { signal });
  await powerOffReplica(target, replica, attempt);
  const command = { key, replicaId: replica.id, epoch: replica.epoch };
  await target.store.raiseEpoch(command, { signal });
  await tellLeftFence(catalog, target, replica, attempt);
  for (const archived of replica.archives) {
    await archiveBranch(target, replica, archived, attempt);
  }
  if (newest !== null) {
    await defineAtRest({ replica, point: newest, settings, target }, key, { signal });
  }
  return found;
}

async function lookAtReplica(
  { hypervisor }: HostPorts,
  { targetVmId }: Replica,
  options: CallOptions,
): Promise<Found> {
  if (targetVmId === null) return { power: 'absent', isConnected: false };
  try {
    const vm = await hypervisor.vm(targetVmId, options);
    return { power: vm.power, isConnected: isConnected(vm) };
  } catch (error) {
    if (asUnderstudyError(error).code !== 'vm-missing') throw error;
    return { power: 'absent', isConnected: false };
  }
}

async function record(
  ports: EnginePorts,
  context: OperationContext,
  { replica }: CleanUp,
  { power, isConnected: wasConnected }: Found,
): Promise<void> {
  if (power !== 'off' && power !== 'absent') {
    const reach = wasConnected ? 'connected' : 'disconnected';
    const message =
      `The replica VM ${replica.name} was ${power}, ${reach}, when its host answered again, and was powered off. ` +
      'What it wrote is in the archived branch.';
    await context.note('note-found', message);
  }
  await context.record(
    'record-cleaned-up',
    [
      { type: 'condition-cleared', replicaId: replica.id, name: 'cleanup-pending' },
      await unfencedAfter(ports, context, replica),
    ],
    { undo: 'nothing' },
  );
}

/** The replica meets nobody any more. Its source, let go by the undo, may meet what another replica has put in its place. */
function unfencedAfter(
  ports: EnginePorts,
  context: OperationContext,
  replica: Replica,
): Promise<CatalogChange> {
  return context.step<CatalogChange>('look-at-siblings', {
    do: async (attempt) => {
      const since = ports.clock.now();
      if (!(await hasCondition(ports.catalog, replica.id, 'unfenced-source')))
        return cleared(replica);
      return toldOfSource(ports, replica, since, attempt);
    },
    undo: 'nothing',
  });
}
