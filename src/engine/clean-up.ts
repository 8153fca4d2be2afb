/**
 * Finishes at the target what a forced undo had to leave: the replica VM proven off, its branch archived,
 * its definition at rest. Until then nothing is replicated to it, and nothing fails over to it.
 */
import type { OperationContext } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { EnginePorts } from './engine-ports.ts';
import { archiveBranch, powerOffReplica } from './leave-branch.ts';
import type { ReplicaFacts, ReplicaSettings } from './replica-facts.ts';
import { defineAtRest } from './rest-replica.ts';

type CleanUp = Pick<ReplicaFacts, 'replica' | 'newest'> & {
  readonly settings: Pick<ReplicaSettings, 'networkMap'>;
  readonly target: HostPorts;
};

export async function cleanUpTarget(
  ports: EnginePorts,
  context: OperationContext,
  { replica, newest, settings, target }: CleanUp,
): Promise<void> {
  const isPending = await context.step<boolean>('look-for-debris', {
    do: async () => {
      const conditions = await ports.catalog.conditions(replica.id);
      return conditions.some((condition) => condition.name === 'cleanup-pending');
    },
    undo: 'nothing',
  });
  if (!isPending) return;
  await context.step<null>('clean-up-target', {
    do: async (attempt) => {
      const { key, signal } = attempt;
      await powerOffReplica(target, replica, attempt);
      const command = { key, replicaId: replica.id, epoch: replica.epoch };
      await target.store.raiseEpoch(command, { signal });
      for (const archived of replica.archives) {
        await archiveBranch(target, replica, archived, attempt);
      }
      if (newest === null) return null;
      await defineAtRest({ replica, point: newest, settings, target }, key, { signal });
      return null;
    },
    undo: 'nothing',
  });
  await context.record(
    'record-cleaned-up',
    [
      { type: 'condition-cleared', replicaId: replica.id, name: 'cleanup-pending' },
      { type: 'condition-cleared', replicaId: replica.id, name: 'unfenced-source' },
    ],
    { undo: 'nothing' },
  );
}
