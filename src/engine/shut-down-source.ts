/**
 * Shuts the source down for a planned failover, gracefully: what its guest still holds in memory must reach its disks. A
 * guest that does not follow in time is powered off, waited for, or left alone, as it was asked for or as a person answers.
 */
import { UnderstudyError } from '../domain/error.ts';
import type { ReplicaId } from '../domain/ids.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { Replica, SourceFence } from '../domain/replica/replica.ts';
import type { PowerState } from '../domain/vm/vm.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import { ANSWER, answerIn } from './answer.ts';
import type { EnginePorts } from './engine-ports.ts';
import { numberIn, textIn } from './input.ts';
import { requireReplica } from './replica-facts.ts';

/** What to do about a guest that does not shut down in time. */
export const MISSED_DEADLINE = ['ask', 'power-off', 'give-up'] as const;
export const SHUTDOWN_ANSWERS = ['wait', 'power-off', 'give-up'] as const;

/** A person may be asleep; whoever is not answered for so long gives up, and the source goes on. */
const ANSWER_WITHIN_MS = 3600 * 1000;

type Source = { readonly replica: Replica; readonly host: HostPorts };

/** What was done, which an undo of the failover lifts: nothing when it was off before. */
export async function shutDownSource(
  ports: EnginePorts,
  context: OperationContext,
  id: ReplicaId,
  input: Json,
): Promise<SourceFence> {
  const { value: replica } = await requireReplica(ports.catalog, id);
  const source = { replica, host: await ports.hosts.ports(replica.sourceHostId) };
  const power = await lookAtPower(context, source);
  if (power === 'off') return 'none';
  const deadlineMs = numberIn(input, 'shutdownDeadlineMs');
  let onMissed = textIn(input, 'onMissedDeadline');
  for (let attempt = 1; ; attempt += 1) {
    if (await askToShutDown(context, source, attempt, deadlineMs)) return 'shutdown';
    if (onMissed === 'ask') onMissed = await askPerson(context, source, attempt, deadlineMs);
    if (onMissed === 'power-off') {
      await powerOff(context, source);
      return 'power-off';
    }
    if (onMissed === 'give-up') throw missed(source, deadlineMs);
    onMissed = 'ask';
  }
}

async function lookAtPower(
  context: OperationContext,
  { replica, host }: Source,
): Promise<'running' | 'off'> {
  const power = await context.step<PowerState>('look-at-source', {
    do: async ({ signal }) => {
      const vm = await host.hypervisor.vm(replica.sourceVmId, { signal });
      if (vm.power === 'off' && vm.hasSavedState) throw unfit(replica, 'it is saved to disk');
      return vm.power;
    },
    undo: 'nothing',
  });
  if (power === 'running' || power === 'off') return power;
  throw unfit(replica, `it is ${power}`);
}

function unfit({ sourceVmName }: Replica, state: string): UnderstudyError {
  const reason = `${state}, so it cannot be shut down without losing what its guest holds in memory`;
  return new UnderstudyError('fence-failed', { vm: sourceVmName, reason });
}

/** False: still running at the deadline. It may follow later all the same; on the way back it is started again then. */
function askToShutDown(
  context: OperationContext,
  source: Source,
  attempt: number,
  deadlineMs: number,
): Promise<boolean> {
  const { replica, host } = source;
  return context.step<boolean>(`shut-down-source-${attempt}`, {
    do: ({ key, signal }) =>
      host.hypervisor.shutdown({ key, vmId: replica.sourceVmId, deadlineMs }, { signal }),
    undo: (undoing) => startAgain(source, undoing),
  });
}

function powerOff(context: OperationContext, source: Source): Promise<null> {
  const { replica, host } = source;
  return context.step<null>('power-off-source', {
    do: async ({ key, signal }) => {
      await host.hypervisor.powerOff({ key, vmId: replica.sourceVmId }, { signal });
      return null;
    },
    undo: (undoing) => startAgain(source, undoing),
  });
}

async function startAgain({ replica, host }: Source, { key, signal }: StepAttempt): Promise<void> {
  await host.hypervisor.start({ key, vmId: replica.sourceVmId }, { signal });
}

async function askPerson(
  context: OperationContext,
  { replica }: Source,
  attempt: number,
  deadlineMs: number,
): Promise<string> {
  const choices = SHUTDOWN_ANSWERS.join('|');
  await context.note(
    `ask-${attempt}`,
    `VM ${replica.sourceVmName} did not shut down within ${deadlineMs / 1000} s. ` +
      `Answer with \`understudy operation answer ${context.operationId} ${choices}\`; ` +
      'without an answer within an hour it is left running and the failover given up.',
  );
  const message = await context.receive(`answer-${attempt}`, ANSWER, ANSWER_WITHIN_MS);
  return message === null ? 'give-up' : answerIn(message, SHUTDOWN_ANSWERS);
}

function missed({ replica }: Source, deadlineMs: number): UnderstudyError {
  const reason = `it did not shut down within ${deadlineMs / 1000} s, and may still do so`;
  return new UnderstudyError('fence-failed', { vm: replica.sourceVmName, reason });
}
