/**
 * How a replica VM leaves the branch it ran on. Somebody may have undefined the VM or removed the branch
 * meanwhile: what the host says is not there needs no leaving, and must not keep a replica in Failover for good.
 */
import { asUnderstudyError } from '../domain/error.ts';
import type { ErrorCode } from '../domain/error-catalog.ts';
import type { BranchId, OperationKey } from '../domain/ids.ts';
import type { ArchivedBranch, Replica } from '../domain/replica/replica.ts';
import type { CallOptions } from '../ports/call.ts';
import type { StepAttempt } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { EnginePorts } from './engine-ports.ts';
import { type ReplicaFacts, readSettings } from './replica-facts.ts';
import { defineAtRest } from './rest-replica.ts';

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

/** As `powerOffReplica`, where somebody has started it since. */
export async function powerOffAgain(
  target: HostPorts,
  replica: Replica,
  attempt: Attempt,
): Promise<void> {
  const { targetVmId } = replica;
  if (targetVmId === null) return;
  const { signal } = attempt;
  const power = await unless('vm-missing', target.hypervisor.power(targetVmId, { signal }));
  if (power !== 'off' && power !== null) await powerOffReplica(target, replica, attempt);
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

/**
 * Deletes a branch that nothing has recorded or archived. Its operation may have had to leave the VM defined on it, when
 * the host was away: it goes to rest first, unless the replica serves from another branch by now.
 */
export async function removeBranch(
  { catalog }: Pick<EnginePorts, 'catalog'>,
  { replica, newest }: Pick<ReplicaFacts, 'replica' | 'newest'>,
  target: HostPorts,
  { key, branchId }: { readonly key: OperationKey; readonly branchId: BranchId },
  options: CallOptions,
): Promise<void> {
  const { id: replicaId, epoch, phase, targetVmId } = replica;
  if (phase === 'Ready' && targetVmId !== null && newest !== null) {
    const settings = await readSettings(catalog, replica);
    const resting = { replica, point: newest, settings, target };
    // A VM of somebody else has the name: then there is no definition of ours to take back.
    await unless('name-taken', defineAtRest(resting, key, options));
  }
  await target.store.deleteBranch({ key, replicaId, epoch, branchId }, options);
}

async function unless<Result>(expected: ErrorCode, work: Promise<Result>): Promise<Result | null> {
  try {
    return await work;
  } catch (error) {
    if (asUnderstudyError(error).code === expected) return null;
    throw error;
  }
}
