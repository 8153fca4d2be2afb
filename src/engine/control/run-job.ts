/** Begins runs of a job: of all its VMs that can be run, or of those named. */
import { asUnderstudyError, UnderstudyError } from '../../domain/error.ts';
import type { HostId, VmId } from '../../domain/ids.ts';
import type { Job } from '../../domain/job/job.ts';
import type { OperationRecord } from '../../domain/operation/operation.ts';
import type { Replica } from '../../domain/replica/replica.ts';
import type { CommandOptions, Reference } from '../../ports/controller.ts';
import type { Claims } from '../../ports/durable.ts';
import { requireSourceFree } from '../admit-run.ts';
import { accept, knownOperation } from './accept.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { findJob, resolve } from './references.ts';

export async function runJob(
  ports: ControllerPorts,
  reference: Reference,
  vms: readonly Reference[] | null,
  options: CommandOptions,
): Promise<readonly OperationRecord[]> {
  const { value: job } = await findJob(ports.catalog, reference);
  const chosen = chooseVms(job, vms);
  const replicas = await replicasOf(ports, job);
  const started: OperationRecord[] = [];
  const refusals: unknown[] = [];
  for (const [index, { vmId }] of job.vms.entries()) {
    const replica = replicas.find((candidate) => candidate.sourceVmId === vmId);
    if (replica === undefined || !chosen.includes(vmId)) continue;
    const seed = options.seed === null ? null : `${options.seed}-${index}`;
    try {
      started.push(await startReplicate(ports, replica, { ...options, seed }));
    } catch (error) {
      // Whoever wants the whole job run wants what can be run; whoever names a VM wants to hear of it.
      if (vms !== null || asUnderstudyError(error).kind !== 'conflict') throw error;
      refusals.push(error);
    }
  }
  if (started.length === 0 && refusals.length > 0) throw refusals[0];
  return started;
}

function chooseVms(
  job: Job,
  wanted: readonly Reference[] | null,
): readonly Replica['sourceVmId'][] {
  if (wanted === null) {
    const included = job.vms.filter((vm) => vm.excludedBecause === null).map((vm) => vm.vmId);
    if (included.length > 0) return included;
    throw new UnderstudyError('vm-excluded', {
      vm: 'Every VM',
      job: job.name,
      reason: `see \`understudy job show ${job.name}\``,
    });
  }
  const named = job.vms.map((vm) => ({ ...vm, id: vm.vmId }));
  return wanted.map((reference) => {
    const vm = resolve(
      named,
      reference,
      () => new UnderstudyError('vm-not-in-job', { vm: reference, job: job.name }),
    );
    if (vm.excludedBecause === null) return vm.vmId;
    throw new UnderstudyError('vm-excluded', {
      vm: vm.name,
      job: job.name,
      reason: vm.excludedBecause,
    });
  });
}

/** Begins a run. Throws `source-held` while the failback of another replica holds the VM. */
export async function startReplicate(
  ports: ControllerPorts,
  replica: Replica,
  options: CommandOptions,
): Promise<OperationRecord> {
  const known = await knownOperation(ports, options);
  if (known !== null) return known;
  await requireSourceFree(ports.catalog, replica);
  return accept(
    ports,
    replica,
    {
      kind: 'replicate',
      allowedAs: 'replicate',
      title: `Replicate ${replica.sourceVmName}`,
      input: {},
      slots: await transferSlots(ports, replica),
    },
    options,
  );
}

/**
 * What moving blocks takes: a transfer slot of the target and of the host at the other end, be it that of the source or the one
 * that a failback goes to, and the only one of the source VM.
 */
export async function transferSlots(
  { catalog }: ControllerPorts,
  { sourceHostId, sourceVmId, targetHostId, failback }: Replica,
  otherHostId: HostId = failback?.home.hostId ?? sourceHostId,
): Promise<Claims['slots']> {
  const hosts = (await catalog.hosts()).map(({ value }) => value);
  const involved = hosts.filter(({ id }) => id === otherHostId || id === targetHostId);
  return [
    ...involved.map(({ id, transferSlots: limit }) => ({ name: `transfer:${id}`, limit })),
    sourceSlot(sourceHostId, sourceVmId),
  ];
}

/** A VM can be frozen once, and its layers are merged under nobody's eyes: its replicas on several targets take turns. */
export function sourceSlot(hostId: HostId, vmId: VmId): Claims['slots'][number] {
  return { name: `source:${hostId}/${vmId}`, limit: 1 };
}

export async function replicasOf(ports: ControllerPorts, job: Job): Promise<readonly Replica[]> {
  const replicas = await ports.catalog.replicas();
  return replicas
    .map(({ value }) => value)
    .filter((replica) => replica.jobId === job.id && replica.phase !== 'Removed');
}
