/**
 * Defines the replica VM at rest: stopped, without autostart, its disks pointing at files that exist only in
 * Failover, so that starting it by hand fails cleanly.
 */
import type { DiskKey, OperationKey, ReplicaId, VmId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../ports/call.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { EnginePorts } from './engine-ports.ts';
import { type ReplicaSettings, readSettings } from './replica-facts.ts';
import { whyLater } from './why-later.ts';

export type Rest = {
  readonly replica: Replica;
  /** The newest point before this one; null for the first. */
  readonly newest: RestorePoint | null;
  /** Whose definition the replica is to have. */
  readonly point: Pick<RestorePoint, 'vm'> & {
    readonly disks: readonly { readonly key: DiskKey }[];
  };
  readonly settings: Pick<ReplicaSettings, 'networkMap'>;
  readonly target: HostPorts;
};

/**
 * A definition that fails does not cost the restore point: it is told as a condition, tried again by every run, and
 * told no more once it succeeds.
 */
export type Rested = {
  readonly vmId: VmId | null;
  readonly changes: readonly CatalogChange[];
};

export async function restReplica(
  { catalog }: EnginePorts,
  context: OperationContext,
  rest: Rest,
): Promise<Rested> {
  const { replica, newest, point } = rest;
  const wasOutdated = await isKnownOutdated(catalog, context, replica.id);
  const changed = newest === null || newest.vm.configuration.text !== point.vm.configuration.text;
  if (replica.targetVmId !== null && !changed && !wasOutdated) {
    return { vmId: replica.targetVmId, changes: [] };
  }
  const since = await context.now('rest-at');
  return context.step<Rested>('define-replica', {
    do: (attempt) => define(catalog, rest, { since, wasOutdated }, attempt),
    undo: 'nothing',
  });
}

/** Whether the last run could not have the definition follow its source. */
export function isKnownOutdated(
  catalog: EnginePorts['catalog'],
  context: OperationContext,
  replica: ReplicaId,
): Promise<boolean> {
  return context.step<boolean>('look-at-definition', {
    do: async () => {
      const conditions = await catalog.conditions(replica);
      return conditions.some(({ name }) => name === 'definition-outdated');
    },
    undo: 'nothing',
  });
}

/** Somebody may have changed the networks since the run began. */
async function define(
  catalog: EnginePorts['catalog'],
  rest: Rest,
  { since, wasOutdated }: { readonly since: Instant; readonly wasOutdated: boolean },
  attempt: StepAttempt,
): Promise<Rested> {
  const { id: replicaId, targetVmId } = rest.replica;
  const name = 'definition-outdated';
  try {
    const settings = await readSettings(catalog, rest.replica);
    const vmId = await defineAtRest({ ...rest, settings }, attempt.key, attempt);
    return { vmId, changes: wasOutdated ? [{ type: 'condition-cleared', replicaId, name }] : [] };
  } catch (error) {
    const message = `The replica VM could not be defined as its source is now. ${whyLater(error, attempt)}`;
    const condition = { name, message, since } as const;
    return { vmId: targetVmId, changes: [{ type: 'condition-raised', replicaId, condition }] };
  }
}

export function defineAtRest(
  { replica, point, settings, target }: Omit<Rest, 'newest'>,
  key: OperationKey,
  options: CallOptions,
): Promise<VmId> {
  return target.hypervisor.defineReplica(
    {
      key,
      replicaId: replica.id,
      epoch: replica.epoch,
      name: replica.name,
      source: point.vm,
      vmId: replica.targetVmId,
      disks: target.store.restingDisks(
        replica.id,
        point.disks.map((disk) => disk.key),
      ),
      networkMap: settings.networkMap,
      connectNics: false,
      sidecars: [],
    },
    options,
  );
}
