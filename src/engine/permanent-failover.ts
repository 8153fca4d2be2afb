/**
 * Permanent failover: the replica becomes an ordinary VM and protection of the source ends.
 *
 *   load → flatten the branch (while it runs) → record Permanent, exclude the source everywhere, forget the points
 *        → drop the chain
 *
 * Flattening only reads the layers below, so until the record is written every restore point is intact and the
 * failover can still be undone.
 */
import { named } from '../domain/failover/connection.ts';
import { type DiskKey, replicaId, type VmId } from '../domain/ids.ts';
import { excludeVm } from '../domain/job/job.ts';
import { apply } from '../domain/replica/phase.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { mayServe } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import { actingFor } from './acting-for.ts';
import { endTests } from './end-tests.ts';
import type { EnginePorts } from './engine-ports.ts';
import { textIn } from './input.ts';
import { mergeProgress } from './merge-progress.ts';
import { cleared } from './record-failover.ts';
import { recordGathered } from './record-gathered.ts';
import { loadReplica, type ReplicaFacts, savedReplica } from './replica-facts.ts';
import { besideText, lookAtSiblings } from './siblings.ts';
import { lookAtSource } from './source-fence.ts';

export function permanentFailoverDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'permanent-failover',
    run: async (context, input) => {
      const facts = await loadReplica(
        ports,
        context,
        replicaId(textIn(input, 'replicaId')),
        'permanent-failover',
      );
      const target = await actingFor(ports, facts.replica.id, facts.replica.targetHostId);
      await endTests(ports, context, facts.replica.id);
      await flatten(ports, context, facts, target);
      const permanent = await recordPermanent(ports, context, facts);
      await dropChain(context, permanent, target);
      return { vmId: permanent.targetVmId };
    },
  };
}

async function flatten(
  ports: EnginePorts,
  context: OperationContext,
  { replica }: ReplicaFacts,
  target: HostPorts,
): Promise<void> {
  const vmId = replica.targetVmId;
  if (vmId === null) throw new Error(`replica ${replica.id} is in ${replica.phase} without a VM`);
  await context.step<null>('flatten', {
    do: async ({ key, signal }) => {
      const disks = await disksToFlatten(ports, replica, target, vmId, { signal });
      const onProgress = mergeProgress(context, ports.clock, 'flatten');
      await target.hypervisor.flatten({ key, vmId, disks }, { signal, onProgress });
      return null;
    },
    undo: 'nothing',
  });
}

/** Those of the point. Should the catalogue have lost it, all that the VM has: none must read through what goes. */
async function disksToFlatten(
  { catalog }: EnginePorts,
  { id, failover }: Replica,
  { hypervisor }: HostPorts,
  vmId: VmId,
  options: CallOptions,
): Promise<readonly DiskKey[]> {
  const points = await catalog.points(id);
  const point = points.find((candidate) => candidate.id === failover?.pointId);
  const { disks } = point ?? (await hypervisor.vm(vmId, options));
  return disks.map((disk) => disk.key);
}

async function recordPermanent(
  ports: EnginePorts,
  context: OperationContext,
  { replica, version }: ReplicaFacts,
): Promise<Replica> {
  const permanent = apply(
    { ...replica, epoch: replica.epoch + 1, newestPointId: null, archives: [] },
    'failover-made-permanent',
  );
  await recordGathered(context, 'record-permanent', async (attempt) => [
    savedReplica(permanent, version),
    ...(await exclusions(ports, replica)),
    ...(await forgottenPoints(ports, replica)),
    ...(await clearedConditions(ports, replica, attempt)),
  ]);
  return permanent;
}

/** In every job that holds the source VM, not only the one that made the replica. */
async function exclusions(ports: EnginePorts, replica: Replica): Promise<readonly CatalogChange[]> {
  const jobs = await ports.catalog.jobs();
  const because = `its replica ${replica.name} was made permanent`;
  return jobs
    .filter(({ value }) => value.sourceHostId === replica.sourceHostId)
    .filter(({ value }) => value.vms.some((vm) => vm.vmId === replica.sourceVmId))
    .map(({ value, version }) => ({
      type: 'job-saved',
      job: excludeVm(value, replica.sourceVmId, because),
      expectedVersion: version,
    }));
}

async function forgottenPoints(
  ports: EnginePorts,
  { id }: Replica,
): Promise<readonly CatalogChange[]> {
  const points = await ports.catalog.points(id);
  return points.map((point) => ({ type: 'point-removed', replicaId: id, pointId: point.id }));
}

/** What may still meet it stays told, as far as that is so now. */
async function clearedConditions(
  ports: EnginePorts,
  replica: Replica,
  options: CallOptions,
): Promise<readonly CatalogChange[]> {
  const { id } = replica;
  const conditions = await ports.catalog.conditions(id);
  const others = conditions.filter(({ name }) => name !== 'unfenced-source');
  const standing = conditions.find(({ name }) => name === 'unfenced-source');
  const beside = standing === undefined ? null : await whoMayServe(ports, replica, options);
  return [
    ...others.map(({ name }) => ({ type: 'condition-cleared', replicaId: id, name }) as const),
    standing === undefined || beside === null
      ? cleared(replica)
      : { type: 'condition-raised', replicaId: id, condition: { ...standing, message: beside } },
  ];
}

/** Null: everybody else is seen at rest. */
async function whoMayServe(
  ports: EnginePorts,
  replica: Replica,
  options: CallOptions,
): Promise<string | null> {
  const { name, sourceHostId, sourceVmName } = replica;
  const { hypervisor } = await ports.hosts.ports(sourceHostId);
  const [source, siblings] = await Promise.all([
    lookAtSource({ hypervisor, clock: ports.clock }, replica, options),
    lookAtSiblings(ports, replica, options),
  ]);
  const sibling = siblings.find(mayServe);
  const ofSource =
    `${name} is production now, and its source VM ${sourceVmName} was not fenced, so that it may still run. ` +
    'Make sure that it does not: shut it down at its host and remove it there.';
  const told = [
    ...(mayServe(source) ? [ofSource] : []),
    ...(sibling === undefined ? [] : [besideText(name, named(sibling))]),
  ];
  return told.length === 0 ? null : told.join(' ');
}

async function dropChain(
  context: OperationContext,
  replica: Replica,
  target: HostPorts,
): Promise<void> {
  const { failover, id, epoch } = replica;
  if (failover === null) return;
  await context.step<null>('drop-chain', {
    do: async ({ key, signal }) => {
      const command = { key, replicaId: id, epoch, branchId: failover.branchId };
      await target.store.promoteBranch(command, { signal });
      return null;
    },
    undo: 'nothing',
  });
}
