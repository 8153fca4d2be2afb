/**
 * Holds a source back at its own host while its replica serves, where a person installed a start guard there, and lets it
 * go again. A failover never fails for it: what was not done now, keep-guards.ts does as soon as the host answers.
 */
import { asUnderstudyError } from '../domain/error.ts';
import { heldSource } from '../domain/failover/start-guard.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { StartGuard } from '../ports/start-guard.ts';
import { withDeadline } from './deadline.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { ReplicaFacts } from './replica-facts.ts';
import { whyLater } from './why-later.ts';

/** An outage must not wait for it. */
export const GUARD_ANSWER_MS = 5_000;

type Guarded = Pick<ReplicaFacts, 'replica' | 'hasStartGuard'>;

/** `replica`: as it is recorded now. Undone, the source may start again, as it must when the operation goes back to it. */
export async function holdSource(
  ports: EnginePorts,
  context: OperationContext,
  { replica, hasStartGuard }: Guarded,
): Promise<void> {
  const held = heldSource(replica);
  if (hasStartGuard !== true || held === null) return;
  const failure = await context.step<string | null>('hold-source', {
    do: async (attempt) => {
      try {
        await askGuard(ports, replica, attempt, (guard, options) => guard.hold(held, options));
        return null;
      } catch (error) {
        const { kind, message } = asUnderstudyError(error);
        if (attempt.signal.aborted || kind === 'bug') throw error;
        return kind === 'cancelled' ? 'Its host does not answer.' : message;
      }
    },
    undo: (attempt) =>
      askGuard(ports, replica, attempt, (guard, options) => guard.release(held, options)),
  });
  if (failure === null) return;
  const message = `${replica.sourceVmName} is not kept from starting yet. ${failure}`;
  await context.note('note-hold', message);
}

/**
 * Before the source is started. `throw`: it is about to be, so it must be free. `later`: the operation goes on; the source
 * is let go when its host answers. Going back, an operation needs to do nothing: keep-guards.ts holds the source again.
 */
export async function releaseSource(
  ports: EnginePorts,
  context: OperationContext,
  { replica, hasStartGuard }: Guarded,
  onFailure: 'throw' | 'later',
): Promise<void> {
  if (hasStartGuard !== true) return;
  const { sourceVmId: vmId, id: replicaId, epoch } = replica;
  const failure = await context.step<string | null>('release-source', {
    do: async (attempt) => {
      try {
        await askGuard(ports, replica, attempt, (guard, options) =>
          guard.release({ vmId, replicaId, epoch }, options),
        );
        return null;
      } catch (error) {
        if (onFailure === 'throw') throw error;
        return whyLater(error, attempt);
      }
    },
    undo: 'nothing',
  });
  if (failure === null) return;
  const message = `${replica.sourceVmName} is still kept from starting, until its host answers. ${failure}`;
  await context.note('note-release', message);
}

async function askGuard(
  { hosts, clock }: EnginePorts,
  { sourceHostId }: Replica,
  options: CallOptions,
  ask: (guard: StartGuard, options: CallOptions) => Promise<void>,
): Promise<void> {
  const { startGuard } = await hosts.ports(sourceHostId);
  await withDeadline(clock, GUARD_ANSWER_MS, options, (signal) => ask(startGuard, { signal }));
}
