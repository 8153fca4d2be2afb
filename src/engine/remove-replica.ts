/** Ends protection: the record goes; with `delete`, the replica's VM and files go first. The source VM is never touched. */
import { type MarkName, type ReplicaId, replicaId } from '../domain/ids.ts';
import { excludeVm } from '../domain/job/job.ts';
import { apply } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { textIn } from './input.ts';
import { loadReplica, type ReplicaFacts, savedReplica } from './replica-facts.ts';
import { orLeaveToSweeper } from './temporaries.ts';

/** Remove from configuration: files and VM stay where they are. */
export function removeReplicaDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'remove-replica',
    run: async (context, input) => {
      const facts = await loadReplica(ports, context, idIn(input), 'remove');
      await forgetMarks(ports, context, facts.replica);
      await recordRemoved(ports, context, facts);
      return null;
    },
  };
}

/** Delete from disk: the VM's definition, then the whole folder. */
export function deleteReplicaDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'delete-replica',
    run: async (context, input) => {
      const facts = await loadReplica(ports, context, idIn(input), 'delete');
      await forgetMarks(ports, context, facts.replica);
      await deleteFiles(ports, context, facts.replica);
      await recordRemoved(ports, context, facts);
      return null;
    },
  };
}

function idIn(input: Parameters<typeof textIn>[0]): ReplicaId {
  return replicaId(textIn(input, 'replicaId'));
}

/** Marks cost the source a little on every write. A source that is gone keeps none. */
async function forgetMarks(
  ports: EnginePorts,
  context: OperationContext,
  replica: Replica,
): Promise<void> {
  const { pointSource } = await ports.hosts.ports(replica.sourceHostId);
  const keep: MarkName | null = null;
  await context.step<boolean>('forget-marks', {
    do: ({ signal }) =>
      orLeaveToSweeper(() =>
        pointSource.sweepMarks({ vmId: replica.sourceVmId, keep }, { signal }),
      ),
    undo: 'nothing',
  });
}

async function deleteFiles(
  ports: EnginePorts,
  context: OperationContext,
  replica: Replica,
): Promise<void> {
  const { hypervisor, store } = await ports.hosts.ports(replica.targetHostId);
  await context.step<null>('delete-replica', {
    do: async ({ key, signal }) => {
      if (replica.targetVmId !== null) {
        await hypervisor.undefine({ key, vmId: replica.targetVmId }, { signal });
      }
      await store.deleteReplica({ key, replicaId: replica.id, epoch: replica.epoch }, { signal });
      return null;
    },
    undo: 'irreversible',
  });
}

async function recordRemoved(
  ports: EnginePorts,
  context: OperationContext,
  { replica, version }: ReplicaFacts,
): Promise<void> {
  const removed = apply({ ...replica, newestPointId: null, archives: [] }, 'removed');
  const changes = await context.step<readonly CatalogChange[]>('gather-changes', {
    do: async () => {
      const points = await ports.catalog.points(replica.id);
      const conditions = await ports.catalog.conditions(replica.id);
      return [
        savedReplica(removed, version),
        ...(await exclusion(ports, replica)),
        ...points.map(({ id }) => ({
          type: 'point-removed' as const,
          replicaId: replica.id,
          pointId: id,
        })),
        ...conditions.map(({ name }) => ({
          type: 'condition-cleared' as const,
          replicaId: replica.id,
          name,
        })),
      ];
    },
    undo: 'nothing',
  });
  await context.record('record-removed', changes, { undo: 'irreversible' });
}

/** Else the next run of its job would protect it again at once. */
async function exclusion(ports: EnginePorts, replica: Replica): Promise<readonly CatalogChange[]> {
  const job = replica.jobId === null ? null : await ports.catalog.job(replica.jobId);
  if (job === null) return [];
  const excluded = excludeVm(job.value, replica.sourceVmId, 'its replica was removed');
  return [{ type: 'job-saved', job: excluded, expectedVersion: job.version }];
}
