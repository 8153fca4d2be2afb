/** Jobs follow a VM that moved: whoever protected it protects it where it is now. Pure. */
import { type HostId, type JobId, jobId, type VmId } from '../domain/ids.ts';
import { type Job, type ProtectedVm, protectedVm } from '../domain/job/job.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CatalogChange } from '../ports/catalog.ts';

type Place = { readonly hostId: HostId; readonly vmId: VmId; readonly name: string };
type SavedJob = { readonly job: Job; readonly version: number };

export type Followed = {
  /** The job that protects the VM from now on; null where none did. */
  readonly jobId: JobId | null;
  readonly changes: readonly CatalogChange[];
};

/**
 * A VM on the same host, or alone in its job, changes the job. Else the job keeps the others, and the VM gets a job of its
 * own with the same settings, because a job has one source host.
 */
export function followVm(
  jobs: readonly SavedJob[],
  { jobId: own, sourceHostId, sourceVmId }: Replica,
  to: Place,
  newJobId: string,
): Followed {
  const saved = jobs.find(({ job }) => job.id === own);
  if (saved === undefined) return { jobId: null, changes: [] };
  if (to.hostId === sourceHostId && to.vmId === sourceVmId) return { jobId: own, changes: [] };
  const { job, version } = saved;
  const { answersAt } = protectedVm(job, sourceVmId) ?? {};
  const moved: ProtectedVm = {
    vmId: to.vmId,
    name: to.name,
    excludedBecause: null,
    ...(answersAt === undefined ? {} : { answersAt }),
  };
  const others = job.vms.filter(({ vmId }) => vmId !== sourceVmId);
  if (to.hostId === job.sourceHostId || others.length === 0) {
    const vms = job.vms.map((vm) => (vm.vmId === sourceVmId ? moved : vm));
    return { jobId: own, changes: [savedJob({ ...job, sourceHostId: to.hostId, vms }, version)] };
  }
  const fresh: Job = {
    ...job,
    id: jobId(newJobId),
    name: freeName(jobs, `${job.name}-${to.name}`),
    sourceHostId: to.hostId,
    vms: [moved],
  };
  return {
    jobId: fresh.id,
    changes: [savedJob({ ...job, vms: others }, version), savedJob(fresh, null)],
  };
}

function savedJob(job: Job, expectedVersion: number | null): CatalogChange {
  return { type: 'job-saved', job, expectedVersion };
}

function freeName(jobs: readonly SavedJob[], wanted: string): string {
  const taken = new Set(jobs.map(({ job }) => job.name));
  for (let count = 2, name = wanted; ; count += 1) {
    if (!taken.has(name)) return name;
    name = `${wanted}-${count}`;
  }
}
