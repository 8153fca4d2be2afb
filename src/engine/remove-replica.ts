/** Ends protection: the record goes; with `delete`, the replica's VM and files go first. The source VM is never touched. */
import { type ReplicaId, replicaId } from '../domain/ids.ts';
import { excludeVm } from '../domain/job/job.ts';
import { apply } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CatalogChange, Temporary } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import { actingFor } from './acting-for.ts';
import { endTests } from './end-tests.ts';
import type { EnginePorts } from './engine-ports.ts';
import { textIn } from './input.ts';
import { keptMarks } from './kept-marks.ts';
import { recordGathered } from './record-gathered.ts';
import { loadReplica, type ReplicaFacts, savedReplica } from './replica-facts.ts';
import { marksLeft, orLeaveToSweeper, PATIENCE_MS } from './temporaries.ts';

/** Remove from configuration: files and VM stay where they are. */
export function removeReplicaDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'remove-replica',
    run: async (context, input) => {
      const facts = await loadReplica(ports, context, idIn(input), 'remove');
      await endProtection(ports, context, facts);
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
      await endTests(ports, context, facts.replica.id);
      await deleteFiles(ports, context, facts.replica);
      await endProtection(ports, context, facts);
      return null;
    },
  };
}

function idIn(input: Parameters<typeof textIn>[0]): ReplicaId {
  return replicaId(textIn(input, 'replicaId'));
}

/** Marks go last, when nothing needs them any more: a removal that fails before leaves protection as it was. */
async function endProtection(
  ports: EnginePorts,
  context: OperationContext,
  facts: ReplicaFacts,
): Promise<void> {
  const removedAt = await context.now('removed-at');
  const left = marksLeft(context.operationId, facts.replica, removedAt);
  await recordRemoved(ports, context, facts, left);
  await forgetMarks(ports, context, facts.replica, left);
}

/** Marks cost the source a little on every write. One that is away is swept later. */
async function forgetMarks(
  ports: EnginePorts,
  context: OperationContext,
  replica: Replica,
  { key }: Temporary,
): Promise<void> {
  const { clock } = ports;
  const isForgotten = await context.step<boolean>('forget-marks', {
    do: ({ signal }) =>
      orLeaveToSweeper({ clock, patienceMs: PATIENCE_MS, signal }, async (options) => {
        const { pointSource } = await actingFor(ports, replica.id, replica.sourceHostId);
        const keep = await keptMarks(ports.catalog, replica, null);
        await pointSource.sweepMarks({ vmId: replica.sourceVmId, keep }, options);
      }),
    undo: 'nothing',
  });
  if (!isForgotten) return;
  await context.record('release-marks', [{ type: 'temporary-released', key }], { undo: 'nothing' });
}

async function deleteFiles(
  ports: EnginePorts,
  context: OperationContext,
  replica: Replica,
): Promise<void> {
  const { hypervisor, store } = await actingFor(ports, replica.id, replica.targetHostId);
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
  left: Temporary,
): Promise<void> {
  const removed = apply({ ...replica, newestPointId: null, archives: [] }, 'removed');
  await recordGathered(context, 'record-removed', async () => {
    const points = await ports.catalog.points(replica.id);
    const conditions = await ports.catalog.conditions(replica.id);
    return [
      savedReplica(removed, version),
      ...(await exclusion(ports, replica)),
      { type: 'temporary-registered' as const, temporary: left },
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
  });
}

/** Else the next run of its job would protect it again at once. */
async function exclusion(ports: EnginePorts, replica: Replica): Promise<readonly CatalogChange[]> {
  const job = replica.jobId === null ? null : await ports.catalog.job(replica.jobId);
  if (job === null) return [];
  const excluded = excludeVm(job.value, replica.sourceVmId, 'its replica was removed');
  return [{ type: 'job-saved', job: excluded, expectedVersion: job.version }];
}
