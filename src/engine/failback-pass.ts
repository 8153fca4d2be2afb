/** A pass of a failback from the freeze to its record's mark: registered, frozen, copied, ended. */
import { extendLayers, type FailbackHome, type LayerPlan } from '../domain/failover/failback.ts';
import { type FailbackId, type MarkName, operationKey } from '../domain/ids.ts';
import type { OperationContext } from '../ports/durable.ts';
import type { HostPorts } from '../ports/host-directory.ts';
import type { FrozenPoint } from '../ports/point-source.ts';
import { copyHome, freezeReplica, type Pass, sweepReplicaMarks } from './copy-home.ts';
import { type FailbackFacts, markOfPass } from './failback-facts.ts';
import { unpark } from './park-replica.ts';
import { orLeaveToSweeper, PATIENCE_MS, replicaFreezeTemporary } from './temporaries.ts';

export type PassOrder = {
  readonly facts: FailbackFacts;
  readonly home: HostPorts;
  readonly homeVmId: FailbackHome['vmId'];
  readonly failbackId: FailbackId;
  readonly layers: readonly LayerPlan[];
  readonly number: number;
  readonly since: MarkName | null;
};

export type Moved = {
  readonly mark: MarkName;
  readonly sentBytes: number;
  readonly frozen: FrozenPoint;
  /** With those of disks that the replica has got since. */
  readonly layers: readonly LayerPlan[];
};

/** The freeze holds on until `endPass`, for what else is to be read of this instant. */
export async function beginPass(
  context: OperationContext,
  order: PassOrder,
): Promise<Moved & { readonly pass: Pass }> {
  const { facts, failbackId, number } = order;
  const mark = markOfPass(failbackId, number);
  const pass = { ...order, freezeKey: operationKey(context.operationId, `freeze-${mark}`) };
  const now = await context.now('pass-at');
  const temporary = replicaFreezeTemporary(pass.freezeKey, facts.replica, now);
  await context.record('register-freeze', [{ type: 'temporary-registered', temporary }], {
    undo: 'nothing',
  });
  if (number > 1 && pass.since === null) await takeUpReplica(context, facts);
  const frozen = await freezeReplica(context, pass);
  const { sentBytes } = await copyHome(context, pass, frozen);
  return { pass, mark, sentBytes, frozen, layers: extendLayers(order.layers, frozen.disks) };
}

/**
 * Of a failback that was found when the catalogue was rebuilt, nobody knows the passes: their marks must not be taken for ours. And
 * a switchover that was cut off may have parked the replica.
 */
async function takeUpReplica(context: OperationContext, facts: FailbackFacts): Promise<void> {
  await context.step<null>('take-up-replica', {
    do: async ({ key, signal }) => {
      await unpark(facts, { key, signal });
      await sweepReplicaMarks(facts, null, { signal });
      return null;
    },
    undo: 'nothing',
  });
}

/** What cannot be tidied now is registered, and the sweeper comes back for it. */
export async function endPass(
  context: OperationContext,
  { facts, freezeKey, number, failbackId }: Pass,
): Promise<void> {
  const { target, clock, replicaVmId } = facts;
  const isTidy = await context.step<boolean>('end-freeze', {
    do: ({ signal }) =>
      orLeaveToSweeper({ clock, patienceMs: PATIENCE_MS, signal }, async (options) => {
        await target.pointSource.end({ key: freezeKey, vmId: replicaVmId }, options);
        await sweepReplicaMarks(facts, markOfPass(failbackId, number), options);
      }),
    undo: 'nothing',
  });
  if (!isTidy) return;
  await context.record('release-freeze', [{ type: 'temporary-released', key: freezeKey }], {
    undo: 'nothing',
  });
}
