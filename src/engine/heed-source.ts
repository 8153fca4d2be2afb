/**
 * Production that comes to stand elsewhere takes the identity of the source, which may never have stopped: a failover beside a
 * running source is a legitimate trial. The same rule as at a failover: two of them do not meet by accident, and a host that
 * does not answer keeps nobody waiting.
 */
import { UnderstudyError } from '../domain/error.ts';
import type { FailbackHome } from '../domain/failover/failback.ts';
import { isElsewhere } from '../domain/failover/watched-source.ts';
import type { VmId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Condition, Replica } from '../domain/replica/replica.ts';
import { isServing } from '../domain/vm/vm.ts';
import type { CallOptions } from '../ports/call.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { HypervisorView } from '../ports/hypervisor.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { FailbackFacts } from './failback-facts.ts';
import { cleared } from './record-failover.ts';
import { besideSibling, heedSiblings, requireNoSibling } from './siblings.ts';
import { lookAtSource, type SourceSeen } from './source-fence.ts';

/** Null: the source itself takes over, or that two of them meet was accepted when the replica took over. */
export async function sourceBeside(
  { hosts, clock }: Pick<EnginePorts, 'hosts' | 'clock'>,
  replica: Replica,
  home: FailbackHome,
  options: CallOptions,
): Promise<SourceSeen | null> {
  const { failover, sourceHostId } = replica;
  if (!isElsewhere(replica, home) || failover?.isDuplicateAccepted === true) return null;
  const { hypervisor } = await hosts.ports(sourceHostId);
  return lookAtSource({ hypervisor, clock }, replica, options);
}

/** What may serve, too, and cannot be asked. */
export type Unasked = {
  /** The source ran when its replica took over. */
  readonly isSource: boolean;
  /** Stands in for another replica of the VM. */
  readonly sibling: string | null;
};

export type UnaskedAtSwitchover = Unasked & {
  /** What the failover told of others that may serve; null: nothing, or nothing that is told otherwise now. */
  readonly standing: Condition | null;
};

export type Heeded = Unasked & {
  /** False where the journal answers: whoever starts production then looks again. */
  readonly isJustSeen: boolean;
};

/** Throws `source-serves` while it runs connected, and `sibling-serves` while what stands in for another replica of it does. */
export async function heedSource(
  ports: EnginePorts,
  context: OperationContext,
  { replica, failover }: FailbackFacts,
  home: FailbackHome,
): Promise<Heeded> {
  if (failover.isDuplicateAccepted) return { isSource: false, sibling: null, isJustSeen: true };
  let isJustSeen = false;
  const sibling = await heedSiblings(ports, context, replica, home.name, () => {
    isJustSeen = true;
  });
  if (!isElsewhere(replica, home)) return { isSource: false, sibling, isJustSeen };
  const isSource = await context.step<boolean>('look-at-source', {
    do: async (attempt) => {
      const seen = await requireNoSource(ports, replica, home, attempt);
      // Of a replica that is connected, the failover has told what is known of its source.
      return seen?.power === 'unknown' && !failover.isConnected;
    },
    undo: 'nothing',
  });
  return { isSource, sibling, isJustSeen };
}

/** The same once more, right before production starts. One that runs already is left to what tells of sources that are back. */
export async function heedAgain(
  ports: EnginePorts,
  { replica, failover }: Pick<FailbackFacts, 'replica' | 'failover'>,
  { home, vmId, hypervisor }: Starting,
  options: CallOptions,
): Promise<void> {
  if (failover.isDuplicateAccepted) return;
  if ((await hypervisor.power(vmId, options)) === 'running') return;
  await requireNobody(ports, { replica, failover }, { ...home, vmId }, options);
}

/** The same while production is still to be made ready. */
export async function requireNobody(
  ports: EnginePorts,
  { replica, failover }: Pick<FailbackFacts, 'replica' | 'failover'>,
  home: FailbackHome,
  options: CallOptions,
): Promise<void> {
  if (failover.isDuplicateAccepted) return;
  await requireNoSibling(ports, replica, home.name, options);
  await requireNoSource(ports, replica, home, options);
}

type Starting = {
  readonly home: FailbackHome;
  readonly vmId: VmId;
  readonly hypervisor: HypervisorView;
};

/** Answers what was seen; null as `sourceBeside`. */
export async function requireNoSource(
  ports: EnginePorts,
  replica: Replica,
  home: FailbackHome,
  options: CallOptions,
): Promise<SourceSeen | null> {
  const seen = await sourceBeside(ports, replica, home, options);
  if (seen === null || !isServing(seen)) return seen;
  const { name, sourceVmName } = replica;
  throw new UnderstudyError('source-serves', { replica: name, vm: sourceVmName });
}

/** With what a switchover that is taken back tells again. */
export async function besideStanding(
  { catalog }: Pick<EnginePorts, 'catalog'>,
  context: OperationContext,
  { id }: Replica,
  unasked: Unasked,
): Promise<UnaskedAtSwitchover> {
  if (unasked.sibling === null) return { ...unasked, standing: null };
  const standing = await context.step<Condition | null>('look-at-conditions', {
    do: async () =>
      (await catalog.conditions(id)).find(({ name }) => name === 'unfenced-source') ?? null,
    undo: 'nothing',
  });
  return { ...unasked, standing };
}

/** What a switchover past somebody who could not be asked tells, and what takes it back. */
export function unfencedBeside(
  replica: Replica,
  { name }: FailbackHome,
  { isSource, sibling, standing }: UnaskedAtSwitchover,
  since: Instant,
): { readonly made: readonly CatalogChange[]; readonly undone: readonly CatalogChange[] } {
  if (isSource) {
    const message =
      `VM ${name} took the place of ${replica.sourceVmName}, which ran when its replica took over, and whose host does not answer now. ` +
      'Make sure that only one of them serves.';
    const condition = { name: 'unfenced-source', message, since } as const;
    return {
      made: [{ type: 'condition-raised', replicaId: replica.id, condition }],
      undone: [cleared(replica)],
    };
  }
  if (sibling === null) return { made: [], undone: [] };
  const made = [besideSibling(replica, name, sibling, since)];
  if (standing !== null) {
    const told = { type: 'condition-raised', replicaId: replica.id, condition: standing } as const;
    return { made, undone: [told] };
  }
  const isBack = replica.failover?.isConnected === true;
  return {
    made,
    undone: [isBack ? besideSibling(replica, replica.name, sibling, since) : cleared(replica)],
  };
}
