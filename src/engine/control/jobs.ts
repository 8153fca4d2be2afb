/** Jobs: which VMs are replicated where, how often, and what is kept. */
import { UnderstudyError } from '../../domain/error.ts';
import type { Host } from '../../domain/host/host.ts';
import type { Instant } from '../../domain/instant.ts';
import type { Job } from '../../domain/job/job.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { Reference } from '../../ports/controller.ts';
import type { JobView } from '../../ports/job-orders.ts';
import { nextRunAt } from '../scheduler.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { idleReplica } from './idle-replica.ts';
import { byName, findJob } from './references.ts';
import { replicasOf } from './run-job.ts';

export async function requireFreeName(ports: ControllerPorts, name: string): Promise<void> {
  const jobs = await ports.catalog.jobs();
  if (jobs.some(({ value }) => value.name === name)) {
    throw new UnderstudyError('name-taken', { what: 'job', name });
  }
}

export async function jobView(ports: ControllerPorts, job: Job): Promise<JobView> {
  const hosts = await ports.catalog.hosts();
  const nameOf = (id: Host['id']) => hosts.find(({ value }) => value.id === id)?.value.name ?? id;
  const replicas = await replicasOf(ports, job);
  const due: Instant[] = [];
  for (const replica of replicas) {
    const at = await nextRunAt(ports, job, replica);
    if (at !== null) due.push(at);
  }
  return {
    job,
    sourceHostName: nameOf(job.sourceHostId),
    targetHostName: nameOf(job.targetHostId),
    replicas: replicas.map(({ id, sourceVmId }) => ({ id, sourceVmId })),
    nextRunAt: due.sort((a, b) => a - b)[0] ?? null,
  };
}

export async function listJobs(ports: ControllerPorts): Promise<readonly JobView[]> {
  const jobs = (await ports.catalog.jobs()).map(({ value }) => value).sort(byName);
  return Promise.all(jobs.map((job) => jobView(ports, job)));
}

export async function showJob(ports: ControllerPorts, reference: Reference): Promise<JobView> {
  return jobView(ports, (await findJob(ports.catalog, reference)).value);
}

export async function setJobPaused(
  ports: ControllerPorts,
  reference: Reference,
  isPaused: boolean,
): Promise<JobView> {
  const { value, version } = await findJob(ports.catalog, reference);
  const job = { ...value, isPaused };
  if (value.isPaused !== isPaused) {
    await ports.catalog.apply([{ type: 'job-saved', job, expectedVersion: version }]);
  }
  return jobView(ports, job);
}

export async function deleteJob(
  ports: ControllerPorts,
  reference: Reference,
  options: CallOptions,
): Promise<Job> {
  const { value: job } = await findJob(ports.catalog, reference);
  const changes: CatalogChange[] = [{ type: 'job-removed', jobId: job.id }];
  for (const { value: owned } of await ports.catalog.replicas()) {
    if (owned.jobId !== job.id) continue;
    const { value, version } = await idleReplica(ports, owned.id, options);
    const orphan = { ...value, jobId: null };
    changes.push({ type: 'replica-saved', replica: orphan, expectedVersion: version });
  }
  await ports.catalog.apply(changes);
  return job;
}
