/**
 * Defines the replica VM at rest: stopped, without autostart, its disks pointing at files that exist only in
 * Failover, so that starting it by hand fails cleanly.
 */
import { asUnderstudyError } from '../domain/error.ts';
import type { OperationKey, VmId } from '../domain/ids.ts';
import type { Condition, Replica } from '../domain/replica/replica.ts';
import type { RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { ReplicaSettings } from './replica-facts.ts';

export type Rest = {
  readonly replica: Replica;
  /** The newest point before this one; null for the first. */
  readonly newest: RestorePoint | null;
  /** Whose definition the replica is to have. */
  readonly point: RestorePoint;
  readonly settings: Pick<ReplicaSettings, 'networkMap'>;
  readonly target: HostPorts;
};

/** A definition that fails does not cost the restore point: it is told as a condition. */
export type Rested = { readonly vmId: VmId | null; readonly condition: Condition | null };

export async function restReplica(context: OperationContext, rest: Rest): Promise<Rested> {
  const { replica, newest, point } = rest;
  const changed = newest === null || newest.vm.configuration.text !== point.vm.configuration.text;
  if (replica.targetVmId !== null && !changed) return { vmId: replica.targetVmId, condition: null };
  const since = await context.now('rest-at');
  return context.step<Rested>('define-replica', {
    do: async ({ key, signal }) => {
      try {
        return { vmId: await defineAtRest(rest, key, { signal }), condition: null };
      } catch (error) {
        const { kind, message } = asUnderstudyError(error);
        if (kind === 'bug' || kind === 'cancelled') throw error;
        const condition = { name: 'drifted', message, since } as const;
        return { vmId: replica.targetVmId, condition };
      }
    },
    undo: 'nothing',
  });
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
