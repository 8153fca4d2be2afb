/** Failover and what follows it: what it would cost, and how it is asked for. */
import {
  type ConnectionDecision,
  decideConnection,
  fenceRefusal,
  neededFence,
  type SourceAtFailover,
} from '../../domain/failover/connection.ts';
import type { OperationRecord } from '../../domain/operation/operation.ts';
import { readsThrough } from '../../domain/replica/archives.ts';
import { ALLOWED_IN } from '../../domain/replica/phase.ts';
import type { Replica, SourceFence } from '../../domain/replica/replica.ts';
import type { RestorePoint } from '../../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../../ports/call.ts';
import type {
  CommandOptions,
  FailoverOrder,
  FailoverPreview,
  Reference,
} from '../../ports/controller.ts';
import type { UndoFailoverOrder } from '../../ports/orders.ts';
import { lookAtSiblings } from '../siblings.ts';
import { lookAtSource } from '../source-fence.ts';
import { accept } from './accept.ts';
import { chosenBasis, findArchive, pointOfBasis } from './basis.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { expectedOfFailover } from './expectations.ts';
import { lookAtTarget } from './look-at-target.ts';
import { findReplica } from './references.ts';

/** How long a failover waits for the guest to answer before it ends without that figure. */
export const GUEST_DEADLINE_MS = 180_000;

export async function failover(
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
      kind: 'failover',
      allowedAs: 'failover',
      title: `Fail over ${replica.sourceVmName} to ${replica.name}`,
      input: {
        pointId,
        archiveId,
        wantsNewest: archiveId === null && order.point.type === 'latest',
        requestedAt,
        reason: order.reason,
        fence: order.fence,
        acceptsDuplicate: order.acceptDuplicate,
        acceptsDrift: order.acceptDrift === true,
        guestDeadlineMs: GUEST_DEADLINE_MS,
      },
    },
    options,
  );
}

export async function undoFailover(
  ports: ControllerPorts,
  reference: Reference,
  { force, keepFence = false }: UndoFailoverOrder,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const title = `Undo the failover of ${replica.sourceVmName}`;
  const input = { force, liftFence: !keepFence };
  const order = { kind: 'undo-failover', allowedAs: 'undo-failover', title, input } as const;
  return accept(ports, replica, order, options);
}

export async function permanentFailover(
  ports: ControllerPorts,
  reference: Reference,
  options: CommandOptions,
): Promise<OperationRecord> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  const title = `Make ${replica.name} permanent`;
  const order = {
    kind: 'permanent-failover',
    allowedAs: 'permanent-failover',
    title,
    input: {},
  } as const;
  return accept(ports, replica, order, options);
}

/** What a failover would mean right now. Asks the source, changes nothing. */
export async function previewFailover(
  ports: ControllerPorts,
  reference: Reference,
  order: FailoverOrder,
  options: CallOptions,
): Promise<FailoverPreview> {
  const { value: replica } = await findReplica(ports.catalog, reference);
  return previewTakeover(ports, replica, { ...order, operation: 'failover' }, options);
}

type PreviewOrder = FailoverOrder & { readonly operation: 'failover' | 'hop' };

export async function previewTakeover(
  ports: ControllerPorts,
  replica: Replica,
  order: PreviewOrder,
  options: CallOptions,
): Promise<FailoverPreview> {
  const points = await ports.catalog.points(replica.id);
  const point = await pointOfBasis(ports, replica, points, order, options);
  const source = await ports.hosts.ports(replica.sourceHostId);
  const asked = { hypervisor: source.hypervisor, clock: ports.clock };
  const [seen, siblings] = await Promise.all([
    lookAtSource(asked, replica, options),
    lookAtSiblings(ports, replica, options),
  ]);
  const archiveId = order.archive == null ? null : findArchive(replica, order.archive).branchId;
  const basis = { pointId: point.id, archiveIds: readsThrough(replica, archiveId) };
  const target = await lookAtTarget(ports, replica, basis, options);
  const drift = tellDrift(order, target.drift);
  const fence = neededFence(seen, order.fence);
  const connection = decideConnection(seen, fence, order.acceptDuplicate, siblings);
  const ageMs = Math.max(0, ports.clock.now() - point.takenAt);
  return {
    replicaId: replica.id,
    replicaName: replica.name,
    point: { id: point.id, takenAt: point.takenAt, consistency: point.consistency },
    pointAgeSeconds: Math.round(ageMs / 1000),
    isNewestPoint: point.id === points.at(-1)?.id,
    archiveId,
    sourcePower: seen.power === 'absent' ? 'unknown' : seen.power,
    ...lossOf(seen, ageMs),
    ...(await expectedOfFailover(ports, replica)),
    fenceConsequence: FENCE_CONSEQUENCE[fence],
    willConnectNics: connection.connect,
    connectionBecause: connection.because,
    refusedBecause: refusal(replica, seen, order) ?? drift.refusal,
    warnings: [
      ...(await warnings(ports, replica, point, connection)),
      ...target.warnings,
      ...drift.warnings,
    ],
  };
}

function lossOf(
  seen: SourceAtFailover,
  ageMs: number,
): Pick<FailoverPreview, 'lostSeconds' | 'lossBecause'> {
  const seconds = Math.round(ageMs / 1000);
  if (seen.power === 'unknown' || seen.power === 'absent') {
    return {
      lostSeconds: seconds,
      lossBecause:
        'at most what the source wrote since the restore point; it cannot be asked how long it ran',
    };
  }
  if (seen.power === 'off') {
    return {
      lostSeconds: seconds,
      lossBecause: 'at most what the source wrote after the restore point until it was shut down',
    };
  }
  return {
    lostSeconds: seconds,
    lossBecause: 'the source is running: what it writes after the restore point stays there',
  };
}

function refusal(
  replica: Replica,
  seen: SourceAtFailover,
  { operation, fence }: PreviewOrder,
): string | null {
  const phases: readonly string[] = ALLOWED_IN[operation];
  if (!phases.includes(replica.phase)) return `the replica is in phase ${replica.phase}`;
  const refused = fenceRefusal(seen, fence);
  return refused === null ? null : `the source cannot be fenced: ${refused}`;
}

async function warnings(
  ports: ControllerPorts,
  replica: Replica,
  point: Pick<RestorePoint, 'consistency'>,
  connection: ConnectionDecision,
): Promise<readonly string[]> {
  const conditions = await ports.catalog.conditions(replica.id);
  const told = conditions.map((condition) => `${condition.name}: ${condition.message}`);
  if (connection.isUnfenced) told.push(`The source is not fenced: ${connection.because}.`);
  if (point.consistency === 'crash') {
    told.push('The restore point is crash-consistent: the guest will start as after a power cut.');
  }
  return told;
}

function tellDrift(
  { operation, acceptDrift = false }: PreviewOrder,
  drift: string | null,
): { readonly refusal: string | null; readonly warnings: readonly string[] } {
  if (drift === null) return { refusal: null, warnings: [] };
  const told = `the restore point was changed by someone else: ${drift}`;
  if (acceptDrift) return { refusal: null, warnings: [`Taken all the same, ${told}.`] };
  const way = operation === 'failover' ? ' (see --accept-drift)' : '';
  return { refusal: `${told}${way}`, warnings: [] };
}

const FENCE_CONSEQUENCE: Record<SourceFence, string> = {
  none: 'The source VM is left as it is.',
  nics: 'The NICs of the source VM are disconnected; it runs on without network.',
  shutdown:
    'The source VM is asked to shut down; if it does not within two minutes, nothing is switched.',
  'power-off': 'The source VM is powered off at once, as if its plug were pulled.',
};
