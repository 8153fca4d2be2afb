import { UnderstudyError } from '../../domain/error.ts';
import {
  hasEnded,
  type OperationKind,
  type OperationRecord,
} from '../../domain/operation/operation.ts';
import type { OperationQuery, Reference } from '../../ports/controller.ts';
import type { OperationAnswer } from '../../ports/orders.ts';
import { ANSWER } from '../answer.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { findHost, findJob, findOperation, findReplica } from './references.ts';

export async function listOperations(
  ports: ControllerPorts,
  query: OperationQuery,
): Promise<readonly OperationRecord[]> {
  const { kind, open, limit } = query;
  const subjects = query.subject === null ? null : await subjectsOf(ports, query.subject);
  const filter = { ...(kind === null ? {} : { kind }), open, limit };
  if (subjects === null) return ports.durable.operations(filter);
  const found = await Promise.all(
    subjects.map((subject) => ports.durable.operations({ ...filter, subject })),
  );
  return found
    .flat()
    .sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1))
    .slice(0, limit);
}

/** Most operations are about replicas; a job or host stands for the replicas it has, a job for its changes, too. */
async function subjectsOf(
  ports: ControllerPorts,
  reference: Reference,
): Promise<readonly string[]> {
  const replicas = (await ports.catalog.replicas()).map(({ value }) => value);
  const job = await orNull(findJob(ports.catalog, reference));
  if (job !== null) {
    const { id: of } = job.value;
    return [of, ...replicas.filter(({ jobId }) => jobId === of).map(({ id }) => id)];
  }
  const host = await orNull(findHost(ports.catalog, reference));
  if (host !== null) {
    const { id } = host.value;
    const onHost = replicas.filter(
      ({ sourceHostId, targetHostId }) => sourceHostId === id || targetHostId === id,
    );
    return onHost.map((replica) => replica.id);
  }
  return [(await findReplica(ports.catalog, reference)).value.id];
}

async function orNull<T>(found: Promise<T>): Promise<T | null> {
  try {
    return await found;
  } catch {
    return null; // Not found as this noun; the last noun tried tells the person what is missing.
  }
}

export function showOperation(
  ports: ControllerPorts,
  reference: Reference,
): Promise<OperationRecord> {
  return findOperation(ports.durable, reference);
}

export async function retryOperation(
  ports: ControllerPorts,
  reference: Reference,
): Promise<OperationRecord> {
  return ports.durable.retry((await findOperation(ports.durable, reference)).id);
}

/** Those that shut a guest down and can ask what to do when it does not. */
const MAY_ASK: readonly OperationKind[] = ['planned-failover', 'failback', 'switch-over'];

export async function answerOperation(
  ports: ControllerPorts,
  reference: Reference,
  answer: OperationAnswer,
): Promise<OperationRecord> {
  const operation = await findOperation(ports.durable, reference);
  const { id, kind, state } = operation;
  if (hasEnded(state) || !MAY_ASK.includes(kind)) {
    throw new UnderstudyError('operation-not-asking', { operation: id, kind, state });
  }
  await ports.durable.send(operation.id, ANSWER, answer);
  return operation;
}

export async function cancelOperation(
  ports: ControllerPorts,
  reference: Reference,
): Promise<OperationRecord> {
  return ports.durable.cancel((await findOperation(ports.durable, reference)).id);
}
