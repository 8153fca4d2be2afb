/** What a replica's folder says of its source and its job, for a controller that knows nothing any more: domain/replica/about.ts. */
import type { Json } from '../domain/operation/operation.ts';
import { aboutReplica } from '../domain/replica/about.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { HostViews } from '../ports/host-directory.ts';
import type { Failback } from './failback-facts.ts';
import { whyLater } from './why-later.ts';

async function aboutOf(catalog: Catalog, replica: Replica): Promise<Json> {
  const job = replica.jobId === null ? null : await catalog.job(replica.jobId);
  const sourceHost = await catalog.host(replica.sourceHostId);
  const points = await catalog.points(replica.id);
  const known = { sourceHost: sourceHost?.value ?? null, job: job?.value ?? null, points };
  return aboutReplica(replica, known);
}

/** What a run tells, and whoever leaves something that only the folder tells then. Begins or continues. */
export async function tellFolder(
  catalog: Catalog,
  { store }: Pick<HostViews, 'store'>,
  replica: Replica,
  { key, signal }: Pick<StepAttempt, 'key' | 'signal'>,
): Promise<void> {
  const { id: replicaId, epoch, name } = replica;
  const about = await aboutOf(catalog, replica);
  await store.createReplica({ key, replicaId, epoch, name, about }, { signal });
}

/** Which NICs of the source stay disconnected, before the branch, which tells it, is one no more. */
export async function tellLeftFence(
  catalog: Catalog,
  target: Pick<HostViews, 'store'>,
  replica: Replica,
  attempt: Pick<StepAttempt, 'key' | 'signal'>,
): Promise<void> {
  if (replica.leftFencedNics?.length === 0) return;
  await tellFolder(catalog, target, replica, attempt);
}

/**
 * Production may be another VM from now on: a controller that is lost before the next run must not protect the old one. Where the
 * target does not answer the branch is still there, and tells it.
 */
export async function tellOfHome(
  context: OperationContext,
  { catalog, target, replica: before }: Failback,
  ready: Replica,
): Promise<void> {
  if (ready.sourceVmId === before.sourceVmId && ready.sourceHostId === before.sourceHostId) return;
  const because = await context.step<string | null>('tell-folder', {
    do: async (attempt) => {
      const { id: replicaId, epoch, name, sourceVmId } = before;
      const { signal, key } = attempt;
      try {
        // The answering addresses are the old VM's in the job, which follows only with the record.
        const old = await aboutOf(catalog, { ...ready, sourceVmId });
        const about = { ...(old as object), sourceVmId: ready.sourceVmId } as Json;
        await target.store.createReplica({ key, replicaId, epoch, name, about }, { signal });
        return null;
      } catch (error) {
        return whyLater(error, attempt);
      }
    },
    undo: 'nothing',
  });
  if (because === null) return;
  await context.note(
    'note-folder',
    `The replica folder names the VM before until the next run. ${because}`,
  );
}
