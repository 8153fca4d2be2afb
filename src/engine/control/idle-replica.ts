import { UnderstudyError } from '../../domain/error.ts';
import type { ReplicaId } from '../../domain/ids.ts';
import { RUNS_BESIDE } from '../../domain/operation/operation.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Versioned } from '../../ports/catalog.ts';
import { stop } from './accept.ts';
import type { ControllerPorts } from './controller-ports.ts';

/**
 * The replica as it is while nobody is busy with it: a change of its record must not get between an operation and the
 * version that it loaded. Housekeeping makes way, as for every other wish. Throws `operation-in-progress`.
 */
export async function idleReplica(
  ports: ControllerPorts,
  id: ReplicaId,
  options: CallOptions,
): Promise<Versioned<Replica>> {
  const all = await ports.durable.operations({ subject: id, open: true, limit: 16 });
  const open = all.filter(({ kind }) => !RUNS_BESIDE.includes(kind));
  const busy = open.find(({ kind }) => kind !== 'sweep');
  if (busy === undefined) {
    for (const sweep of open) await stop(ports, sweep, 'It makes way for a change.', options);
  }
  const found = await ports.catalog.replica(id);
  if (found === null) throw new UnderstudyError('replica-missing', { replica: id });
  if (busy === undefined) return found;
  const details = { what: found.value.name, operation: busy.id, kind: busy.kind };
  throw new UnderstudyError('operation-in-progress', details);
}
