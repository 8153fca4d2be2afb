/** Waits until the guest of a started replica answers, for the figure that users feel: time to service. */
import { asUnderstudyError } from '../domain/error.ts';
import type { VmId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { GuestReport } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { Hypervisor } from '../ports/hypervisor.ts';
import type { EnginePorts } from './engine-ports.ts';

/** Whoever wants the replica for the next operation says so on this topic, and waiting ends. */
export const STOP_WAITING = 'stop-waiting';

const POLL_MS = 250;
const ANSWER_MS = 1_000;
/** Between looks at the topic, and entries in the history. */
const ROUND_MS = 2_000;

/** Whose guest is waited for, how long, and from when it counts. */
type Awaited = {
  readonly target: Pick<HostPorts, 'hypervisor'>;
  readonly guestDeadlineMs: number;
  readonly requestedAt: Instant;
};

/**
 * Milliseconds from the request to the first answer of the guest agent; null when it did not answer in time, or has no
 * way to. That does not fail the failover. Rounds are counted, because the wall clock may jump.
 */
export async function awaitGuest(
  ports: EnginePorts,
  context: OperationContext,
  takeover: Awaited,
  vmId: VmId,
): Promise<number | null> {
  const rounds = Math.ceil(takeover.guestDeadlineMs / ROUND_MS);
  for (let round = 1; round <= rounds; round += 1) {
    const { answeredAt, isInVain } = await context.step<Round>(`await-guest-${round}`, {
      do: ({ signal }) => poll(ports, takeover, vmId, { signal }),
      undo: 'nothing',
    });
    if (answeredAt !== null) return Math.max(0, answeredAt - takeover.requestedAt);
    if (isInVain) return null;
    if ((await context.receive(`stop-waiting-${round}`, STOP_WAITING, 0)) !== null) return null;
  }
  return null;
}

type Round = { readonly answeredAt: Instant | null; readonly isInVain: boolean };

async function poll(
  { clock }: EnginePorts,
  { target }: Awaited,
  vmId: VmId,
  options: CallOptions,
): Promise<Round> {
  const endAt = clock.monotonicMs() + ROUND_MS;
  for (;;) {
    const report = await ask(target.hypervisor, vmId, options);
    if (report?.agentAnswers) return { answeredAt: clock.now(), isInVain: false };
    if (report?.hasAgentChannel === false) return { answeredAt: null, isInVain: true };
    if (clock.monotonicMs() >= endAt) return { answeredAt: null, isInVain: false };
    await clock.sleep(POLL_MS, options);
  }
}

/** A host that cannot be asked now says nothing about the failover, which is done: it only costs the figure. */
async function ask(
  hypervisor: Hypervisor,
  vmId: VmId,
  options: CallOptions,
): Promise<GuestReport | null> {
  try {
    return await hypervisor.guest(vmId, { ...options, deadlineMs: ANSWER_MS });
  } catch (error) {
    if (options.signal.aborted || asUnderstudyError(error).kind === 'bug') throw error;
    return null;
  }
}
