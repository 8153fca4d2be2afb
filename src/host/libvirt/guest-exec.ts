/**
 * Runs a program inside a guest through its agent (QEMU guest agent protocol, `guest-exec`).
 *
 * `virsh` takes what it sends to an agent as an argument only, which anybody on the host can read meanwhile. Commands on its
 * standard input are no way out: it takes them for a person's, keeps them in a history file, ends with 0 whatever becomes of
 * them, and without readline cuts each after 1023 bytes and runs the rest as a command of its own.
 */
import type { VmId } from '../../domain/ids.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import { hasCode } from './errors.ts';
import type { Virsh } from './virsh.ts';

export type GuestProgram = {
  readonly vmId: VmId;
  /** Absolute, or looked up by the agent. */
  readonly program: string;
  /** Nothing secret: the process lists of the host and of the guest show them. */
  readonly arguments: readonly string[];
  /** What it reads from its standard input; without it nothing. */
  readonly input?: string;
  readonly limitMs: number;
};

export type GuestExit =
  | { readonly type: 'exited'; readonly code: number; readonly output: string }
  /** It goes on: nothing can end it from outside. */
  | { readonly type: 'unended' }
  /** It could not be run, or was ended by a signal; `why` is a sentence part. */
  | { readonly type: 'none'; readonly why: string };

export const AGENT_SILENT = 'the guest agent does not answer';

const ANSWER_SECONDS = '5';
const POLL_MS = 200;
const OUTPUT_CHARACTERS_MAX = 2000;

export async function execInGuest(
  { virsh, clock }: { readonly virsh: Virsh; readonly clock: Clock },
  { vmId, program, arguments: args, input = '', limitMs }: GuestProgram,
  options: CallOptions,
): Promise<GuestExit> {
  const until = clock.monotonicMs() + limitMs;
  const ask = (execute: string, request: object) =>
    askAgent(virsh, vmId, { execute, arguments: request }, options);
  const begun = await ask('guest-exec', {
    path: program,
    arg: args,
    'capture-output': true,
    'input-data': Buffer.from(input).toString('base64'),
  });
  if (typeof begun === 'string') return { type: 'none', why: begun };
  if (typeof begun.pid !== 'number') return { type: 'none', why: 'the agent gave no process id' };
  for (;;) {
    const status = await ask('guest-exec-status', { pid: begun.pid });
    if (typeof status === 'string') return { type: 'none', why: status };
    if (status.exited === true) return exitOf(status);
    if (clock.monotonicMs() >= until) return { type: 'unended' };
    await clock.sleep(POLL_MS, options);
  }
}

/** What the agent returns, or why it does not: a guest's word either way. Throws when the host or VM is gone. */
export async function askAgent(
  virsh: Virsh,
  vmId: VmId,
  request: object,
  options: CallOptions,
): Promise<Readonly<Record<string, unknown>> | string> {
  const text = JSON.stringify(request);
  const args = ['qemu-agent-command', '--timeout', ANSWER_SECONDS, '--', vmId, text];
  try {
    const answer: unknown = JSON.parse(await virsh.run(args, options));
    const value = isObject(answer) ? answer.return : undefined;
    return isObject(value) ? value : 'the agent answered something else';
  } catch (error) {
    if (error instanceof SyntaxError) return 'the agent answered something else';
    if (hasCode(error, 'guest-not-answering')) return AGENT_SILENT;
    if (hasCode(error, 'hypervisor-refused', 'vm-busy')) {
      const reason = String(error.details.reason);
      return /error was '(.*)'$/.exec(reason)?.[1] ?? reason;
    }
    if (hasCode(error, 'host-unreachable') && hasCode(error.cause, 'timed-out')) {
      return AGENT_SILENT;
    }
    throw error;
  }
}

function exitOf(status: Readonly<Record<string, unknown>>): GuestExit {
  if (typeof status.exitcode !== 'number') {
    return { type: 'none', why: `it was ended by signal ${String(status.signal ?? '?')}` };
  }
  const texts = [status['err-data'], status['out-data']].map((data) =>
    typeof data === 'string' ? Buffer.from(data, 'base64').toString('utf8').trim() : '',
  );
  const output = texts.filter(Boolean).join('\n').slice(0, OUTPUT_CHARACTERS_MAX);
  return { type: 'exited', code: status.exitcode, output };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
