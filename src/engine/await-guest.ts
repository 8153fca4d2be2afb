/**
 * Waits until the guest of a started replica answers, for the figure that users feel: time to service. Its agent and the
 * addresses that the job knows are asked side by side; whoever answers first counts, and is named.
 */
import { asUnderstudyError } from '../domain/error.ts';
import { type AddressProbe, formatAddressProbe } from '../domain/failover/address-probe.ts';
import type { VmId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { HostViews } from '../ports/host-directory.ts';
import type { EnginePorts } from './engine-ports.ts';

/** Whoever wants the replica for the next operation says so on this topic, and waiting ends. */
export const STOP_WAITING = 'stop-waiting';

const POLL_MS = 250;
const ANSWER_MS = 1_000;
/** Between looks at the topic, and entries in the history. */
const ROUND_MS = 2_000;
/** Before the start everybody waits for it, so that it must be short; who is there at all answers a local network sooner. */
const STRANGER_MS = 250;

/** Whose guest is waited for, how long, and from when it counts. */
type Awaited = {
  readonly target: Pick<HostViews, 'hypervisor'>;
  readonly guestDeadlineMs: number;
  readonly requestedAt: Instant;
  /** Where else than through its agent it may answer; nobody else is known to answer there. */
  readonly addresses: readonly AddressProbe[];
};

export type GuestAnswered = {
  /** Milliseconds from the request to the first answer; null: none came in time, or there is no way to one. */
  readonly answeringAfterMs: number | null;
  readonly answeredBy: string | null;
};

const NOBODY: GuestAnswered = { answeringAfterMs: null, answeredBy: null };

/** A guest that does not answer does not fail the failover. Rounds are counted, because the wall clock may jump. */
export async function awaitGuest(
  ports: EnginePorts,
  context: OperationContext,
  takeover: Awaited,
  vmId: VmId,
): Promise<GuestAnswered> {
  const rounds = Math.ceil(takeover.guestDeadlineMs / ROUND_MS);
  for (let round = 1; round <= rounds; round += 1) {
    const { answeredAt, isInVain, by } = await context.step<Round>(`await-guest-${round}`, {
      do: ({ signal }) => poll(ports, takeover, vmId, { signal }),
      undo: 'nothing',
    });
    if (answeredAt !== null) {
      const answeringAfterMs = Math.max(0, answeredAt - takeover.requestedAt);
      return { answeringAfterMs, answeredBy: by ?? AGENT };
    }
    if (isInVain) return NOBODY;
    if ((await context.receive(`still-waiting-${round}`, STOP_WAITING, 0)) !== null) return NOBODY;
  }
  return NOBODY;
}

/** `by` is missing in what an older version journaled: then it was the agent. */
type Round = {
  readonly answeredAt: Instant | null;
  readonly isInVain: boolean;
  readonly by?: string;
};

const AGENT = 'agent';

async function poll(
  { clock }: EnginePorts,
  awaited: Awaited,
  vmId: VmId,
  options: CallOptions,
): Promise<Round> {
  const endAt = clock.monotonicMs() + ROUND_MS;
  for (;;) {
    let hasAgentChannel = true;
    const askAgent = async ({ signal }: CallOptions) => {
      const { hypervisor } = awaited.target;
      const report = await hypervisor.guest(vmId, { signal, deadlineMs: ANSWER_MS });
      hasAgentChannel = report.hasAgentChannel;
      return report.agentAnswers ? AGENT : null;
    };
    const askers = awaited.addresses.map((probe) => askerOf(awaited.target, probe, ANSWER_MS));
    const by = await firstAnswer([askAgent, ...askers], options);
    if (by !== null) return { answeredAt: clock.now(), isInVain: false, by };
    const isInVain = !hasAgentChannel && askers.length === 0;
    if (isInVain || clock.monotonicMs() >= endAt) return { answeredAt: null, isInVain };
    await clock.sleep(POLL_MS, options);
  }
}

/**
 * The addresses whose answer will mean the guest of the VM that is about to be started: none unless it is connected, and
 * none at which somebody answers already, such as a source that could not be asked, or whoever took the address.
 */
export async function addressesToTrust(
  context: OperationContext,
  takeover: {
    readonly target: Pick<HostViews, 'hypervisor'>;
    readonly settings: { readonly answersAt?: readonly AddressProbe[] };
  },
  isConnected: boolean,
): Promise<readonly AddressProbe[]> {
  const { answersAt = [] } = takeover.settings;
  if (!isConnected || answersAt.length === 0) return [];
  const taken = await context.step<readonly string[]>('ask-addresses', {
    do: async ({ signal }) => {
      const asked = await Promise.all(
        answersAt.map((probe) =>
          orNothing(askerOf(takeover.target, probe, STRANGER_MS), { signal }),
        ),
      );
      return asked.filter((by) => by !== null);
    },
    undo: 'nothing',
  });
  if (taken.length > 0) {
    const note = `Somebody answered at ${taken.join(', ')} before the VM was started, so an answer there says nothing about it.`;
    await context.note('note-addresses', note);
  }
  return answersAt.filter((probe) => !taken.includes(formatAddressProbe(probe)));
}

/** Who answered; null: nobody. */
type Asker = (options: CallOptions) => Promise<string | null>;

function askerOf(
  { hypervisor }: Awaited['target'],
  probe: AddressProbe,
  deadlineMs: number,
): Asker {
  return async ({ signal }) => {
    const { passed } = await hypervisor.askAddress(probe, { signal, deadlineMs });
    return passed ? formatAddressProbe(probe) : null;
  };
}

/** All are asked at once. Resolves at the first answer, when the others have let go; null when none has come. */
async function firstAnswer(
  askers: readonly Asker[],
  { signal }: CallOptions,
): Promise<string | null> {
  const enough = new AbortController();
  const options = { signal: AbortSignal.any([signal, enough.signal]) };
  let first: string | null = null;
  await Promise.all(
    askers.map(async (ask) => {
      try {
        const by = await orNothing(ask, options);
        if (by === null) return;
        first ??= by;
        enough.abort();
      } catch (error) {
        if (signal.aborted || !enough.signal.aborted) throw error;
        // It was told to stop, because another one has answered.
      }
    }),
  );
  return first;
}

/** A host that cannot be asked now says nothing about the failover, which is done: it only costs the figure. */
async function orNothing(ask: Asker, options: CallOptions): Promise<string | null> {
  try {
    return await ask(options);
  } catch (error) {
    if (options.signal.aborted || asUnderstudyError(error).kind === 'bug') throw error;
    return null;
  }
}
