/** Creating a job makes its replicas, still empty, or takes over those that there are; what it would be is told beforehand. */
import { UnderstudyError } from '../../domain/error.ts';
import { ADDRESS_PROBES_MAX, formatAddressProbe } from '../../domain/failover/address-probe.ts';
import type { Host } from '../../domain/host/host.ts';
import { type JobId, jobId, replicaId } from '../../domain/ids.ts';
import { type Job, type ProtectedVm, protectedVm } from '../../domain/job/job.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { VmSummary } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Versioned } from '../../ports/catalog.ts';
import type { CommandOptions, Reference } from '../../ports/controller.ts';
import type { CreateJob, JobCreation, JobPreview, VmFindings } from '../../ports/job-orders.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { idleReplica } from './idle-replica.ts';
import { type ReplicaSaved, type SeedOrders, seeded, seedOrders } from './job-seeds.ts';
import { jobView, requireFreeName } from './jobs.ts';
import { preflightJob } from './preflight-job.ts';
import { findHost, findVm } from './references.ts';

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
  const { job, findings, isBlocked, orders } = await plan(ports, id, request, options);
  if (isBlocked) return { type: 'blocked', findings };
  const wanted = await newReplicas(ports, job, options);
  const replicas = await seeded(ports, wanted, orders, options);
  await ports.catalog.apply([{ type: 'job-saved', job, expectedVersion: null }, ...replicas]);
  return { type: 'created', job: await jobView(ports, job), findings };
}

/** Asks the hosts, and makes nothing. */
export async function previewJob(
  ports: ControllerPorts,
  request: CreateJob,
  options: CallOptions,
): Promise<JobPreview> {
  const asked = { ...options, seed: null };
  const id = jobId(ports.ids.fresh('job'));
  const { job, findings, isBlocked, orders } = await plan(ports, id, request, asked);
  const kept = await keptReplicas(ports, job);
  for (const vm of job.vms) {
    const owned = kept.get(vm.vmId);
    if (owned !== undefined) await requireUnowned(ports, vm, owned.value);
  }
  const wanted = job.vms.map(({ vmId }): ReplicaSaved => {
    const there = kept.get(vmId);
    const replica = there?.value ?? newReplica(job, vmId, replicaId(ports.ids.fresh('rp')));
    return { type: 'replica-saved', replica, expectedVersion: there?.version ?? null };
  });
  if (!isBlocked) await seeded(ports, wanted, orders, asked);
  const replicas: JobPreview['replicas'][number][] = [];
  for (const { replica, expectedVersion } of wanted) {
    const { id: of, name, sourceVmName } = replica;
    const points = expectedVersion === null ? null : await ports.catalog.points(of);
    replicas.push({ name, sourceVmName, pointCount: points?.length ?? null });
  }
  return { job: await jobView(ports, job), findings, isBlocked, replicas };
}

type Plan = {
  readonly job: Job;
  readonly findings: readonly VmFindings[];
  readonly isBlocked: boolean;
  readonly orders: SeedOrders;
};

async function plan(
  ports: ControllerPorts,
  id: JobId,
  request: CreateJob,
  options: CommandOptions,
): Promise<Plan> {
  const { value: source } = await findHost(ports.catalog, request.sourceHost);
  const { value: target } = await findHost(ports.catalog, request.targetHost);
  await requireFreeName(ports, request.name);
  const vms = await findVms(ports, source, request.vms, options);
  const findings = await preflightJob(ports, { source, target, vms, request }, options);
  const isBlocked = findings.some((vm) =>
    vm.findings.some(({ severity }) => severity === 'blocks'),
  );
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
  return { job, findings, isBlocked, orders: seedOrders(vms, seeds ?? [], source) };
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
  const there = await keptReplicas(ports, job);
  const changes: ReplicaSaved[] = [];
  for (const [index, vm] of job.vms.entries()) {
    const kept = there.get(vm.vmId);
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

/** What there is of the job's VMs on its target already, by VM. */
async function keptReplicas(
  { catalog }: ControllerPorts,
  { sourceHostId, targetHostId }: Job,
): Promise<ReadonlyMap<Replica['sourceVmId'], Versioned<Replica>>> {
  const kept = (await catalog.replicas()).filter(
    ({ value }) =>
      value.sourceHostId === sourceHostId &&
      value.targetHostId === targetHostId &&
      value.phase !== 'Removed' &&
      value.phase !== 'Permanent',
  );
  return new Map(kept.toReversed().map((replica) => [replica.value.sourceVmId, replica]));
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
  await requireUnowned(ports, vm, value);
  const adopted = { ...value, jobId: job.id };
  return { type: 'replica-saved', replica: adopted, expectedVersion: version };
}

async function requireUnowned(
  { catalog }: ControllerPorts,
  { name }: ProtectedVm,
  { jobId: owner }: Replica,
): Promise<void> {
  if (owner === null) return;
  const job = await catalog.job(owner);
  throw new UnderstudyError('already-protected', { vm: name, job: job?.value.name ?? owner });
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
