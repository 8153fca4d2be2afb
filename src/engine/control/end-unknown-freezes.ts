/**
 * What a lost controller had frozen: its QEMU keeps old blocks in scratch, which nobody watches any more. The marks stay: a
 * freeze that is ended takes nothing from the next delta, and a controller that lives after all begins its run anew.
 */
import { asUnderstudyError } from '../../domain/error.ts';
import { type ReplicaId, vmId } from '../../domain/ids.ts';
import type { Instant } from '../../domain/instant.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { CatalogChange, Temporary } from '../../ports/catalog.ts';
import { actingFor } from '../acting-for.ts';
import { withDeadline } from '../deadline.ts';
import { unknownFreezes } from '../temporaries.ts';
import type { ControllerPorts } from './controller-ports.ts';

/** Of one host that does not answer. */
const PATIENCE_MS = 10_000;

/** What could not be ended now is registered, and the sweeper comes back for it. */
export async function endUnknownFreezes(
  ports: ControllerPorts,
  replicas: readonly Replica[],
  now: Instant,
  options: CallOptions,
): Promise<readonly CatalogChange[]> {
  const left: CatalogChange[] = [];
  for (const replica of replicas) {
    for (const temporary of unknownFreezes(replica, now)) {
      if (await isEnded(ports, replica.id, temporary, options)) continue;
      left.push({ type: 'temporary-registered', temporary });
    }
  }
  return left;
}

async function isEnded(
  ports: ControllerPorts,
  replica: ReplicaId,
  { hostId, identity }: Temporary,
  options: CallOptions,
): Promise<boolean> {
  try {
    const { pointSource } = await actingFor(ports, replica, hostId);
    await withDeadline(ports.clock, PATIENCE_MS, options, (signal) =>
      pointSource.endAll(vmId(identity.vmId ?? ''), { signal }),
    );
    return true;
  } catch (error) {
    if (options.signal.aborted || asUnderstudyError(error).kind === 'bug') throw error;
    return false;
  }
}
