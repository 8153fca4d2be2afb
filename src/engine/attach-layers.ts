/** The part of a switchover that makes production ready to start: its definition on the working layers, told to the target before. */
import { switchoverChanges } from '../domain/failover/failback.ts';
import { type PointId, pointId, type VmId } from '../domain/ids.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { ConfigurationChange } from '../domain/vm/configuration-change.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { OperationContext } from '../ports/durable.ts';
import { type Failback, layersCommand } from './failback-facts.ts';
import type { Moved } from './failback-pass.ts';
import { flagOrNullIn } from './input.ts';
import { markOfPoint } from './kept-marks.ts';
import { tellTarget } from './tell-target.ts';

export type Attached = {
  readonly vmId: VmId;
  readonly pointId: PointId;
  readonly changes: readonly ConfigurationChange[];
  /** False: what the target was to be told is still to be told. */
  readonly isTold: boolean;
};

/** Production on its working layers, not started yet. */
export async function attachLayers(
  context: OperationContext,
  failback: Failback,
  moved: Moved,
  input: Json,
): Promise<Attached> {
  const { home, replica, settings } = failback;
  const appliesChanges = flagOrNullIn(input, 'appliesChanges') ?? failback.failback.appliesChanges;
  const { home: to } = failback.failback;
  const id = pointId(await context.freshId('point-id', 'pt'));
  const own = await lookAtProduction(context, failback);
  const { takenAt, sidecars } = moved.frozen;
  const changes =
    own === null ? [] : switchoverChanges(moved.layers, own, moved.frozen.vm, appliesChanges);
  const switched = { pointId: id, takenAt, changes };
  const told = { ...failback.failback, layers: moved.layers, switched };
  const isTold = await tellTarget(context, failback, { told, sidecars });
  const vmId = await context.step<VmId>('attach-layers', {
    do: ({ key, signal }) =>
      home.productionDisks.attach(
        {
          ...layersCommand(failback.failback, replica, key),
          mark: markOfPoint(id),
          changes,
          sidecars,
          newVm:
            to.vmId === null
              ? {
                  name: to.name,
                  template: moved.frozen.vm,
                  networkMap: reversed(settings.networkMap),
                }
              : null,
        },
        { signal },
      ),
    undo: ({ key, signal }) =>
      home.productionDisks.park(layersCommand(failback.failback, replica, key), { signal }),
  });
  return { vmId, pointId: id, changes, isTold };
}

/**
 * As it is defined now; null: it is to be made. A step of its own: what a host that has died was never asked to do needs no
 * undoing there, so that the replica starts again at once.
 */
function lookAtProduction(
  context: OperationContext,
  { home, failback }: Failback,
): Promise<VmDescription | null> {
  const { vmId } = failback.home;
  return context.step<VmDescription | null>('look-at-production', {
    do: async ({ signal }) => {
      if (vmId !== null) return home.hypervisor.vm(vmId, { signal });
      await home.hypervisor.vms({ signal });
      return null;
    },
    undo: 'nothing',
  });
}

/** What the replica's networks are called where it came from. */
function reversed(
  networkMap: Readonly<Record<string, string | null>>,
): Readonly<Record<string, string | null>> {
  const pairs = Object.entries(networkMap).flatMap(([source, target]) =>
    target === null ? [] : [[target, source] as const],
  );
  return Object.fromEntries(pairs);
}
