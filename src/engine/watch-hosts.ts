/**
 * Asks every host from time to time whether it answers, so that `status` can say at once which one does not, and since when.
 * What it knows is about now and lives as long as the server; no decision rests on it, since silence is not evidence.
 */
import { asUnderstudyError } from '../domain/error.ts';
import type { Host } from '../domain/host/host.ts';
import type { Instant } from '../domain/instant.ts';
import type { CallOptions } from '../ports/call.ts';
import type { ControllerPorts } from './control/controller-ports.ts';
import { withDeadline } from './deadline.ts';

const ASK_EVERY_MS = 10_000;
const ANSWER_MS = 5_000;
/** One may come from a daemon that is being restarted. */
const MISSES_UNTIL_SILENT = 2;

type Watch = CallOptions & {
  /** For the log: a host fell silent, or answers again. */
  readonly onNews: (message: string) => void;
};

/** Runs until the signal is aborted. */
export async function runHostWatch(
  ports: ControllerPorts,
  { onError, ...watch }: Watch & { readonly onError: (error: unknown) => void },
): Promise<void> {
  const { signal } = watch;
  while (!signal.aborted) {
    await watchHosts(ports, watch).catch((error: unknown) =>
      signal.aborted ? undefined : onError(error),
    );
    await ports.clock.sleep(ASK_EVERY_MS, { signal }).catch(() => undefined); // aborted: the loop ends by itself
  }
}

/** One question to every host; one that does not answer keeps nobody else waiting. */
export async function watchHosts(ports: ControllerPorts, watch: Watch): Promise<void> {
  const hosts = (await ports.catalog.hosts()).map(({ value }) => value);
  const known = new Set(hosts.map(({ id }) => id));
  for (const id of ports.misses.keys()) if (!known.has(id)) ports.misses.delete(id);
  await Promise.all(hosts.map((host) => askHost(ports, host, watch)));
}

async function askHost(ports: ControllerPorts, host: Host, watch: Watch): Promise<void> {
  const askedAt = ports.clock.now();
  const because = await whySilent(ports, host, watch);
  const before = ports.misses.get(host.id);
  if (because === null) {
    ports.misses.delete(host.id);
    if (before !== undefined && isSilent(before)) watch.onNews(`Host ${host.name} answers again.`);
    return;
  }
  const now = { since: before?.since ?? askedAt, because, count: (before?.count ?? 0) + 1 };
  ports.misses.set(host.id, now);
  if (now.count === MISSES_UNTIL_SILENT) watch.onNews(because);
}

/** Null: it answers. */
async function whySilent(
  { hosts, clock }: ControllerPorts,
  { id, name }: Host,
  { signal }: CallOptions,
): Promise<string | null> {
  try {
    const { hypervisor } = await hosts.ports(id);
    await withDeadline(clock, ANSWER_MS, { signal }, (deadline) =>
      hypervisor.vms({ signal: deadline }),
    );
    return null;
  } catch (error) {
    const { kind, message } = asUnderstudyError(error);
    if (signal.aborted || kind === 'bug') throw error;
    return kind === 'cancelled'
      ? `Host ${name} did not answer within ${ANSWER_MS / 1000} s.`
      : message;
  }
}

/** Times in a row that a host did not answer. */
export type Misses = {
  readonly since: Instant;
  readonly because: string;
  readonly count: number;
};

export function isSilent({ count }: Misses): boolean {
  return count >= MISSES_UNTIL_SILENT;
}
