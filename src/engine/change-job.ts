/**
 * Changes the settings of a job, in one write, and leaves in the history what was changed from what to what. Runs that are
 * under way go on with the settings that they began with.
 */
import { UnderstudyError } from '../domain/error.ts';
import { jobId } from '../domain/ids.ts';
import type { Job } from '../domain/job/job.ts';
import { changedJob, type JobChange } from '../domain/job/job-change.ts';
import { type SettingChange, settingChanges } from '../domain/job/setting-changes.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CatalogChange, Versioned } from '../ports/catalog.ts';
import type { OperationContext, OperationDefinition } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { textIn } from './input.ts';

export function changeJobDefinition(ports: EnginePorts): OperationDefinition {
  return {
    kind: 'change-job',
    run: async (context, input) => {
      const { job, replicas } = await load(ports, context, input);
      const after = requireChanged(job.value, changeIn(input));
      const changes = settingChanges(job.value, after, servingNames(replicas));
      const saved = { type: 'job-saved', job: after, expectedVersion: job.version } as const;
      const outdated = await outdatedDefinitions(context, { before: job.value, after, replicas });
      await context.record('record-job', [saved, ...outdated], { undo: 'irreversible' });
      await context.note('note-changes', changes.map(changeWords).join('; '));
      return { changes };
    },
  };
}

export function requireChanged(job: Job, change: JobChange): Job {
  const after = changedJob(job, change);
  if (after !== null) return after;
  const reason = `Job ${job.name} has no scheduled tests: say how often they are to happen, too`;
  throw new UnderstudyError('invalid-request', { reason });
}

/** Replicas of the job that stand in, or did until a moment ago. */
export function servingNames(replicas: readonly Replica[]): readonly string[] {
  const serving = replicas.filter(({ failover }) => failover !== null);
  return serving.map(({ name }) => name);
}

export function changeWords({ setting, from, to }: SettingChange): string {
  return `${setting}: ${from} → ${to}`;
}

type Loaded = { readonly job: Versioned<Job>; readonly replicas: readonly Replica[] };

function load(ports: EnginePorts, context: OperationContext, input: Json): Promise<Loaded> {
  const id = jobId(textIn(input, 'jobId'));
  return context.step<Loaded>('load', {
    do: async () => {
      const job = await ports.catalog.job(id);
      if (job === null) throw new UnderstudyError('job-missing', { job: id });
      const replicas = (await ports.catalog.replicas()).map(({ value }) => value);
      return { job, replicas: replicas.filter((replica) => replica.jobId === id) };
    },
    undo: 'nothing',
  });
}

/** It was written by ourselves, from values of the domain, which are plain. */
function changeIn(input: Json): JobChange {
  return (input as unknown as { readonly change: JobChange }).change;
}

/** What waits in the replica VM at rest is only where it is plugged in; the next run defines it anew for that. */
async function outdatedDefinitions(
  context: OperationContext,
  { before, after, replicas }: { before: Job; after: Job; replicas: readonly Replica[] },
): Promise<readonly CatalogChange[]> {
  const networks = (job: Job) => JSON.stringify(Object.entries(job.networkMap).sort());
  if (networks(before) === networks(after)) return [];
  const since = await context.now('changed-at');
  const message =
    `The networks of job ${after.name} were changed: the next run plugs the replica VM at rest into them. ` +
    'A failover does so in any case.';
  const condition = { name: 'definition-outdated', message, since } as const;
  const resting = replicas.filter(
    ({ phase, targetVmId }) => phase === 'Ready' && targetVmId !== null,
  );
  return resting.map(
    ({ id: replicaId }) => ({ type: 'condition-raised', replicaId, condition }) as const,
  );
}
