/** Waits until the guest of a started replica answers, for the figure that users feel: time to service. */
import type { VmId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { Takeover } from './failover.ts';

/** Whoever wants the replica for the next operation says so on this topic, and waiting ends. */
export const STOP_WAITING = 'stop-waiting';

const POLL_MS = 250;
const ANSWER_MS = 1_000;
/** Between looks at the topic, and entries in the history. */
const ROUND_MS = 2_000;

/**
 * Milliseconds from the request to the first answer of the guest agent; null when it did not answer in time,
 * which does not fail the failover: many guests have no agent.
 */
export async function awaitGuest(
  ports: EnginePorts,
  context: OperationContext,
  takeover: Takeover,
  vmId: VmId,
): Promise<number | null> {
  const giveUpAt = takeover.requestedAt + takeover.guestDeadlineMs;
  for (let round = 1; ; round += 1) {
    const { answeredAt, now } = await context.step<Round>(`await-guest-${round}`, {
      do: ({ signal }) => poll(ports, takeover, vmId, { signal }),
      undo: 'nothing',
    });
    if (answeredAt !== null) return Math.max(0, answeredAt - takeover.requestedAt);
    if (now >= giveUpAt) return null;
    if ((await context.receive(`stop-waiting-${round}`, STOP_WAITING, 0)) !== null) return null;
  }
}

type Round = { readonly answeredAt: Instant | null; readonly now: Instant };

async function poll(
  { clock }: EnginePorts,
  { target }: Takeover,
  vmId: VmId,
  options: CallOptions,
): Promise<Round> {
  const endAt = clock.monotonicMs() + ROUND_MS;
  for (;;) {
    const report = await target.hypervisor.guest(vmId, { ...options, deadlineMs: ANSWER_MS });
    const now = clock.now();
    if (report.agentAnswers) return { answeredAt: now, now };
    if (clock.monotonicMs() >= endAt) return { answeredAt: null, now };
    await clock.sleep(POLL_MS, options);
  }
}
