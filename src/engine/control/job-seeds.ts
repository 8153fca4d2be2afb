/** What the replicas of a new job are seeded from. */
import { UnderstudyError } from '../../domain/error.ts';
import type { Host } from '../../domain/host/host.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { VmSummary } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { CreateJob } from '../../ports/job-orders.ts';
import type { SeedOrder } from '../../ports/orders.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { findVm } from './references.ts';
import { requireSeedable, resolveSeed } from './seeds.ts';

export type ReplicaSaved = Extract<CatalogChange, { type: 'replica-saved' }>;

export type SeedOrders = ReadonlyMap<Replica['sourceVmId'], SeedOrder>;

/** By source VM. A VM that is named several times gets all the files together. Throws `invalid-request`. */
export function seedOrders(
  vms: readonly VmSummary[],
  seeds: NonNullable<CreateJob['seeds']>,
  host: Host,
): SeedOrders {
  const orders = new Map<Replica['sourceVmId'], SeedOrder>();
  for (const { vm: reference, from } of seeds) {
    const vm = findVm(vms, reference, host.name);
    const known = orders.get(vm.id);
    if (known === undefined) orders.set(vm.id, from);
    else if (known.type === 'files' && from.type === 'files') {
      orders.set(vm.id, { type: 'files', files: [...known.files, ...from.files] });
    } else {
      const reason = `VM ${vm.name} can have one seed: files, a VM or a replica`;
      throw new UnderstudyError('invalid-request', { reason });
    }
  }
  return orders;
}

export async function seeded(
  ports: ControllerPorts,
  changes: readonly ReplicaSaved[],
  orders: SeedOrders,
  options: CallOptions,
): Promise<readonly ReplicaSaved[]> {
  const all: ReplicaSaved[] = [];
  for (const change of changes) {
    const { replica } = change;
    const order = orders.get(replica.sourceVmId);
    if (order === undefined) all.push(change);
    else {
      requireSeedable(replica);
      const seed = await resolveSeed(ports, replica, order, options);
      all.push({ ...change, replica: { ...replica, seed } });
    }
  }
  return all;
}
