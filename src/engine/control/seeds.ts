/** What a first run is to be compared with: found, and looked at before anybody waits for it. */
import { UnderstudyError } from '../../domain/error.ts';
import { type DiskKey, diskKey } from '../../domain/ids.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import { type Seed, seededDisks, seedUnfit } from '../../domain/replication/seed.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Reference, ReplicaView } from '../../ports/controller.ts';
import type { SeedOrder } from '../../ports/orders.ts';
import { seedImages } from '../copy-seed.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { idleReplica } from './idle-replica.ts';
import { findReplica, findVm, hostNameOf } from './references.ts';
import { showReplica } from './replicas.ts';

type Wanted = Pick<Replica, 'id' | 'name' | 'targetHostId' | 'sourceHostId' | 'sourceVmId'>;

/** Throws `seed-unfit`, `image-in-use`, and what naming a VM or a replica that is not there throws. */
export async function resolveSeed(
  ports: ControllerPorts,
  replica: Wanted,
  order: SeedOrder,
  options: CallOptions,
): Promise<Seed> {
  const seed = await namedSeed(ports, replica, order, options);
  const source = await ports.hosts.ports(replica.sourceHostId);
  const { disks } = await source.hypervisor.vm(replica.sourceVmId, options);
  const ofVm = disks.map(({ key }) => key);
  const ofSeed = await disksOf(ports, replica, seed, options);
  seededDisks(seed, ofVm, ofSeed);
  const surplus = ofSeed.find((key) => !ofVm.includes(key));
  if (seed.type === 'files' && surplus !== undefined) {
    throw seedUnfit(seed, `the VM has no disk ${surplus}, it has ${ofVm.join(', ')}`);
  }
  return seed;
}

async function namedSeed(
  ports: ControllerPorts,
  replica: Wanted,
  order: SeedOrder,
  options: CallOptions,
): Promise<Seed> {
  if (order.type === 'files') return namedFiles(order);
  if (order.type === 'replica') {
    const { value: other } = await findReplica(ports.catalog, order.replica);
    const seed: Seed = { type: 'replica', replicaId: other.id, replicaName: other.name };
    if (other.id === replica.id) throw seedUnfit(seed, 'it is the same replica');
    if (other.targetHostId === replica.targetHostId) return seed;
    throw seedUnfit(seed, 'it is on another target host');
  }
  const { hypervisor } = await ports.hosts.ports(replica.targetHostId);
  const vms = await hypervisor.vms(options);
  const vm = findVm(vms, order.vm, await hostNameOf(ports.catalog, replica.targetHostId));
  const seed: Seed = { type: 'vm', vmId: vm.id, vmName: vm.name };
  for (const { value } of await ports.catalog.replicas()) {
    const isStandIn = value.targetHostId === replica.targetHostId && value.targetVmId === vm.id;
    if (!isStandIn || value.phase === 'Permanent' || value.phase === 'Removed') continue;
    throw seedUnfit(
      seed,
      `it is the VM of a replica; name the replica instead: replica:${value.name}`,
    );
  }
  return seed;
}

function namedFiles({ files }: Extract<SeedOrder, { type: 'files' }>): Seed {
  const seed: Seed = {
    type: 'files',
    files: files.map(({ disk, path }) => ({ key: diskKey(disk), path })),
  };
  const keys = seed.files.map(({ key }) => key);
  const twice = keys.find((key, index) => keys.indexOf(key) < index);
  if (twice === undefined) return seed;
  throw seedUnfit(seed, `disk ${twice} is named twice`);
}

async function disksOf(
  ports: ControllerPorts,
  replica: Wanted,
  seed: Seed,
  options: CallOptions,
): Promise<readonly DiskKey[]> {
  if (seed.type === 'replica') {
    const newest = (await ports.catalog.points(seed.replicaId)).at(-1);
    if (newest === undefined) throw seedUnfit(seed, 'it has no restore point');
    return newest.disks.map(({ key }) => key);
  }
  const target = await ports.hosts.ports(replica.targetHostId);
  const images = await seedImages(target, seed, options);
  return (await target.store.describeSeed(images, options)).map(({ key }) => key);
}

/** Null: none, from now on. Throws `seed-unfit` once there is a restore point, `operation-in-progress`. */
export async function seedReplica(
  ports: ControllerPorts,
  reference: Reference,
  order: SeedOrder | null,
  options: CallOptions,
): Promise<ReplicaView> {
  const found = await findReplica(ports.catalog, reference);
  const { value: replica } = await idleReplica(ports, found.value.id, options);
  requireSeedable(replica);
  const seed = order === null ? null : await resolveSeed(ports, replica, order, options);
  // Again: asking the hosts took its time.
  const { value, version } = await idleReplica(ports, replica.id, options);
  requireSeedable(value);
  const seeded = { ...value, seed };
  await ports.catalog.apply([{ type: 'replica-saved', replica: seeded, expectedVersion: version }]);
  return showReplica(ports, replica.id);
}

/** Only what has no point yet has a first run before it. */
export function requireSeedable({ name, phase }: Replica): void {
  if (phase === 'Pending') return;
  const reason = `Replica ${name} had its first run already, and only a first run is seeded`;
  throw new UnderstudyError('invalid-request', { reason });
}
