/** A switchover that failed is a condition of its replica until one works or the failback ends: nobody may have been there to see it. */
import { asUnderstudyError } from '../domain/error.ts';
import { SWITCHOVERS_BY_ITSELF_MAX } from '../domain/failover/failback.ts';
import type { ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Condition, Replica } from '../domain/replica/replica.ts';
import { shellArgument } from '../domain/shell-argument.ts';
import type { CallOptions } from '../ports/call.ts';
import type { Catalog, CatalogChange } from '../ports/catalog.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { EnginePorts } from './engine-ports.ts';
import { lookAtSource } from './source-fence.ts';

const name = 'switchover-failed';

export type SwitchoverTeller = {
  readonly failed: (error: unknown) => Promise<void>;
  /** Starts the replica on the way back, and says whether it serves. */
  readonly comesBack: (options: CallOptions, start: () => Promise<void>) => Promise<void>;
};

type Failure = { readonly why: string; readonly since: Instant };

/** The operation is replayed before it goes back after a crash: so this knows again why it failed. */
export function switchoverTeller(
  { catalog }: Pick<EnginePorts, 'catalog'>,
  context: OperationContext,
  replica: Replica,
): SwitchoverTeller {
  let failure: Failure | null = null;

  async function tell(says: (why: string) => string): Promise<void> {
    if (failure === null) return;
    const { why, since } = failure;
    const message = says(why);
    const standing = (await catalog.conditions(replica.id)).find((one) => one.name === name);
    if (standing?.message === message) return;
    await catalog.apply([raised(replica.id, { name, message, since })]);
  }

  return {
    async failed(error) {
      const { kind, message: why } = asUnderstudyError(error);
      if (kind === 'cancelled') return;
      failure = { why, since: await context.now('failed-at') };
      const condition = { name, message: goesBack(replica, why), since: failure.since } as const;
      await context.record('record-failure', [raised(replica.id, condition)], { undo: 'nothing' });
    },
    async comesBack({ signal }, start) {
      try {
        await start();
      } catch (error) {
        const { message } = asUnderstudyError(error);
        if (!signal.aborted) await tell((why) => staysOff(replica, why, message));
        throw error;
      }
      await tell((why) => goesBack(replica, why));
    },
  };
}

/**
 * Where the way back was given up, a person may have started the replica by hand: then it is not told any more that it does not
 * serve. A host that does not answer has not said so.
 */
export async function tellStartedByHand(
  { catalog, hosts, clock }: Pick<EnginePorts, 'catalog' | 'hosts' | 'clock'>,
  options: CallOptions,
): Promise<void> {
  const replicas = (await catalog.replicas()).map(({ value }) => value);
  const look = async (replica: Replica): Promise<void> => {
    const { id, targetHostId, targetVmId } = replica;
    if (targetVmId === null || (await toldToStayOff(catalog, replica)) === null) return;
    const { hypervisor } = await hosts.ports(targetHostId);
    const { power } = await lookAtSource(
      { hypervisor, clock },
      { sourceVmId: targetVmId },
      options,
    );
    if (power !== 'running') return;
    // Looking took its time.
    const told = await toldToStayOff(catalog, replica);
    if (told === null) return;
    await catalog.apply([raised(id, { ...told, message: runsByNow(replica) })]);
  };
  await Promise.all(replicas.filter(({ phase }) => phase === 'ReadyToSwitch').map(look));
}

/** Whether a switchover left the replica off that was to serve again, and nobody has started it since. */
export function wasLeftOff(
  { catalog }: Pick<EnginePorts, 'catalog'>,
  context: OperationContext,
  replica: Replica,
): Promise<boolean> {
  return context.step<boolean>('look-for-switchover', {
    do: async () => (await toldToStayOff(catalog, replica)) !== null,
    undo: 'nothing',
  });
}

function goesBack(replica: Replica, why: string): string {
  return `The switchover failed and is taken back to ${replica.name}: ${why} ${whatLeadsOn(replica)}`;
}

/** Whoever serves, it is not the replica. */
function staysOff(replica: Replica, why: string, reason: string): string {
  return (
    `${stayingOff(replica)}: ${reason} Retry that, or start ${replica.name} at its hypervisor. ` +
    `Why the switchover had failed: ${why}`
  );
}

function stayingOff({ name: replica }: Replica): string {
  return `The switchover failed, and ${replica} could not be started again, so that it does not serve`;
}

async function toldToStayOff(catalog: Catalog, replica: Replica): Promise<Condition | null> {
  const told = (await catalog.conditions(replica.id)).find((one) => one.name === name);
  return told?.message.startsWith(stayingOff(replica)) === true ? told : null;
}

function runsByNow(replica: Replica): string {
  return (
    `The switchover failed, and ${replica.name} could not be started again then; ${replica.name} runs by now. ` +
    whatLeadsOn(replica)
  );
}

function whatLeadsOn({ name: replica, failback }: Replica): string {
  const byItself =
    failback?.switchover.type === 'manual'
      ? ''
      : `It is tried ${SWITCHOVERS_BY_ITSELF_MAX} times by itself, a minute apart. `;
  const named = shellArgument(replica);
  return `${byItself}\`understudy switch-over ${named}\` tries it now, \`understudy cancel-failback ${named}\` gives the failback up.`;
}

function raised(replicaId: ReplicaId, condition: Condition): CatalogChange {
  return { type: 'condition-raised', replicaId, condition };
}

export function switchoverSettled(replicaId: ReplicaId): CatalogChange {
  return { type: 'condition-cleared', replicaId, name };
}
