/**
 * The state that a replica was shut down with, as a restore point over the one it had failed over to: copied from its
 * branch into a layer like any other, hashed on the way, and published by the same rename.
 */
import { UnderstudyError } from '../domain/error.ts';
import type { SwitchoverRecord } from '../domain/failover/failback.ts';
import type { OperationKey, VmId } from '../domain/ids.ts';
import { nextSealedAt, type RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { OpenPartialDisk, ReadableDisk } from '../ports/replica-store.ts';
import type { Failback } from './failback-facts.ts';
import { markOfPoint } from './kept-marks.ts';
import type { MovedDisk } from './move-blocks.ts';
import { servingBranch } from './park-replica.ts';
import { whileRegistered } from './registered-reading.ts';
import { partialTemporary } from './temporaries.ts';

/**
 * Null: the restore point that it went on from is gone, as after a repair that found it damaged. What is read through what is
 * left of it may not be what production has, and no later delta would find out.
 */
export async function sealBranch(
  context: OperationContext,
  failback: Failback,
  switched: SwitchoverRecord,
  vmId: VmId,
): Promise<RestorePoint | null> {
  const known = await findSealed(context, failback, switched);
  if (known !== null) return known;
  if (!(await hasBase(context, failback))) return null;
  const { home, replica, target } = failback;
  const partial = await registerPartial(context, failback, switched);
  const moved = await whileRegistered(context, { name: 'copy-state', replica }, () =>
    copyState(context, failback, switched),
  );
  const sealedAt = nextSealedAt(failback.newest, await context.now('sealed-at'));
  const sealed = await context.step<RestorePoint>('seal-state', {
    do: async ({ key, signal }) => {
      const vm = await home.hypervisor.vm(vmId, { signal });
      const { sidecars } = await servingBranch(failback, { key, signal }); // what the switchover left beside it
      return target.store.sealPartial(
        {
          key,
          replicaId: replica.id,
          epoch: replica.epoch,
          point: {
            id: switched.pointId,
            takenAt: switched.takenAt,
            sealedAt,
            // It was shut down: its guest had closed its file systems.
            consistency: 'application',
            disks: moved,
            vm,
            isPinned: false,
          },
          sidecars,
        },
        { signal },
      );
    },
    undo: 'irreversible',
  });
  await context.record('release-partial', [{ type: 'temporary-released', key: partial }], {
    undo: 'nothing',
  });
  return sealed;
}

/** A commit that is given up half-way leaves it to the sweeper. */
async function registerPartial(
  context: OperationContext,
  { replica }: Failback,
  { pointId }: SwitchoverRecord,
): Promise<OperationKey> {
  const temporary = partialTemporary(
    context.operationId,
    replica,
    pointId,
    await context.now('partial-at'),
  );
  const { key } = temporary;
  await context.record('register-partial', [{ type: 'temporary-registered', temporary }], {
    undo: [{ type: 'temporary-released', key }],
  });
  return key;
}

/** A commit that never heard of its seal was given up; the point is there, and production still is what it says. */
function findSealed(
  context: OperationContext,
  { replica, target }: Failback,
  { pointId }: SwitchoverRecord,
): Promise<RestorePoint | null> {
  return context.step<RestorePoint | null>('find-sealed-state', {
    do: async ({ signal }) => {
      const there = await target.store.points(replica.id, { signal });
      return there.find(({ id }) => id === pointId) ?? null;
    },
    undo: 'nothing',
  });
}

function hasBase(
  context: OperationContext,
  { replica, failover, catalog }: Failback,
): Promise<boolean> {
  return context.step<boolean>('look-for-base', {
    do: async () => (await catalog.points(replica.id)).some(({ id }) => id === failover.pointId),
    undo: 'nothing',
  });
}

function copyState(
  context: OperationContext,
  failback: Failback,
  switched: SwitchoverRecord,
): Promise<readonly MovedDisk[]> {
  const { replica, target } = failback;
  return context.step<readonly MovedDisk[]>('copy-state', {
    do: async (attempt) => {
      const { key, signal } = attempt;
      const command = { key, replicaId: replica.id, epoch: replica.epoch };
      const of = { branchId: failback.failover.branchId };
      const branch = await target.store.openReading({ ...command, of }, { signal });
      try {
        return await copyDisks(context, { failback, switched, branch, attempt });
      } finally {
        await target.store.closeReading(command, { signal: new AbortController().signal });
      }
    },
    undo: async ({ key, signal }) => {
      const command = { key, replicaId: replica.id, epoch: replica.epoch };
      await target.store.closeReading(command, { signal });
      await target.store.discardPartial({ ...command, pointId: switched.pointId }, { signal });
    },
  });
}

type Copy = {
  readonly failback: Failback;
  readonly switched: SwitchoverRecord;
  readonly branch: readonly ReadableDisk[];
  readonly attempt: StepAttempt;
};

async function copyDisks(context: OperationContext, copy: Copy): Promise<readonly MovedDisk[]> {
  const { failback, switched, branch, attempt } = copy;
  const { replica, target, failover, catalog } = failback;
  const below = (await catalog.points(replica.id)).find(({ id }) => id === failover.pointId);
  if (below === undefined) {
    throw new UnderstudyError('point-missing', { replica: replica.name, point: failover.pointId });
  }
  const isOver = ({ key }: ReadableDisk) => below.disks.some((disk) => disk.key === key);
  const partial = await target.store.openPartial(
    {
      key: attempt.key,
      replicaId: replica.id,
      epoch: replica.epoch,
      pointId: switched.pointId,
      parentPointId: failover.pointId,
      mayBranchOff: true,
      disks: branch.map((disk) => ({
        key: disk.key,
        sizeBytes: disk.sizeBytes,
        base: isOver(disk) ? 'parent' : 'none',
        wantsKnownHashes: isOver(disk) && disk.extents.type === 'allocated',
      })),
    },
    attempt,
  );
  const moved: MovedDisk[] = [];
  for (const disk of branch) {
    const layer = partial.find(({ key }) => key === disk.key);
    if (layer === undefined) throw new Error(`no partial layer for ${disk.key}`);
    moved.push(await copyDisk(context, copy, { disk, layer, isOver: isOver(disk) }));
  }
  return moved;
}

async function copyDisk(
  context: OperationContext,
  { failback, switched, attempt }: Copy,
  {
    disk,
    layer,
    isOver,
  }: {
    readonly disk: ReadableDisk;
    readonly layer: OpenPartialDisk;
    readonly isOver: boolean;
  },
): Promise<MovedDisk> {
  const result = await failback.mover.transfer(
    {
      key: attempt.key,
      source: disk.endpoint,
      target: layer.target,
      sizeBytes: disk.sizeBytes,
      extents: isOver ? disk.extents : { type: 'allocated' },
      targetReads: isOver ? 'parent' : 'zeros',
      knownHashesPath: layer.knownHashesPath,
      recordsPath: layer.recordsPath,
      bytesPerSecondMax: null,
    },
    {
      signal: attempt.signal,
      onProgress: (progress) => context.progress({ ...progress, step: 'copy-state' }),
    },
  );
  const isTracked = switched.trackedDisks.includes(disk.key);
  return {
    key: disk.key,
    sizeBytes: disk.sizeBytes,
    transfer: 'incremental',
    because: 'it is what the replica wrote in its failover',
    sentBytes: result.sentBytes,
    mark: isTracked ? markOfPoint(switched.pointId) : null,
  };
}
