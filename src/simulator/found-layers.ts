/** What a simulated host tells of the working layers on it. */
import type { FoundLayers } from '../domain/failover/failback-evidence.ts';
import type { FailbackId, ReplicaId } from '../domain/ids.ts';
import type { SimulatedHost } from './host.ts';
import type { LaidLayers } from './working-layers.ts';

export function foundLayers(
  { epochs, failbacks, committedFailbacks }: SimulatedHost,
  replicaId: ReplicaId,
): { readonly epoch: number; readonly failbacks: readonly FoundLayers[] } {
  const told = (
    all: ReadonlyMap<FailbackId, LaidLayers>,
    state: (laid: LaidLayers) => FoundLayers['state'],
  ): readonly FoundLayers[] =>
    [...all.values()]
      .filter((laid) => laid.replicaId === replicaId)
      .map((laid) => ({ failbackId: laid.id, vmId: laid.vmId, state: state(laid) }));
  return {
    epoch: epochs.get(replicaId) ?? 0,
    failbacks: [...told(failbacks, stateOf), ...told(committedFailbacks, () => 'committed')],
  };
}

function stateOf({ isAttached, isCommitting }: LaidLayers): FoundLayers['state'] {
  if (isCommitting) return 'committing';
  return isAttached ? 'attached' : 'laid';
}
