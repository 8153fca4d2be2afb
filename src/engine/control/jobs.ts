/** Jobs: which VMs are replicated where, how often, and what is kept. Creating one makes its replicas, still empty. */
import { UnderstudyError } from '../../domain/error.ts';
import { ADDRESS_PROBES_MAX, formatAddressProbe } from '../../domain/failover/address-probe.ts';
import type { Host } from '../../domain/host/host.ts';
import { type JobId, jobId, replicaId } from '../../domain/ids.ts';
import type { Instant } from '../../domain/instant.ts';
import { type Job, type ProtectedVm, protectedVm } from '../../domain/job/job.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { VmSummary } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { CatalogChange } from '../../ports/catalog.ts';
import type { CommandOptions, Reference } from '../../ports/controller.ts';
import type { CreateJob, JobCreation, JobView } from '../../ports/job-orders.ts';
import { nextRunAt } from '../scheduler.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { idleReplica } from './idle-replica.ts';
import { type ReplicaSaved, seeded, seedOrders } from './job-seeds.ts';
import { preflightJob } from './preflight-job.ts';
import { byName, findHost, findJob, findVm } from './references.ts';
import { replicasOf } from './run-job.ts';

export async function createJob(
  ports: ControllerPorts,
  request: CreateJob,
  options: CommandOptions,
): Promise<JobCreation> {
  const id = jobId(options.seed === null ? ports.ids.fresh('job') : `job-${options.seed}`);
  const known = await created(ports, id);
  if (known !== null) return known;
  try {
    return await make(ports, id, request, options);
  } catch (error) {
    // The same request, sent again while the first was at it, stumbles over what that one has made.
    const twin = await created(ports, id);
    if (twin !== null) return twin;
    throw error;
  }
}

async function created(ports: ControllerPorts, id: JobId): Promise<JobCreation | null> {
  const known = await ports.catalog.job(id);
  if (known === null) return null;
  return { type: 'created', job: await jobView(ports, known.value), findings: [] };
}

async function make(
  ports: ControllerPorts,
  id: JobId,
  request: CreateJob,
  options: CommandOptions,
): Promise<JobCreation> {
  const { value: source } = await findHost(ports.catalog, request.sourceHost);
  const { value: target } = await findHost(ports.catalog, request.targetHost);
  await requireFreeName(ports, request.name);
  const vms = await findVms(ports, source, request.vms, options);
  const findings = await preflightJob(ports, { source, target, vms, request }, options);
  if (findings.some((vm) => vm.findings.some((finding) => finding.severity === 'blocks'))) {
    return { type: 'blocked', findings };
  }
  const {
    sourceHost: _source,
    targetHost: _target,
    vms: _vms,
    answers,
    seeds,
    windows = [],
    ...policy
  } = request;
  const answersAt = answersOf(vms, answers ?? [], source);
  const job: Job = {
    ...policy,
    windows,
    id,
    sourceHostId: source.id,
    targetHostId: target.id,
    vms: vms.map(({ id: vmId, name }) => ({
      vmId,
      name,
      excludedBecause: null,
      ...answersAt(vmId),
    })),
    isPaused: false,
    createdAt: ports.clock.now(),
  };
  const orders = seedOrders(vms, seeds ?? [], source);
  const wanted = await newReplicas(ports, job, options);
  const replicas = await seeded(ports, wanted, orders, options);
  await requireFreeName(ports, request.name); // again: asking the hosts took its time
  await ports.catalog.apply([{ type: 'job-saved', job, expectedVersion: null }, ...replicas]);
  return { type: 'created', job: await jobView(ports, job), findings };
}

async function requireFreeName(ports: ControllerPorts, name: string): Promise<void> {
  const jobs = await ports.catalog.jobs();
  if (jobs.some(({ value }) => value.name === name)) {
    throw new UnderstudyError('name-taken', { what: 'job', name });
  }
}

