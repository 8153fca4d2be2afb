/** What changing a job would mean, told beforehand, and the change itself: an operation, so that the history has it. */
import { errorFromRecord, UnderstudyError } from '../../domain/error.ts';
import { type OperationId, operationId } from '../../domain/ids.ts';
import { type Job, protectedVm } from '../../domain/job/job.ts';
import type { JobChange } from '../../domain/job/job-change.ts';
import { type SettingChange, settingChanges } from '../../domain/job/setting-changes.ts';
import type { Json } from '../../domain/operation/operation.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { CommandOptions, Reference } from '../../ports/controller.ts';
import type { ChangeJob, JobChanged, JobChangePreview } from '../../ports/job-orders.ts';
import { requireChanged, servingNames } from '../change-job.ts';
import type { ControllerPorts } from './controller-ports.ts';
import { jobView, requireFreeName } from './jobs.ts';
import { preflightChange } from './preflight-change.ts';
import { findJob, resolve } from './references.ts';
import { replicasOf } from './run-job.ts';

/** Asks hosts only where networks change, and changes nothing. */
export async function previewJobChange(
  ports: ControllerPorts,
  reference: Reference,
  order: ChangeJob,
  options: CallOptions,
): Promise<JobChangePreview> {
  const { value: before } = await findJob(ports.catalog, reference);
  const after = requireChanged(before, changeOf(before, order));
  if (after.name !== before.name) await requireFreeName(ports, after.name);
  const replicas = await replicasOf(ports, before);
  return {
    job: await jobView(ports, after),
    changes: settingChanges(before, after, servingNames(replicas)),
    ...(await preflightChange(ports, { before, after, replicas }, options)),
  };
}

export async function changeJob(
  ports: ControllerPorts,
  reference: Reference,
  order: ChangeJob,
  options: CommandOptions,
): Promise<JobChanged> {
  const { value: job } = await findJob(ports.catalog, reference);
  const id = operationId(options.seed === null ? ports.ids.fresh('op') : `op-${options.seed}`);
  const isRepeated = (await ports.durable.operation(id)) !== null;
  const { findings, isBlocked, changes } = isRepeated
    ? { findings: [], isBlocked: false, changes: null }
    : await previewJobChange(ports, job.id, order, options);
  if (isBlocked) return { type: 'blocked', findings };
  if (changes?.length === 0) {
    return {
      type: 'changed',
      operationId: null,
      job: await jobView(ports, job),
      changes,
      findings,
    };
  }
  const made = await carryOut(ports, id, job, changeOf(job, order), options);
  const { value: now } = await findJob(ports.catalog, job.id);
  const view = await jobView(ports, now);
  return { type: 'changed', operationId: id, job: view, changes: made, findings };
}

/** Answers what was changed, also to whoever asks for the same once more. */
async function carryOut(
  { durable }: ControllerPorts,
  id: OperationId,
  job: Job,
  change: JobChange,
  options: CallOptions,
): Promise<readonly SettingChange[]> {
  await durable.start({
    id,
    kind: 'change-job',
    subject: job.id,
    title: `Change job ${job.name}`,
    // Values of the domain are plain: no JSON is lost on the way.
    input: { jobId: job.id, change: change as unknown as Json },
    claims: { exclusive: [`job:${job.id}`], slots: [] },
  });
  const { state, error, result } = await durable.settled(id, options);
  if (state !== 'succeeded' && error !== null) throw errorFromRecord(error);
  return (result as unknown as { readonly changes: readonly SettingChange[] }).changes;
}

/** Throws `vm-not-in-job`, and `invalid-request` where it is not clear whose addresses are meant, or which. */
function changeOf(job: Job, { answers, ...plain }: ChangeJob): JobChange {
  if (answers === undefined) return plain;
  const placed = answers.map(({ vm, at }) => ({ vmId: vmOf(job, vm), at }));
  const twice = placed.find(
    ({ vmId }, index) => placed.findIndex((one) => one.vmId === vmId) < index,
  );
  if (twice === undefined) return { ...plain, answers: placed };
  const { name = twice.vmId } = protectedVm(job, twice.vmId) ?? {};
  const reason = `VM ${name} is named twice: give all its addresses in one place`;
  throw new UnderstudyError('invalid-request', { reason });
}

function vmOf({ name, vms }: Job, reference: Reference | null) {
  const [only, ...others] = vms;
  if (reference === null) {
    if (only !== undefined && others.length === 0) return only.vmId;
    const reason = `The job has ${vms.length} VMs: say which of them answers there`;
    throw new UnderstudyError('invalid-request', { reason });
  }
  const named = vms.map((vm) => ({ ...vm, id: vm.vmId }));
  return resolve(
    named,
    reference,
    () => new UnderstudyError('vm-not-in-job', { vm: reference, job: name }),
  ).vmId;
}
