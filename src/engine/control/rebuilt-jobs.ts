/** Jobs that replicas say they had, put together again: paused, so that nothing starts by itself. */
import type { AddressProbe } from '../../domain/failover/address-probe.ts';
import type { Host } from '../../domain/host/host.ts';
import { type JobId, jobId, type VmId } from '../../domain/ids.ts';
import type { Instant } from '../../domain/instant.ts';
import { type Job, protectedVm } from '../../domain/job/job.ts';
import type { JobPolicy } from '../../domain/replica/about.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { ControllerPorts } from './controller-ports.ts';

export type RebuiltJobs = {
  /** The job of that name between these hosts, made if it is not there, with the VM in it. */
  join(policy: JobPolicy, member: Member): Joined;
  /** What makes them so. */
  changes(): readonly CatalogChange[];
};

type Member = {
  readonly source: Host;
  readonly target: Host;
  readonly vmId: VmId;
  readonly vmName: string;
  readonly answersAt: readonly AddressProbe[];
  readonly now: Instant;
};

type Joined = { readonly id: JobId; readonly name: string; readonly note: string };

type Draft = { job: Job; readonly version: number | null; isChanged: boolean };

export async function createRebuiltJobs({ catalog, ids }: ControllerPorts): Promise<RebuiltJobs> {
  const drafts: Draft[] = (await catalog.jobs()).map(({ value, version }) => ({
    job: value,
    version,
    isChanged: false,
  }));

  function draftFor(policy: JobPolicy, { source, target, now }: Member): Draft {
    const isBetween = ({ job }: Draft) =>
      job.sourceHostId === source.id && job.targetHostId === target.id;
    const present = drafts.find((draft) => draft.job.name === policy.name && isBetween(draft));
    if (present !== undefined) return present;
    const draft: Draft = {
      job: {
        ...policy,
        id: jobId(ids.fresh('job')),
        name: freeName(policy.name),
        sourceHostId: source.id,
        targetHostId: target.id,
        vms: [],
        isPaused: true,
        createdAt: now,
      },
      version: null,
      isChanged: true,
    };
    drafts.push(draft);
    return draft;
  }

  /** Another job may have the name by now. */
  function freeName(wanted: string): string {
    let name = wanted;
    for (let count = 2; drafts.some(({ job }) => job.name === name); count += 1) {
      name = `${wanted.slice(0, 55)} ${count}`;
    }
    return name;
  }

  return {
    join: (policy, member) => {
      const draft = draftFor(policy, member);
      const { vmId, vmName, answersAt } = member;
      if (protectedVm(draft.job, vmId) === null) {
        const known = answersAt.length === 0 ? {} : { answersAt };
        const vm = { vmId, name: vmName, excludedBecause: null, ...known };
        draft.job = { ...draft.job, vms: [...draft.job.vms, vm] };
        draft.isChanged = true;
      }
      const { id, name, isPaused } = draft.job;
      const note = isPaused
        ? `Its job ${name} is paused: \`understudy job resume\` lets it run again.`
        : `It joined the job ${name}, which runs.`;
      return { id, name, note };
    },
    changes: () =>
      drafts
        .filter(({ isChanged }) => isChanged)
        .map(({ job, version }) => ({ type: 'job-saved', job, expectedVersion: version })),
  };
}
