/** Keeps the conditions that follow from time and operations equal to the facts; each is written only when it changes. */
import type { WatchedVm } from '../domain/failover/watched-source.ts';
import type { ReplicaId } from '../domain/ids.ts';
import { formatInstant, type Instant } from '../domain/instant.ts';
import type { Job } from '../domain/job/job.ts';
import type { OperationRecord } from '../domain/operation/operation.ts';
import type { Condition, ConditionName, Replica } from '../domain/replica/replica.ts';
import type { Schedule } from '../domain/replication/schedule.ts';
import { formatWindows } from '../domain/replication/window.ts';
import { shellArgument } from '../domain/shell-argument.ts';
import type { ControllerPorts } from './control/controller-ports.ts';

export async function tellBreach(
  ports: ControllerPorts,
  job: Job,
  replica: Replica,
  { deadline, predictedMs, opensAt }: Schedule & { readonly opensAt: Instant | null },
  now: Instant,
): Promise<void> {
  const when = now > deadline ? 'is older than' : 'is about to be older than';
  const runSeconds = Math.ceil(predictedMs / 1000);
  const [why, advice] =
    opensAt === null
      ? [`a run takes about ${runSeconds} s`, '`understudy operation list`']
      : [
          `no run begins by the clock outside ${formatWindows(job.windows)}, the next at ${formatInstant(opensAt)}`,
          `\`understudy job show ${job.id}\`; \`understudy job run ${job.id}\` begins one now`,
        ];
  const message = `The newest restore point ${when} ${job.rpoSeconds} s (due by ${formatInstant(deadline)}; ${why}). See ${advice}.`;
  await raise(ports, replica.id, { name: 'rpo-breached', message, since: now });
}

/** Nothing is promised any more: its job is paused or gone, the VM excluded, or the replica stands in. */
export function withdrawBreach(ports: ControllerPorts, { id }: Replica): Promise<void> {
  return clear(ports, id, 'rpo-breached');
}

/** `suspended` undefined: none of the replica's operations is. */
export async function tellSuspended(
  ports: ControllerPorts,
  { id }: Replica,
  suspended: OperationRecord | undefined,
): Promise<void> {
  if (suspended === undefined) return clear(ports, id, 'operation-suspended');
  const message =
    `${suspended.title} (${suspended.id}) needs a decision: ${suspended.error?.message ?? ''} ` +
    `\`understudy operation retry ${suspended.id}\` tries again, \`understudy operation cancel ${suspended.id}\` gives it up.`;
  await raise(ports, id, { name: 'operation-suspended', message, since: ports.clock.now() });
}

/** Answers the message when it is news, else null. */
export async function tellReturned(
  ports: ControllerPorts,
  replica: Replica,
  { name: vm }: WatchedVm,
  now: Instant,
): Promise<string | null> {
  const { name, sourceVmName, phase, id, failback } = replica;
  const removeIt = removeFromOldHost(vm);
  const named = shellArgument(name);
  const message =
    phase === 'Failback'
      ? servesAgain(vm, failback?.home.name ?? sourceVmName)
      : `The source VM ${vm} runs and is connected again while its replica serves. ` +
        (phase === 'Permanent'
          ? `${name} is production now: ${removeIt}`
          : `Cut it off with \`understudy fence ${named} --with nics\` (or shutdown, power-off), or go back to it with ` +
            `\`understudy undo-failover ${named}\`.`);
  const isNews = await raise(ports, id, { name: 'source-returned', message, since: now });
  return isNews ? message : null;
}

export function withdrawReturned(ports: ControllerPorts, { id }: Replica): Promise<void> {
  return clear(ports, id, 'source-returned');
}

/** Of the VM whose place the source took for good. Answers the message when it is news, else null. */
export async function tellFormer(
  ports: ControllerPorts,
  { id, sourceVmName }: Replica,
  { name: vm }: WatchedVm,
  now: Instant,
): Promise<string | null> {
  const message = servesAgain(vm, sourceVmName);
  const isNews = await raise(ports, id, { name: 'former-source-unfenced', message, since: now });
  return isNews ? message : null;
}

export async function isToldOfFormer(
  { catalog }: ControllerPorts,
  { id }: Replica,
): Promise<boolean> {
  return (await catalog.conditions(id)).some(({ name }) => name === 'former-source-unfenced');
}

export function withdrawFormer(ports: ControllerPorts, { id }: Replica): Promise<void> {
  return clear(ports, id, 'former-source-unfenced');
}

function servesAgain(vm: string, successor: string): string {
  return `The VM ${vm} runs and is connected again, whose place ${successor} has taken: ${removeFromOldHost(vm)}`;
}

function removeFromOldHost(vm: string): string {
  return `shut ${vm} down at its old host and remove it there.`;
}

/** It serves again, or is gone for good. */
export function withdrawLeft(ports: ControllerPorts, { id }: Replica): Promise<void> {
  return clear(ports, id, 'source-left-fenced');
}

/** A test that ran and failed tells so itself; this one could not even be carried out. */
export async function tellTestTrouble(
  ports: ControllerPorts,
  { id }: Replica,
  failed: OperationRecord,
): Promise<void> {
  const message =
    `The scheduled test ${failed.id} could not be carried out: ${failed.error?.message ?? ''} ` +
    'It is tried again within the hour.';
  await raise(ports, id, { name: 'test-failed', message, since: ports.clock.now() });
}

/** Nobody wants tests to happen by themselves any more. */
export function withdrawTestTrouble(ports: ControllerPorts, { id }: Replica): Promise<void> {
  return clear(ports, id, 'test-failed');
}

/** `since` stays when it began, also when there is something new to say. False: it was told before. */
async function raise(
  ports: ControllerPorts,
  id: ReplicaId,
  condition: Condition,
): Promise<boolean> {
  const conditions = await ports.catalog.conditions(id);
  const known = conditions.find(({ name }) => name === condition.name);
  if (known?.message === condition.message) return false;
  const told = { ...condition, since: known?.since ?? condition.since };
  await ports.catalog.apply([{ type: 'condition-raised', replicaId: id, condition: told }]);
  return true;
}

async function clear(ports: ControllerPorts, id: ReplicaId, name: ConditionName): Promise<void> {
  const conditions = await ports.catalog.conditions(id);
  if (!conditions.some((condition) => condition.name === name)) return;
  await ports.catalog.apply([{ type: 'condition-cleared', replicaId: id, name }]);
}
