import { UnderstudyError } from '../../domain/error.ts';
import { RUNS_BESIDE } from '../../domain/operation/operation.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { ControllerPorts } from './controller-ports.ts';

/** A change of the record must not get between an operation and the version that it loaded. Throws `operation-in-progress`. */
export async function requireIdle({ durable }: ControllerPorts, replica: Replica): Promise<void> {
  const all = await durable.operations({ subject: replica.id, open: true, limit: 16 });
  const open = all.find(({ kind }) => !RUNS_BESIDE.includes(kind));
  if (open === undefined) return;
  const { id: operation, kind } = open;
  throw new UnderstudyError('operation-in-progress', { what: replica.name, operation, kind });
}
