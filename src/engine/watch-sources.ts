/**
 * Looks out for sources that come back after a failover, or after a failback to another place: a host that was away boots,
 * and with it the VM whose place is taken by now. Two machines of one identity are told at once, with the commands to choose from. It looks only at hosts
 * with such sources, once each however many there are, and a host that does not answer keeps nobody else waiting. Hosts with a start guard
 * are told what they must not start (keep-guards.ts).
 */
import { asUnderstudyError } from '../domain/error.ts';
import { type WatchedVm, watchedFormer, watchedSource } from '../domain/failover/watched-source.ts';
import type { HostId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { OperationRecord } from '../domain/operation/operation.ts';
import type { Replica } from '../domain/replica/replica.ts';
import { isServing, mayServe, type VmSummary } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { ControllerPorts } from './control/controller-ports.ts';
import { withDeadline } from './deadline.ts';
import { keepGuards } from './keep-guards.ts';
import { cleared } from './record-failover.ts';
import { lookAtSiblings } from './siblings.ts';
import { lookAtSource, SOURCE_ANSWER_MS } from './source-fence.ts';
import {
  isToldOfFormer,
  tellFormer,
  tellReturned,
  withdrawFormer,
  withdrawLeft,
  withdrawReturned,
} from './tell-conditions.ts';

const LOOK_EVERY_MS = 5_000;
const OPEN_OPERATIONS_MAX = 100_000;

type Watch = CallOptions & {
  /** A source that came back, told once, for the log. */
  readonly onReturned: (message: string) => void;
};

/** Runs until the signal is aborted. */
export async function runSourceWatch(
  ports: ControllerPorts,
  { onError, ...watch }: Watch & { readonly onError: (error: unknown) => void },
): Promise<void> {
  const { signal } = watch;
  while (!signal.aborted) {
    await watchSources(ports, watch).catch((error: unknown) =>
      signal.aborted ? undefined : onError(error),
    );
    await ports.clock.sleep(LOOK_EVERY_MS, { signal }).catch(() => undefined); // aborted: the loop ends by itself
  }
}

/** One look at every host that has the source of a serving replica, or a VM that was one. */
export async function watchSources(ports: ControllerPorts, watch: Watch): Promise<void> {
  const open = await ports.durable.operations({ open: true, limit: OPEN_OPERATIONS_MAX });
  const bySubject = Map.groupBy(open, ({ subject }) => subject);
  const isBusy = (replica: Replica) =>
    bySubject.get(replica.id)?.some((operation) => isAtSource(replica, operation)) === true;
  const watched: Watched[] = [];
  const unwatched: Replica[] = [];
  const now = ports.clock.now();
  const replicas = (await ports.catalog.replicas()).map(({ value }) => value);
  for (const replica of replicas) {
    const vm = watchedSource(replica, now);
    if (vm === null) {
      await withdrawReturned(ports, replica);
      if (replica.phase === 'Ready' && !isBusy(replica)) unwatched.push(replica);
    }
    // What an operation is doing to the source right now, it finds out itself.
    else if (!isBusy(replica)) watched.push({ replica, vm, as: SOURCE });
    const former = watchedFormer(replica, now, await isToldOfFormer(ports, replica));
    if (former === null) await withdrawFormer(ports, replica);
    else watched.push({ replica, vm: former, as: FORMER });
  }
  await Promise.all([
    keepGuards(ports, { replicas, isBusy }, watch),
    ...[...Map.groupBy(watched, ({ vm }) => vm.hostId)].map(([host, vms]) =>
      lookAtHost(ports, host, vms, watch),
    ),
    ...unwatched.map((replica) => withdrawUnfenced(ports, replica, watch)),
    ...replicas.filter((one) => !isBusy(one)).map((one) => lookAtLeft(ports, one, watch)),
  ]);
}

/** A failover whose replica runs waits for its guest only, for minutes, in which the source may well come back. */
function isAtSource({ failover }: Replica, { id }: OperationRecord): boolean {
  return failover?.operationId !== id || failover.runningAfterMs === null;
}

type Watched = { readonly replica: Replica; readonly vm: WatchedVm; readonly as: Part };

/** What a VM is to a replica whose place it would take. */
type Part = {
  /** Looked up anew after a look, which takes its time. */
  readonly watched: (replica: Replica, now: Instant) => WatchedVm | null;
  /** Answers the message when it is news, else null. */
  readonly tell: typeof tellReturned;
  /** Seen to serve nobody. */
  readonly withdraw: (ports: ControllerPorts, of: Replica, options: CallOptions) => Promise<void>;
};

const SOURCE: Part = {
  watched: watchedSource,
  tell: tellReturned,
  // During a failover it is the fence that is looked at, not one moment.
  withdraw: async (ports, replica, options) => {
    await withdrawReturned(ports, replica);
    if (replica.phase === 'Permanent') await withdrawUnfenced(ports, replica, options);
  },
};

const FORMER: Part = {
  watched: (replica, now) => watchedFormer(replica, now, true),
  tell: tellFormer,
  withdraw: withdrawFormer,
};

async function lookAtHost(
  ports: ControllerPorts,
  host: HostId,
  vms: readonly Watched[],
  watch: Watch,
): Promise<void> {
  const listed = await listedVms(ports, host, watch);
  if (listed === null) return;
  for (const watched of vms) {
    const power = listed.find(({ id }) => id === watched.vm.vmId)?.power ?? 'off';
    if (power === 'off') await judge(ports, watched, false, watch);
    else if (power !== 'unknown') await lookAtRunning(ports, watched, watch);
  }
}

/** What may have run beside the VM that took its place is seen to be off, cut off, or gone; so is what stands in for its other replicas. */
async function withdrawUnfenced(
  ports: ControllerPorts,
  replica: Replica,
  options: CallOptions,
): Promise<void> {
  const conditions = await ports.catalog.conditions(replica.id);
  if (!conditions.some(({ name }) => name === 'unfenced-source')) return;
  const siblings = await lookAtSiblings(ports, replica, options);
  if (siblings.some(mayServe)) return;
  // Looking took its time: somebody may have failed it over meanwhile, and told anew.
  const current = (await ports.catalog.replica(replica.id))?.value;
  if (current?.epoch === replica.epoch) await ports.catalog.apply([cleared(replica)]);
}

/** What was left off, or cut off, for another replica of the VM: a person may have brought it back since. */
async function lookAtLeft(
  ports: ControllerPorts,
  replica: Replica,
  options: CallOptions,
): Promise<void> {
  const conditions = await ports.catalog.conditions(replica.id);
  if (!conditions.some(({ name }) => name === 'source-left-fenced')) return;
  const { hypervisor } = await ports.hosts.ports(replica.sourceHostId);
  const seen = await lookAtSource({ hypervisor, clock: ports.clock }, replica, options);
  if (isServing(seen) || seen.power === 'absent') await withdrawLeft(ports, replica);
}

/** Null: no answer, which says nothing about any VM (invariant 10). On a host that a person has removed nobody is watched. */
async function listedVms(
  ports: ControllerPorts,
  host: HostId,
  { signal }: CallOptions,
): Promise<readonly VmSummary[] | null> {
  if ((await ports.catalog.host(host)) === null) return [];
  try {
    const { hypervisor } = await ports.hosts.ports(host);
    return await withDeadline(ports.clock, SOURCE_ANSWER_MS, { signal }, (deadline) =>
      hypervisor.vms({ signal: deadline }),
    );
  } catch (error) {
    if (signal.aborted || asUnderstudyError(error).kind === 'bug') throw error;
    return null;
  }
}

async function lookAtRunning(
  ports: ControllerPorts,
  watched: Watched,
  watch: Watch,
): Promise<void> {
  const { hostId, vmId } = watched.vm;
  const { hypervisor } = await ports.hosts.ports(hostId);
  const parts = { hypervisor, clock: ports.clock };
  const seen = await lookAtSource(parts, { sourceVmId: vmId }, watch);
  if (seen.power !== 'unknown') await judge(ports, watched, isServing(seen), watch);
}

async function judge(
  ports: ControllerPorts,
  { replica, vm, as: part }: Watched,
  serves: boolean,
  watch: Watch,
): Promise<void> {
  // Looking took its time: somebody may have undone the failover meanwhile.
  const now = ports.clock.now();
  const current = (await ports.catalog.replica(replica.id))?.value;
  if (current === undefined || part.watched(current, now)?.vmId !== vm.vmId) return;
  if (!serves) return part.withdraw(ports, current, watch);
  const told = await part.tell(ports, current, vm, now);
  if (told !== null) watch.onReturned(told);
}
