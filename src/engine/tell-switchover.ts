/** A switchover that failed is a condition of its replica until one works or the failback ends: nobody may have been there to see it. */
import { asUnderstudyError } from '../domain/error.ts';
import { SWITCHOVERS_BY_ITSELF_MAX } from '../domain/failover/failback.ts';
import type { ReplicaId } from '../domain/ids.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { shellArgument } from '../domain/shell-argument.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext } from '../ports/durable.ts';

const name = 'switchover-failed';

export async function tellSwitchoverFailed(
  context: OperationContext,
  { id, name: replica, failback }: Replica,
  error: unknown,
): Promise<void> {
  const { kind, message: why } = asUnderstudyError(error);
  if (kind === 'cancelled') return;
  const since = await context.now('failed-at');
  const byItself =
    failback?.switchover.type === 'manual'
      ? ''
      : `It is tried ${SWITCHOVERS_BY_ITSELF_MAX} times by itself, a minute apart. `;
  const named = shellArgument(replica);
  const message =
    `The switchover failed and is taken back, so that ${replica} serves on: ${why} ${byItself}` +
    `\`understudy switch-over ${named}\` tries it now, \`understudy cancel-failback ${named}\` gives the failback up.`;
  const condition = { name, message, since } as const;
  const raised = { type: 'condition-raised', replicaId: id, condition } as const;
  await context.record('record-failure', [raised], { undo: 'nothing' });
}

export function switchoverSettled(replicaId: ReplicaId): CatalogChange {
  return { type: 'condition-cleared', replicaId, name };
}
