/** A switchover that failed is a condition of its replica until one works or the failback ends: nobody may have been there to see it. */
import { asUnderstudyError } from '../domain/error.ts';
import { SWITCHOVERS_BY_ITSELF_MAX } from '../domain/failover/failback.ts';
import type { ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Condition, Replica } from '../domain/replica/replica.ts';
import { shellArgument } from '../domain/shell-argument.ts';
import type { CallOptions } from '../ports/call.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';

const name = 'switchover-failed';

export type SwitchoverTeller = {
  readonly failed: (error: unknown) => Promise<void>;
  /** Starts the replica on the way back, and says whether it serves. */
  readonly comesBack: (options: CallOptions, start: () => Promise<void>) => Promise<void>;
};

type Failure = { readonly why: string; readonly since: Instant };

/** The operation is replayed before it goes back after a crash: so this knows again why it failed. */
export function switchoverTeller(
  { catalog }: Pick<EnginePorts, 'catalog'>,
  context: OperationContext,
  replica: Replica,
): SwitchoverTeller {
  let failure: Failure | null = null;

  async function tell(says: (why: string) => string): Promise<void> {
    if (failure === null) return;
    const { why, since } = failure;
    const message = says(why);
    const standing = (await catalog.conditions(replica.id)).find((one) => one.name === name);
    if (standing?.message === message) return;
    await catalog.apply([raised(replica.id, { name, message, since })]);
  }

  return {
    async failed(error) {
      const { kind, message: why } = asUnderstudyError(error);
      if (kind === 'cancelled') return;
      failure = { why, since: await context.now('failed-at') };
      const condition = { name, message: goesBack(replica, why), since: failure.since } as const;
      await context.record('record-failure', [raised(replica.id, condition)], { undo: 'nothing' });
    },
    async comesBack({ signal }, start) {
      try {
        await start();
      } catch (error) {
        const { message } = asUnderstudyError(error);
        if (!signal.aborted) await tell((why) => staysOff(replica, why, message));
        throw error;
      }
      await tell((why) => goesBack(replica, why));
    },
  };
}

function goesBack({ name: replica, failback }: Replica, why: string): string {
  const byItself =
    failback?.switchover.type === 'manual'
      ? ''
      : `It is tried ${SWITCHOVERS_BY_ITSELF_MAX} times by itself, a minute apart. `;
  const named = shellArgument(replica);
  return (
    `The switchover failed and is taken back to ${replica}: ${why} ${byItself}` +
    `\`understudy switch-over ${named}\` tries it now, \`understudy cancel-failback ${named}\` gives the failback up.`
  );
}

/** Whoever serves, it is not the replica. */
function staysOff({ name: replica }: Replica, why: string, reason: string): string {
  return (
    `The switchover failed, and ${replica} could not be started again, so that it does not serve: ${reason} ` +
    `Why the switchover had failed: ${why}`
  );
}

function raised(replicaId: ReplicaId, condition: Condition): CatalogChange {
  return { type: 'condition-raised', replicaId, condition };
}

export function switchoverSettled(replicaId: ReplicaId): CatalogChange {
  return { type: 'condition-cleared', replicaId, name };
}
