/** What is kept with the branch that a replica serves from, for a controller that lost its own records: domain/failover/branch-about.ts. */
import { aboutBranch, type SwitchAbout } from '../domain/failover/branch-about.ts';
import type { FailbackRecord } from '../domain/failover/failback.ts';
import type { FailoverRecord, Replica } from '../domain/replica/replica.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { Clock } from '../ports/clock.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { HostViews } from '../ports/host-directory.ts';
import { orLeaveToSweeper } from './temporaries.ts';

export type Telling = {
  readonly catalog: Catalog;
  readonly target: HostViews;
  readonly replica: Pick<Replica, 'id' | 'epoch'>;
  readonly failover: FailoverRecord;
};

/** What of a failback is told. */
export type ToldFailback = Omit<
  FailbackRecord,
  'syncedMark' | 'syncedAt' | 'syncedBytes' | 'passes' | 'switched'
> & { readonly switched: SwitchAbout | null };

type Attempt = Pick<StepAttempt, 'key' | 'signal'>;

export async function tellBranch(
  { catalog, target, replica, failover }: Telling,
  failback: ToldFailback | null,
  { key, signal }: Attempt,
): Promise<void> {
  const host = failback === null ? null : await catalog.host(failback.home.hostId);
  const about = aboutBranch(
    failover,
    failback === null
      ? null
      : { record: failback, homeHost: host?.value ?? null, switched: failback.switched },
  );
  const { branchId } = failover;
  const command = { key, replicaId: replica.id, epoch: replica.epoch };
  await target.store.noteBranch({ ...command, branchId, about }, { signal });
}

/** Nobody waits for a target that does not answer: what it has then is older. */
const PATIENCE_MS = 5_000;

export async function tellBranchOrNot(
  context: OperationContext,
  name: string,
  telling: Telling & { readonly clock: Clock },
): Promise<void> {
  const { clock } = telling;
  const isTold = await context.step<boolean>(name, {
    do: ({ key, signal }) =>
      orLeaveToSweeper({ clock, patienceMs: PATIENCE_MS, signal }, (options) =>
        tellBranch(telling, null, { key, ...options }),
      ),
    undo: 'nothing',
  });
  if (isTold) return;
  await context.note(
    `note-${name}`,
    'The target host does not answer: should this controller be lost, the replica folder tells how it was before.',
  );
}
