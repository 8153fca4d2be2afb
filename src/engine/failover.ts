/** Failover: the replica takes over now, whatever became of the source. What that means step by step: take-over.ts. */
import { branchId, pointId, replicaId } from '../domain/ids.ts';
import { instant } from '../domain/instant.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { OperationDefinition } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { fenceIn, flagIn, flagOrNullIn, numberIn, optionalTextIn, textIn } from './input.ts';
import { type TakeoverOrder, takeOver } from './take-over.ts';

export function failoverDefinition(ports: EnginePorts): OperationDefinition {
  return { kind: 'failover', run: (context, input) => takeOver(ports, context, orderIn(input)) };
}

function orderIn(input: Json): TakeoverOrder {
  return {
    replicaId: replicaId(textIn(input, 'replicaId')),
    // Whoever asked for the latest gets it, also when the run that had to end first has made a newer one, or retired it.
    pointId: flagIn(input, 'wantsNewest') ? null : pointId(textIn(input, 'pointId')),
    archiveId: optionalTextIn(input, 'archiveId', branchId),
    fence: fenceIn(input),
    isFencedBy: 'none',
    acceptsDuplicate: flagIn(input, 'acceptsDuplicate'),
    acceptsDrift: flagOrNullIn(input, 'acceptsDrift') ?? false,
    reason: textIn(input, 'reason'),
    requestedAt: instant(numberIn(input, 'requestedAt')),
    guestDeadlineMs: numberIn(input, 'guestDeadlineMs'),
    isReturnable: false,
  };
}
