/** Looks at the other replicas of a VM before one of them is let onto the network. */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import { named, type SiblingAtFailover } from '../domain/failover/connection.ts';
import {
  leftBeside,
  type StandIn,
  siblingsOf,
  standInsBeside,
} from '../domain/failover/siblings.ts';
import type { ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { isServing, mayServe } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { cleared } from './record-failover.ts';
import { lookAtSource } from './source-fence.ts';
import { leftProduction } from './temporaries.ts';

type Ports = Pick<EnginePorts, 'catalog' | 'hosts' | 'clock'>;

/** All at once: an outage does not wait for each that does not answer. */
export async function lookAtSiblings(
  ports: Ports,
  replica: Replica,
  options: CallOptions,
): Promise<readonly SiblingAtFailover[]> {
  const { catalog } = ports;
  const all = (await catalog.replicas()).map(({ value }) => value);
  const left = leftProduction(await catalog.temporaries());
  const uncleaned = await uncleanedOf(ports, siblingsOf(replica, all));
  const standIns = [...standInsBeside(replica, all, uncleaned), ...leftBeside(replica, all, left)];
  return Promise.all(standIns.map((standIn) => lookAt(ports, standIn, options)));
}

/** Given up by force past their hosts, where they may go on. */
async function uncleanedOf(
  { catalog }: Ports,
  replicas: readonly Replica[],
): Promise<readonly ReplicaId[]> {
  const found: ReplicaId[] = [];
  for (const { id } of replicas) {
    const conditions = await catalog.conditions(id);
    if (conditions.some(({ name }) => name === 'cleanup-pending')) found.push(id);
  }
  return found;
}

/** The host of a replica that was made permanent may have been removed since: then nobody can say what runs there. */
async function lookAt(
  { hosts, clock }: Ports,
  { hostId, vmId, ...who }: StandIn,
  options: CallOptions,
): Promise<SiblingAtFailover> {
  try {
    const { hypervisor } = await hosts.ports(hostId);
    const asked = { hypervisor, clock };
    const { power, isConnected } = await lookAtSource(asked, { sourceVmId: vmId }, options);
    return { ...who, power, isConnected };
  } catch (error) {
    if (asUnderstudyError(error).code !== 'host-missing') throw error;
    return { ...who, power: 'unknown', isConnected: false };
  }
}

/**
 * Throws `sibling-serves` where `vm` would meet another replica of the same VM. Answers with the name, as `named`, of one that cannot be
 * asked, and so may be met: nobody is kept waiting for it, and it is told.
 */
export function heedSiblings(
  ports: Ports,
  context: OperationContext,
  replica: Replica,
  vm: string,
  /** Not where the journal answers. */
  onLook: () => void = () => {},
): Promise<string | null> {
  return context.step<string | null>('look-at-siblings', {
    do: (attempt) => {
      onLook();
      return requireNoSibling(ports, replica, vm, attempt);
    },
    undo: 'nothing',
  });
}

export async function requireNoSibling(
  ports: Ports,
  replica: Replica,
  vm: string,
  options: CallOptions,
): Promise<string | null> {
  const siblings = await lookAtSiblings(ports, replica, options);
  const serving = siblings.find(isServing);
  if (serving === undefined) {
    const silent = siblings.find(({ power }) => power === 'unknown');
    return silent === undefined ? null : named(silent);
  }
  const { name: sibling, replicaName } = serving;
  const details = { vm, sibling, who: named(serving), replica: replicaName };
  throw new UnderstudyError('sibling-serves', details);
}

/** Stays until every sibling is seen to serve nobody, or the replica's next way tells better. */
export function besideSibling(
  { id: replicaId }: Replica,
  vm: string,
  /** As `named` tells it. */
  sibling: string,
  since: Instant,
): CatalogChange {
  const condition = { name: 'unfenced-source', message: besideText(vm, sibling), since } as const;
  return { type: 'condition-raised', replicaId, condition };
}

export function besideText(vm: string, sibling: string): string {
  return (
    `${vm} is on the network, and ${sibling}, may be so, too: it has not been seen at rest. ` +
    'Make sure that only one of them serves.'
  );
}

/** What remains to be told of a source whose replica is at rest again: a sibling that may serve beside it, where it may serve itself. */
export async function toldOfSource(
  ports: Ports,
  replica: Replica,
  since: Instant,
  options: CallOptions,
): Promise<CatalogChange> {
  const { hypervisor } = await ports.hosts.ports(replica.sourceHostId);
  const seen = await lookAtSource({ hypervisor, clock: ports.clock }, replica, options);
  if (!mayServe(seen)) return cleared(replica);
  return toldOfSiblings(ports, replica, replica.sourceVmName, since, options);
}

/** What remains to be told when the source itself meets nobody any more: a sibling that may serve beside `vm`, or nothing. */
export async function toldOfSiblings(
  ports: Ports,
  replica: Replica,
  vm: string,
  since: Instant,
  options: CallOptions,
): Promise<CatalogChange> {
  const beside = (await lookAtSiblings(ports, replica, options)).find(mayServe);
  return beside === undefined ? cleared(replica) : besideSibling(replica, vm, named(beside), since);
}
