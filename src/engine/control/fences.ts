/** Fencing the source of a failover afterwards, and lifting that again. */
import type { OperationRecord } from '../../domain/operation/operation.ts';
import { requireAllowed } from '../../domain/replica/phase.ts';
import type { CommandOptions, FenceOrder, Reference } from '../../ports/controller.ts';
import { requireAccepted, requireFailover } from '../fence-after.ts';
import { accept, knownOperation } from './accept.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { findReplica } from './references.ts';

export async function fenceSource(
  ports: ControllerPorts,
  reference: Reference,
  fence: FenceOrder,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const title = `Fence ${replica.sourceVmName} by ${fence}`;
  const order = { kind: 'fence-source', allowedAs: 'fence', title, input: { fence } } as const;
  return accept(ports, replica, order, options);
}

export async function unfenceSource(
  ports: ControllerPorts,
  reference: Reference,
  acceptsDuplicate: boolean,
  options: CommandOptions,
): Promise<OperationRecord> {
  const known = await knownOperation(ports, options);
  if (known !== null) return known;
  const { value: replica } = await findReplica(ports.catalog, reference);
  requireAllowed(replica, 'unfence');
  requireAccepted(replica, requireFailover(replica), acceptsDuplicate);
  const title = `Lift the fence around ${replica.sourceVmName}`;
  const input = { acceptsDuplicate };
  const order = { kind: 'unfence-source', allowedAs: 'unfence', title, input } as const;
  return accept(ports, replica, order, options);
}
