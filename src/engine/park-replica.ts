/**
 * While production runs what was failed back, the replica is off and its branch still there, for an undo. Its definition
 * looks elsewhere meanwhile: started by hand it would write to a state that production does not have.
 */
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { Sidecar } from '../ports/hypervisor.ts';
import type { BranchDisk } from '../ports/replica-store.ts';
import type { Failback, FailbackFacts } from './failback-facts.ts';

/** Before it is started from its state at the switchover. */
export async function unparkReplica(context: OperationContext, failback: Failback): Promise<void> {
  await context.step<null>('unpark-replica', {
    do: async (attempt) => {
      await unpark(failback, attempt);
      return null;
    },
    undo: 'nothing',
  });
}

type Attempt = Pick<StepAttempt, 'key' | 'signal'>;

type Serving = Pick<FailbackFacts, 'replica' | 'failover' | 'target'>;
type ServingVm = Serving & Pick<FailbackFacts, 'replicaVmId'>;

/** Its definition looks where nothing is. Throws `vm-not-off`. */
export async function park(serving: ServingVm, { key, signal }: Attempt): Promise<void> {
  const { target, replica, replicaVmId: vmId } = serving;
  const { disks } = await servingBranch(serving, { key, signal });
  const resting = target.store.restingDisks(
    replica.id,
    disks.map((disk) => disk.key),
  );
  await target.hypervisor.placeDisks({ key, vmId, disks: resting }, { signal });
}

/** The replica's VM, off, on its branch again; one that runs on it is left as it is. */
export async function unpark(failback: ServingVm, { key, signal }: Attempt): Promise<void> {
  const { target, replicaVmId: vmId } = failback;
  const { disks } = await servingBranch(failback, { key, signal });
  await target.hypervisor.placeDisks({ key, vmId, disks }, { signal });
}

/** What the replica serves from. The branch is there, so that making it is asking for it. */
export function servingBranch(
  { replica, failover, target }: Serving,
  { key, signal }: Attempt,
): Promise<{ readonly disks: readonly BranchDisk[]; readonly sidecars: readonly Sidecar[] }> {
  const { branchId, pointId, overBranchId: archiveId } = failover;
  const command = { key, replicaId: replica.id, epoch: replica.epoch };
  return target.store.createBranch({ ...command, branchId, pointId, archiveId }, { signal });
}
