/** Looks at the other replicas of a VM before one of them is let onto the network. */
import { UnderstudyError } from '../domain/error.ts';
import type { SiblingAtFailover } from '../domain/failover/connection.ts';
import { standInsBeside } from '../domain/failover/siblings.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { isServing } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { lookAtSource } from './source-fence.ts';

type Ports = Pick<EnginePorts, 'catalog' | 'hosts' | 'clock'>;

/** All at once: an outage does not wait for each that does not answer. */
export async function lookAtSiblings(
  { catalog, hosts, clock }: Ports,
  replica: Replica,
  options: CallOptions,
): Promise<readonly SiblingAtFailover[]> {
  const all = (await catalog.replicas()).map(({ value }) => value);
  return Promise.all(
    standInsBeside(replica, all).map(async ({ hostId, vmId, name, replicaName }) => {
      const { hypervisor } = await hosts.ports(hostId);
      const asked = { hypervisor, clock };
      const { power, isConnected } = await lookAtSource(asked, { sourceVmId: vmId }, options);
      return { name, replicaName, power, isConnected };
    }),
  );
}

/** Throws `sibling-serves` where `vm` would meet another replica of the same VM. */
export function heedSiblings(
  ports: Ports,
  context: OperationContext,
  replica: Replica,
  vm: string,
): Promise<null> {
  return context.step<null>('look-at-siblings', {
    do: async (attempt) => {
      await requireNoSibling(ports, replica, vm, attempt);
      return null;
    },
    undo: 'nothing',
  });
}

export async function requireNoSibling(
  ports: Ports,
  replica: Replica,
  vm: string,
  options: CallOptions,
): Promise<void> {
  const serving = (await lookAtSiblings(ports, replica, options)).find(isServing);
  if (serving === undefined) return;
  const { name: sibling, replicaName } = serving;
  throw new UnderstudyError('sibling-serves', { vm, sibling, replica: replicaName });
}
