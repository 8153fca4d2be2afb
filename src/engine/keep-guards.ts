/**
 * Keeps what guarded hosts hold back equal to what the catalogue says: a host that was away is told as soon as it answers,
 * and so is one that could not be told that a failover is over. Hosts without a start guard are not asked at all.
 */
import { asUnderstudyError } from '../domain/error.ts';
import { heldChanges } from '../domain/failover/start-guard.ts';
import type { HostId } from '../domain/ids.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { CallOptions } from '../ports/call.ts';
import type { StartGuard } from '../ports/start-guard.ts';
import type { ControllerPorts } from './control/controller-ports.ts';
import { withDeadline } from './deadline.ts';
import { GUARD_ANSWER_MS } from './guard-source.ts';

type Known = {
  readonly replicas: readonly Replica[];
  /** What an operation is at, it sees to itself. */
  readonly isBusy: (replica: Replica) => boolean;
};

/** One look at every guarded host; one that does not answer keeps nobody else waiting. */
export async function keepGuards(
  ports: ControllerPorts,
  known: Known,
  options: CallOptions,
): Promise<void> {
  const hosts = (await ports.catalog.hosts()).map(({ value }) => value);
  const guarded = hosts.filter(({ startGuard }) => startGuard !== null);
  await Promise.all(guarded.map(({ id }) => keepHost(ports, id, known, options)));
}

async function keepHost(
  { hosts, clock }: ControllerPorts,
  id: HostId,
  known: Known,
  options: CallOptions,
): Promise<void> {
  try {
    const { startGuard } = await hosts.ports(id);
    await withDeadline(clock, GUARD_ANSWER_MS, options, (signal) =>
      keepHeld(startGuard, id, known, { signal }),
    );
  } catch (error) {
    // It is asked again in a moment; a guard that cannot be written is what `guard show` and the failover's history tell.
    if (options.signal.aborted || asUnderstudyError(error).kind === 'bug') throw error;
  }
}

async function keepHeld(
  guard: StartGuard,
  id: HostId,
  { replicas, isBusy }: Known,
  options: CallOptions,
): Promise<void> {
  const { hold, release } = heldChanges(id, await guard.held(options), replicas, isBusy);
  for (const vm of release) await guard.release(vm, options);
  for (const vm of hold) await guard.hold(vm, options);
}
