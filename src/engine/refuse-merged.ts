/**
 * A commit that has begun to merge has no way back. Its own operation goes on with it whatever happens; only where the
 * controller was lost with that operation, somebody can ask for the undo.
 */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { Failback } from './failback-facts.ts';

/** Throws `failback-merged`. Forced, a host that does not answer is not waited for. */
export async function refuseMerged(
  context: OperationContext,
  failback: Failback,
  force: boolean,
): Promise<void> {
  await context.step<null>('look-at-layers', {
    do: async ({ signal }) => {
      if (!(await hasMerged(failback, force, { signal }))) return null;
      const { replica, failback: record } = failback;
      const details = { replica: replica.name, vm: record.home.name };
      throw new UnderstudyError('failback-merged', details);
    },
    undo: 'nothing',
  });
}

async function hasMerged(
  { home, failback, replica }: Failback,
  force: boolean,
  options: CallOptions,
): Promise<boolean> {
  try {
    const { failbacks } = await home.productionDisks.found(replica.id, options);
    const own = failbacks.find(({ failbackId }) => failbackId === failback.id);
    return own?.state === 'committing' || own?.state === 'committed';
  } catch (error) {
    const { code } = asUnderstudyError(error);
    if (force && (code === 'host-unreachable' || code === 'timed-out')) return false;
    throw error;
  }
}
