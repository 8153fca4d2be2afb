/**
 * Shuts a VM down, gracefully: what its guest still holds in memory must reach its disks. A guest that does not follow in
 * time is powered off, waited for, or left alone, as it was asked for or as a person answers.
 */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import type { VmId } from '../domain/ids.ts';
import { formatInstant, type Instant, instant } from '../domain/instant.ts';
import type { PowerState } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext, UndoAttempt } from '../ports/durable.ts';
import type { Hypervisor } from '../ports/hypervisor.ts';
import { ANSWER, answerIn } from './answer.ts';

const ANSWERS = ['wait', 'power-off', 'give-up'] as const;

/** A person may be asleep; whoever is not answered for so long gives up, and the VM goes on. */
const ANSWER_WITHIN_MS = 3600 * 1000;

export type VmToShutDown = {
  /** What its steps are called after: `source`, `replica`. */
  readonly role: string;
  readonly name: string;
  readonly vmId: VmId;
  readonly hypervisor: Hypervisor;
  readonly deadlineMs: number;
  /** `ask`, `power-off` or `give-up`. */
  readonly onMissedDeadline: string;
  /** Once a person has answered, who may have taken an hour: throws where going on would bring somebody beside another one by now. */
  readonly lookAgain?: (options: CallOptions) => Promise<void>;
  /** A person is waited for: what was seen before is not to be believed any more. */
  readonly onAsked?: () => void;
  /** The way back: starts it again, or leaves it off where another one serves in its place by now. Throws where a person must decide. */
  readonly comeBack: (start: () => Promise<void>, undoing: UndoAttempt) => Promise<void>;
};

/** How it was brought down; `none`: it was off. Its way back starts it again. */
export async function shutDownVm(
  context: OperationContext,
  vm: VmToShutDown,
): Promise<'none' | 'shutdown' | 'power-off'> {
  if ((await lookAtPower(context, vm)) === 'off') return 'none';
  let { onMissedDeadline: onMissed } = vm;
  let look: VmToShutDown['lookAgain'];
  for (let attempt = 1; ; attempt += 1) {
    if (await askToShutDown(context, vm, attempt, look)) return 'shutdown';
    if (onMissed === 'ask') {
      vm.onAsked?.();
      look = vm.lookAgain;
      onMissed = await askPerson(context, vm, attempt);
    }
    if (onMissed === 'power-off') {
      await powerOff(context, vm, look);
      return 'power-off';
    }
    if (onMissed === 'give-up') throw missed(vm);
    onMissed = 'ask';
  }
}

async function lookAtPower(
  context: OperationContext,
  { role, name, vmId, hypervisor }: VmToShutDown,
): Promise<'running' | 'off'> {
  const power = await context.step<PowerState>(`look-at-${role}`, {
    do: async ({ signal }) => {
      const vm = await hypervisor.vm(vmId, { signal });
      if (vm.power === 'off' && vm.hasSavedState) throw unfit(name, 'it is saved to disk');
      return vm.power;
    },
    undo: 'nothing',
  });
  if (power === 'running' || power === 'off') return power;
  throw unfit(name, `it is ${power}`);
}

function unfit(vm: string, reason: string): UnderstudyError {
  return new UnderstudyError('not-fit-to-shut-down', { vm, reason });
}

/**
 * False: still running at the deadline. It may follow later all the same. However it came down, the undo of the first attempt, which is
 * the last on the way back, starts it again.
 */
function askToShutDown(
  context: OperationContext,
  vm: VmToShutDown,
  attempt: number,
  look: VmToShutDown['lookAgain'],
): Promise<boolean> {
  const { role, vmId, hypervisor, deadlineMs } = vm;
  return context.step<boolean>(`shut-down-${role}-${attempt}`, {
    do: async ({ key, signal }) => {
      await look?.({ signal });
      return hypervisor.shutdown({ key, vmId, deadlineMs }, { signal });
    },
    undo:
      attempt === 1
        ? (undoing) => vm.comeBack(() => startAgain(vm, undoing), undoing)
        : withTheFirst,
  });
}

function powerOff(
  context: OperationContext,
  vm: VmToShutDown,
  look: VmToShutDown['lookAgain'],
): Promise<null> {
  const { role, vmId, hypervisor } = vm;
  return context.step<null>(`power-off-${role}`, {
    do: async ({ key, signal }) => {
      await look?.({ signal });
      await hypervisor.powerOff({ key, vmId }, { signal });
      return null;
    },
    undo: withTheFirst,
  });
}

/** Nothing of its own to do. */
function withTheFirst(): Promise<void> {
  return Promise.resolve();
}

async function startAgain(
  { vmId, hypervisor }: VmToShutDown,
  { key, signal }: UndoAttempt,
): Promise<void> {
  try {
    await hypervisor.start({ key, vmId }, { signal });
  } catch (error) {
    // Its host holds it back because its replica serves: it had come up beside it, and had better stay off.
    if (asUnderstudyError(error).code !== 'start-held') throw error;
  }
}

async function askPerson(
  context: OperationContext,
  { name, deadlineMs }: VmToShutDown,
  attempt: number,
): Promise<string> {
  const until = instant((await context.now(`asked-at-${attempt}`)) + ANSWER_WITHIN_MS);
  await context.note(
    `ask-${attempt}`,
    `VM ${name} did not shut down within ${deadlineMs / 1000} s. ` +
      `Answer with \`understudy operation answer ${context.operationId} ${ANSWERS.join('|')}\`; ` +
      `without an answer until ${toTheSecond(until)} it is left running and the operation given up.`,
  );
  // Its hosts have room for others meanwhile: nothing is transferred, and a person may take an hour.
  const message = await context.receive(`answer-${attempt}`, ANSWER, ANSWER_WITHIN_MS, {
    lendsSlots: true,
  });
  return message === null ? 'give-up' : answerIn(message, ANSWERS);
}

function toTheSecond(value: Instant): string {
  return formatInstant(value).replace(/\.\d+Z$/, 'Z');
}

function missed({ name, deadlineMs }: VmToShutDown): UnderstudyError {
  const reason = `it did not shut down within ${deadlineMs / 1000} s, and may still do so`;
  return new UnderstudyError('not-shut-down', { vm: name, reason });
}
