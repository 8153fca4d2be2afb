/** Hop: a replica that serves moves to another restore point or archive. */
import type { OperationRecord } from '../../domain/operation/operation.ts';
import type { CallOptions } from '../../ports/call.ts';
import type {
  CommandOptions,
  FailoverOrder,
  FailoverPreview,
  Reference,
} from '../../ports/controller.ts';
import { accept } from './accept.ts';
import { chosenBasis } from './basis.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { GUEST_DEADLINE_MS, previewTakeover } from './failovers.ts';
import { findReplica } from './references.ts';

export async function hop(
  ports: ControllerPorts,
  reference: Reference,
  order: FailoverOrder,
  options: CommandOptions,
): Promise<OperationRecord> {
  const requestedAt = ports.clock.now();
  const { value: replica } = await findReplica(ports.catalog, reference);
  const { pointId, archiveId } = await chosenBasis(ports, replica, order);
  return accept(
    ports,
    replica,
    {
      kind: 'hop',
      allowedAs: 'hop',
      title: `Move ${replica.name} to ${archiveId === null ? 'another restore point' : 'an archived branch'}`,
      input: {
        pointId,
        archiveId,
        wantsNewest: archiveId === null && order.point.type === 'latest',
        requestedAt,
        reason: order.reason,
        acceptsDuplicate: order.acceptDuplicate,
        guestDeadlineMs: GUEST_DEADLINE_MS,
      },
    },
    options,
  );
}

export async function previewHop(
  ports: ControllerPorts,
  reference: Reference,
  order: FailoverOrder,
  options: CallOptions,
): Promise<FailoverPreview> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const asked = { ...order, fence: 'none', operation: 'hop' } as const;
  const preview = await previewTakeover(ports, replica, asked, options);
  const { failover } = replica;
  if (failover === null) return preview;
  const left =
    `What the replica wrote since ${new Date(failover.startedAt).toISOString()} is set aside: ` +
    `archived branch ${failover.branchId}. The guest is stopped as if its plug were pulled.`;
  return { ...preview, warnings: [left, ...preview.warnings] };
}
