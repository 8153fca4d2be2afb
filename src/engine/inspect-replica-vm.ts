/** What a rescan finds of the VM of a replica in Ready, which must be defined and off. */
import { asUnderstudyError } from '../domain/error.ts';
import type { ReplicaFinding } from '../domain/replica/finding.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CallOptions } from '../ports/call.ts';
import type { HostViews } from '../ports/host-directory.ts';
import type { ReplicaFacts } from './replica-facts.ts';

type Inspected = {
  readonly facts: Pick<ReplicaFacts, 'replica' | 'newest'>;
  readonly target: HostViews;
  /** The last run could not renew the replica's definition. */
  readonly isOutdated: boolean;
};

export async function inspectReplicaVm(
  { facts, target, isOutdated }: Inspected,
  options: CallOptions,
): Promise<readonly ReplicaFinding[]> {
  const { replica, newest } = facts;
  if (newest === null || replica.phase !== 'Ready') return [];
  const missing = finding(
    replica,
    'vm-missing',
    'the replica VM is not defined on the target host',
    'redefine-vm',
  );
  if (replica.targetVmId === null) return [missing];
  try {
    const power = await target.hypervisor.power(replica.targetVmId, options);
    if (power === 'off' && isOutdated) {
      const message = 'the replica VM could not be defined as its source is now';
      return [finding(replica, 'vm-outdated', message, 'redefine-vm')];
    }
    if (power === 'off') return await inspectDisks({ facts, target }, options);
    const message = `the replica VM is ${power} although nobody failed over to it`;
    return [finding(replica, 'vm-running', message, 'none')];
  } catch (error) {
    if (asUnderstudyError(error).code === 'vm-missing') return [missing];
    throw error;
  }
}

/** Somebody may have pointed the replica's disks elsewhere, which would let it be started by hand. */
async function inspectDisks(
  { facts, target }: Pick<Inspected, 'facts' | 'target'>,
  options: CallOptions,
): Promise<readonly ReplicaFinding[]> {
  const { replica, newest } = facts;
  if (replica.targetVmId === null || newest === null) return [];
  const keys = newest.disks.map((disk) => disk.key);
  const resting = target.store.restingDisks(replica.id, keys).map((disk) => disk.path);
  const vm = await target.hypervisor.vm(replica.targetVmId, options);
  const foreign = vm.disks.filter((disk) => !resting.includes(disk.path)).map((disk) => disk.path);
  if (foreign.length === 0) return [];
  const message = `the replica VM's disks point at ${foreign.join(', ')}`;
  return [finding(replica, 'vm-redefined', message, 'redefine-vm')];
}

function finding(
  replica: Replica,
  kind: ReplicaFinding['kind'],
  message: string,
  repair: ReplicaFinding['repair'],
): ReplicaFinding {
  return {
    kind,
    object: replica.name,
    message,
    repair,
    blocksWrites: kind === 'vm-running',
    layerId: null,
    pointIds: [],
    branchId: null,
  };
}