async function findVms(
  ports: ControllerPorts,
  host: Host,
  references: readonly Reference[],
  options: CallOptions,
): Promise<readonly VmSummary[]> {
  const { hypervisor } = await ports.hosts.ports(host.id);
  const all = await hypervisor.vms(options);
  const found = references.map((reference) => findVm(all, reference, host.name));
  return [...new Map(found.map((vm) => [vm.id, vm])).values()];
}

/** Throws `invalid-request` for an address that is of none of the VMs, and `vm-missing` for a VM that is not there. */
function answersOf(
  vms: readonly VmSummary[],
  answers: NonNullable<CreateJob['answers']>,
  host: Host,
): (id: VmSummary['id']) => Pick<ProtectedVm, 'answersAt'> {
  const [only, ...others] = vms;
  const placed = answers.map(({ vm, at }) => {
    if (vm !== null) return { id: findVm(vms, vm, host.name).id, at };
    if (only !== undefined && others.length === 0) return { id: only.id, at };
    const reason = `The job has ${vms.length} VMs: say which of them answers at ${formatAddressProbe(at)}`;
    throw new UnderstudyError('invalid-request', { reason });
  });
  return (id) => {
    const answersAt = placed.filter((one) => one.id === id).map(({ at }) => at);
    if (answersAt.length > ADDRESS_PROBES_MAX) {
      const reason = `A VM has at most ${ADDRESS_PROBES_MAX} addresses to answer at`;
      throw new UnderstudyError('invalid-request', { reason });
    }
    return answersAt.length === 0 ? {} : { answersAt };
  };
}

/** A VM that already has a replica on that target keeps it: the new job takes it over if no other job owns it. */
async function newReplicas(
  ports: ControllerPorts,
  job: Job,
  { seed, signal }: CommandOptions,
): Promise<readonly ReplicaSaved[]> {
  const existing = await ports.catalog.replicas();
  const changes: ReplicaSaved[] = [];
  for (const [index, vm] of job.vms.entries()) {
    const kept = existing.find(
      ({ value }) =>
        value.sourceVmId === vm.vmId &&
        value.sourceHostId === job.sourceHostId &&
        value.targetHostId === job.targetHostId &&
        value.phase !== 'Removed' &&
        value.phase !== 'Permanent',
    );
    if (kept !== undefined) {
      changes.push(await adoption(ports, job, vm, kept.value, { signal }));
    } else {
      const id = replicaId(seed === null ? ports.ids.fresh('rp') : `rp-${seed}-${index}`);
      const replica = newReplica(job, vm.vmId, id);
      changes.push({ type: 'replica-saved', replica, expectedVersion: null });
    }
  }
  return changes;
}

/** Only of a replica that nobody is busy with: an operation relies on the version that it loaded. */
async function adoption(
  ports: ControllerPorts,
  job: Job,
  vm: ProtectedVm,
  replica: Replica,
  options: CallOptions,
): Promise<ReplicaSaved> {
  const { value, version } = await idleReplica(ports, replica.id, options);
  if (value.jobId !== null) {
    const owner = await ports.catalog.job(value.jobId);
    const details = { vm: vm.name, job: owner?.value.name ?? value.jobId };
    throw new UnderstudyError('already-protected', details);
  }
  const adopted = { ...value, jobId: job.id };
  return { type: 'replica-saved', replica: adopted, expectedVersion: version };
}

function newReplica(job: Job, vmId: Replica['sourceVmId'], id: Replica['id']): Replica {
  const sourceVmName = protectedVm(job, vmId)?.name ?? vmId;
  return {
    id,
    jobId: job.id,
    sourceHostId: job.sourceHostId,
    sourceVmId: vmId,
    sourceVmName,
    targetHostId: job.targetHostId,
    name: `${sourceVmName}${job.replicaSuffix}`,
    targetVmId: null,
    phase: 'Pending',
    epoch: 1,
    newestPointId: null,
    seed: null,
    failover: null,
    failback: null,
    formerSource: null,
    leftFencedNics: [],
    archives: [],
    createdAt: job.createdAt,
  };
}

async function jobView(ports: ControllerPorts, job: Job): Promise<JobView> {
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
