/**
 * Finishes at the target what a forced undo had to leave: the replica VM proven off, its branch archived,
 * its definition at rest. Until then nothing is replicated to it.
 */
import type { Replica } from '../domain/replica/replica.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { EnginePorts } from './engine-ports.ts';

type CleanUp = { readonly replica: Replica; readonly target: HostPorts };

export async function cleanUpTarget(
  ports: EnginePorts,
  context: OperationContext,
  { replica, target }: CleanUp,
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
    do: async ({ key, signal }) => {
      const command = { key, replicaId: replica.id, epoch: replica.epoch };
      if (replica.targetVmId !== null) {
        await target.hypervisor.powerOff({ key, vmId: replica.targetVmId }, { signal });
      }
      await target.store.raiseEpoch(command, { signal });
      for (const { branchId, keepUntil } of replica.archives) {
        await target.store.archiveBranch({ ...command, branchId, keepUntil }, { signal });
      }
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
