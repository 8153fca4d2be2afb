/** What may be asked of operations, decided and written in one transaction each. */
import { errorRecord, UnderstudyError } from '../../domain/error.ts';
import type { OperationId } from '../../domain/ids.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { OperationRequest } from '../../ports/durable.ts';
import { end } from './execution.ts';
import type { Emit, EngineParts } from './parts.ts';
import type { JournaledOperation } from './rows.ts';

type Parts = Pick<EngineParts, 'journal' | 'clock'>;

export function acceptOperation(
  parts: Parts,
  emit: Emit,
  request: OperationRequest,
): { readonly operation: JournaledOperation; readonly isNew: boolean } {
  const { journal } = parts;
  const { id, claims } = request;
  const known = journal.operation(id);
  if (known !== null) return { operation: known, isNew: false };
  for (const name of claims.exclusive) {
    const holder = journal.claimHolder(name);
    if (holder === null) continue;
    const { id: operation, kind } = holder;
    throw new UnderstudyError('operation-in-progress', { what: name, operation, kind });
  }
  journal.insertOperation(request, parts.clock.now());
  emit(id, { type: 'queued' });
  return { operation: required(parts, id), isNew: true };
}

export function storeMessage(parts: Parts, id: OperationId, topic: string, message: Json): void {
  const { record } = required(parts, id);
  // Nobody will ever receive it, and an ended operation's messages are gone.
  if (record.endedAt === null) parts.journal.insertMessage(id, topic, message);
}

/** `stop`: its course must hear of it. `ended`: it needs no course any more. */
export function requestCancel(
  parts: Parts,
  emit: Emit,
  { id, because }: { readonly id: OperationId; readonly because: string },
): { readonly operation: JournaledOperation; readonly effect: 'none' | 'stop' | 'ended' } {
  const { journal } = parts;
  const { record, direction } = required(parts, id);
  const answer = (effect: 'none' | 'stop' | 'ended') => ({
    operation: required(parts, id),
    effect,
  });
  if (record.state === 'succeeded') throw notCancellable(id, record.state);
  if (record.endedAt !== null) return answer('none');
  if (record.startedAt === null) {
    const error = errorRecord(new UnderstudyError('cancelled'));
    end(parts, id, emit, { state: 'cancelled', isCancelRequested: true, error });
    return answer('ended');
  }
  if (record.state === 'suspended' || record.state === 'queued') {
    end(parts, id, emit, { state: 'failed', isCancelRequested: true, error: record.error });
    return answer('ended');
  }
  if (direction === 'backward' || record.isCancelRequested) return answer('none');
  if (journal.isBeyondReturn(id)) throw notCancellable(id, 'past the point of no return');
  journal.patchOperation(id, { isCancelRequested: true });
  emit(id, { type: 'cancel-requested', message: because });
  return answer('stop');
}

/** Back to the queue, since its slots were free for others meanwhile; the failed step and what follows is forgotten. */
export function requestRetry(parts: Parts, id: OperationId): JournaledOperation {
  const { journal } = parts;
  const { record, failedPosition } = required(parts, id);
  if (record.state !== 'suspended') {
    throw new UnderstudyError('operation-not-retryable', { operation: id, state: record.state });
  }
  if (failedPosition !== null) journal.forgetStepsFrom(id, failedPosition);
  journal.patchOperation(id, { state: 'queued', failedPosition: null });
  return required(parts, id);
}

function required(parts: Parts, id: OperationId): JournaledOperation {
  const operation = parts.journal.operation(id);
  if (operation === null) throw new UnderstudyError('operation-missing', { operation: id });
  return operation;
}

function notCancellable(operation: OperationId, state: string): UnderstudyError {
  return new UnderstudyError('operation-not-cancellable', { operation, state });
}
