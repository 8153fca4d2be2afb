/**
 * How a replica VM leaves the branch it ran on. Somebody may have undefined the VM or removed the branch
 * meanwhile: what the host says is not there needs no leaving, and must not keep a replica in Failover for good.
 */
import { asUnderstudyError } from '../domain/error.ts';
import type { ErrorCode } from '../domain/error-catalog.ts';
import type { ArchivedBranch, Replica } from '../domain/replica/replica.ts';
import type { StepAttempt } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';

type Attempt = Pick<StepAttempt, 'key' | 'signal'>;

/** Resolves only with positive evidence: the VM is off, or its host answers that there is none. */
export async function powerOffReplica(
  { hypervisor }: HostPorts,
  { targetVmId }: Replica,
  { key, signal }: Attempt,
): Promise<void> {
  if (targetVmId === null) return;
  await unless('vm-missing', hypervisor.powerOff({ key, vmId: targetVmId }, { signal }));
}

export async function archiveBranch(
  { store }: Pick<HostPorts, 'store'>,
  { id: replicaId, epoch }: Replica,
  { branchId, keepUntil }: ArchivedBranch,
  { key, signal }: Attempt,
): Promise<void> {
  const command = { key, replicaId, epoch, branchId, keepUntil };
  await unless('branch-missing', store.archiveBranch(command, { signal }));
}

async function unless(missing: ErrorCode, work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (asUnderstudyError(error).code !== missing) throw error;
  }
}
