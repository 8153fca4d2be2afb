/**
 * While production runs what was failed back, the replica is off and its branch still there, for an undo. Its definition
 * looks elsewhere meanwhile: started by hand it would write to a state that production does not have.
 */
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { Sidecar } from '../ports/hypervisor.ts';
import type { BranchDisk } from '../ports/replica-store.ts';
import type { Failback, FailbackFacts } from './failback-facts.ts';
import { orLeaveToSweeper } from './temporaries.ts';

/** Production waits for it. */
const PATIENCE_MS = 5_000;

/** A target that does not answer any more keeps nobody from going home. */
export async function parkReplica(context: OperationContext, failback: Failback): Promise<void> {
  const { clock } = failback;
  const isParked = await context.step<boolean>('park-replica', {
    do: (attempt) =>
      orLeaveToSweeper({ clock, patienceMs: PATIENCE_MS, signal: attempt.signal }, (options) =>
        park(failback, { ...attempt, ...options }),
      ),
    undo: (attempt) => unpark(failback, attempt),
  });
  if (isParked) return;
  const { name } = failback.replica;
  await context.note(
    'note-parking',
    `${name} could not be kept from being started by hand, because its host does not answer. Do not start it there ` +
      'before this failback is committed or undone.',
  );
}

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

async function park(failback: Failback, { key, signal }: Attempt): Promise<void> {
  const { target, replica, replicaVmId: vmId } = failback;
  const { disks } = await servingBranch(failback, { key, signal });
  const resting = target.store.restingDisks(
    replica.id,
    disks.map((disk) => disk.key),
  );
  await target.hypervisor.placeDisks({ key, vmId, disks: resting }, { signal });
}

/** The replica's VM, off, on its branch again; one that runs on it is left as it is. */
export async function unpark(failback: FailbackFacts, { key, signal }: Attempt): Promise<void> {
  const { target, replicaVmId: vmId } = failback;
  const { disks } = await servingBranch(failback, { key, signal });
  await target.hypervisor.placeDisks({ key, vmId, disks }, { signal });
}

/** What the replica serves from. The branch is there, so that making it is asking for it. */
export function servingBranch(
  { replica, failover, target }: FailbackFacts,
  { key, signal }: Attempt,
): Promise<{ readonly disks: readonly BranchDisk[]; readonly sidecars: readonly Sidecar[] }> {
  const { branchId, pointId, overBranchId: archiveId } = failover;
  const command = { key, replicaId: replica.id, epoch: replica.epoch };
  return target.store.createBranch({ ...command, branchId, pointId, archiveId }, { signal });
}
