/** Another pass of a failback that is ready to switch, so that what is left for the switchover stays little. */
import type { FailbackRecord } from '../domain/failover/failback.ts';
import type { Versioned } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { type Failback, loadFailback } from './failback-facts.ts';
import { beginPass, endPass, type Moved, type PassOrder } from './failback-pass.ts';
import { savedReplica } from './replica-facts.ts';

export function catchUpFailbackDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'catch-up-failback',
    run: async (context, input) => {
      const failback = await loadFailback(ports, context, input, 'catch-up-failback');
      const { value } = await catchUp(context, failback);
      return { sentBytes: value.syncedBytes, passes: value.passes };
    },
  };
}

/** One pass and its record, and the version of the replica's record then. */
export async function catchUp(
  context: OperationContext,
  failback: Failback,
): Promise<Versioned<FailbackRecord>> {
  const moved = await beginPass(context, nextPass(failback));
  const record = await synced(context, failback, moved);
  const replica = { ...failback.replica, failback: record };
  await context.record('record-pass', [savedReplica(replica, failback.version)], {
    undo: 'irreversible',
  });
  await endPass(context, moved.pass);
  return { value: record, version: failback.version + 1 };
}

export function nextPass(failback: Failback): PassOrder {
  const { id, layers, passes, syncedMark, home } = failback.failback;
  return {
    facts: failback,
    home: failback.home,
    homeVmId: home.vmId,
    failbackId: id,
    layers,
    number: passes + 1,
    since: syncedMark,
  };
}

export async function synced(
  context: OperationContext,
  { failback }: Failback,
  { mark, sentBytes, layers }: Moved,
): Promise<FailbackRecord> {
  const syncedAt = await context.now('synced-at');
  return {
    ...failback,
    layers,
    syncedMark: mark,
    syncedAt,
    syncedBytes: sentBytes,
    passes: failback.passes + 1,
  };
}
