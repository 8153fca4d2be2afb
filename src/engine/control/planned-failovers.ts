/** Planned failover, as it is asked for: it moves blocks, so it takes its turn with other transfers of its hosts. */
import type { OperationRecord } from '../../domain/operation/operation.ts';
import type { CommandOptions, Reference } from '../../ports/controller.ts';
import type { PlannedFailoverOrder } from '../../ports/orders.ts';
import { accept } from './accept.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { GUEST_DEADLINE_MS } from './failovers.ts';
import { findReplica } from './references.ts';
import { transferSlots } from './run-job.ts';

export async function plannedFailover(
  ports: ControllerPorts,
  reference: Reference,
  order: PlannedFailoverOrder,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  return accept(
    ports,
    replica,
    {
      kind: 'planned-failover',
      allowedAs: 'planned-failover',
      title: `Fail over ${replica.sourceVmName} to ${replica.name} as planned`,
      input: { ...order, guestDeadlineMs: GUEST_DEADLINE_MS },
      slots: await transferSlots(ports, replica),
    },
    options,
  );
}
