/**
 * Who is taking the place of a VM right now. It has looked that nothing else is there, and is not there itself yet: neither
 * hosts nor phases show it.
 */
import { UnderstudyError } from '../domain/error.ts';
import { siblingsOf } from '../domain/failover/siblings.ts';
import type { OperationKind, OperationRecord } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { Durable } from '../ports/durable.ts';

/** Each brings something onto the network in the source's place, having looked that nothing else is there. */
export const TAKING_PLACE: readonly OperationKind[] = [
  'failover',
  'planned-failover',
  'hop',
  'switch-over',
  'undo-failback',
];

/** One that holds the replica, and tests beside it that wait for their slots. */
const OPEN_MAX = 1000;

export type MovingPorts = {
  readonly catalog: Catalog;
  readonly durable: Pick<Durable, 'operations'>;
};

export type Moving = { readonly sibling: Replica; readonly operation: OperationRecord };

/** Other replicas of the same machine. One that is suspended looks again before it starts anything. */
export async function siblingsMoving(
  { catalog, durable }: MovingPorts,
  replica: Replica,
): Promise<readonly Moving[]> {
  const all = (await catalog.replicas()).map(({ value }) => value);
  const moving = siblingsOf(replica, all).map(async (sibling) => {
    const open = await durable.operations({ subject: sibling.id, open: true, limit: OPEN_MAX });
    return open
      .filter(({ kind, state }) => TAKING_PLACE.includes(kind) && state !== 'suspended')
      .map((operation) => ({ sibling, operation }));
  });
  return (await Promise.all(moving)).flat();
}

/** Throws `sibling-moving`: unlike what is busy with the replica itself, most of it can only be led back, not cancelled. */
export function requireStill([moving]: readonly Moving[]): void {
  if (moving === undefined) return;
  const { id: operation, kind } = moving.operation;
  const { name: replica } = moving.sibling;
  throw new UnderstudyError('sibling-moving', { replica, operation, kind });
}

/** What runs waits for its guest only, for minutes: whether it serves can be seen. */
export function isArriving({ sibling: { failover, failback }, operation }: Moving): boolean {
  if (operation.kind === 'switch-over')
    return (failback?.switched?.runningAfterMs ?? null) === null;
  return failover?.operationId !== operation.id || failover.runningAfterMs === null;
}
