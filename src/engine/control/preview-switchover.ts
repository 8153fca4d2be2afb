/** What a switchover would mean at this moment, told before anybody is shut down. */
import { formatBytes } from '../../domain/bytes.ts';
import {
  extendLayers,
  type FailbackRecord,
  switchoverChanges,
} from '../../domain/failover/failback.ts';
import { connectsAtSwitchover } from '../../domain/failover/fencing.ts';
import { formatInstant } from '../../domain/instant.ts';
import { requireAllowed } from '../../domain/replica/phase.ts';
import type { FailoverRecord } from '../../domain/replica/replica.ts';
import type { VmDescription } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Reference } from '../../ports/controller.ts';
import type { FailbackPreview } from '../../ports/orders.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { expectedOfFailback } from './expectations.ts';
import { besideOthers } from './failbacks.ts';
import { findReplica, hostNameOf } from './references.ts';

/** Asks both hosts, changes nothing. */
export async function previewSwitchOver(
  ports: ControllerPorts,
  reference: Reference,
  options: CallOptions,
): Promise<FailbackPreview> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  requireAllowed(replica, 'switch-over');
  const { failback, failover, targetVmId } = replica;
  if (failback === null || failover === null || targetVmId === null) {
    throw new Error(`replica ${replica.id} is in ${replica.phase} without a failback`);
  }
  const target = await ports.hosts.ports(replica.targetHostId);
  const { hypervisor } = await ports.hosts.ports(failback.home.hostId);
  const standIn = await target.hypervisor.vm(targetVmId, options);
  const own = failback.home.vmId === null ? null : await hypervisor.vm(failback.home.vmId, options);
  return {
    replicaId: replica.id,
    replicaName: replica.name,
    home: failback.home,
    homeHostName: await hostNameOf(ports.catalog, failback.home.hostId),
    homePower: own?.power ?? null,
    hasSavedState: own?.hasSavedState ?? false,
    branchBytes: await target.store.branchBytes(replica.id, failover.branchId, options),
    // What was written since the last pass is not known without a freeze: about as much as that one moved.
    ...(await expectedOfFailback(ports, replica, failback.syncedBytes)),
    changes: changesOf(failback, own, standIn),
    consequence: consequenceOf(failback, failover, replica.name),
    refusedBecause:
      own !== null && own.power !== 'off'
        ? `${own.name} is ${own.power}`
        : await besideOthers(ports, replica, failback.home, options),
  };
}

/** All there are, whether they are carried over or not. */
function changesOf(
  { layers }: FailbackRecord,
  own: VmDescription | null,
  standIn: VmDescription,
): FailbackPreview['changes'] {
  if (own === null) return [];
  return switchoverChanges(extendLayers(layers, standIn.disks), own, standIn, true);
}

function consequenceOf(
  { home, syncedAt, syncedBytes, appliesChanges }: FailbackRecord,
  failover: FailoverRecord,
  replicaName: string,
): string {
  const others = appliesChanges
    ? 'changes of the configuration are carried over'
    : 'changes of memory, processors and NICs are not carried over (see --apply-changes)';
  const connects = home.kind === 'original' ? connectsAtSwitchover(failover) : null;
  return (
    `${replicaName} is copied once more, shut down, followed to its last write, and VM ${home.name} is started; ` +
    `the last copy, at ${formatInstant(syncedAt)}, moved ${formatBytes(syncedBytes)}; ${others}` +
    (connects === null ? '' : `; ${connects}`)
  );
}
