/**
 * Moves the blocks of a frozen instant into partial layers at the target, while the freeze and the target's room are watched:
 * when scratch runs low, or the target, the transfer is stopped, never the guest.
 */
import type { DiskKey } from '../domain/ids.ts';
import type { TransferPlan } from '../domain/replication/transfer.ts';
import type { PointDisk } from '../domain/restore-point/restore-point.ts';
import type { OperationContext, StepAttempt, UndoAttempt } from '../ports/durable.ts';
import type { Sidecar } from '../ports/hypervisor.ts';
import type { TransferProgress, TransferRequest, TransferResult } from '../ports/mover.ts';
import type { FrozenDisk, FrozenPoint } from '../ports/point-source.ts';
import type { OpenPartialDisk } from '../ports/replica-store.ts';
import { discardPartial } from './discard-partial.ts';
import type { EnginePorts } from './engine-ports.ts';
import { listing } from './find-points.ts';
import { plansFor, type Run } from './make-point.ts';
import { readFacts } from './replica-facts.ts';
import { nameFullStorage, whileRoomLasts } from './storage-room.ts';
import { orLeaveToSweeper } from './temporaries.ts';
import { endFreeze, type HeldFreeze, whileFrozen } from './while-frozen.ts';

/** A storage daemon may need a while to let go of what it was writing, and the target is not what was lost. */
const DISCARD_PATIENCE_MS = 20_000;

/** A disk of the point to be, complete but for what the store adds. */
export type MovedDisk = Omit<PointDisk, 'layerId' | 'rootHash'>;

type Move = Run & { readonly frozen: FrozenPoint; readonly seeded: readonly DiskKey[] };

export function moveBlocks(
  ports: EnginePorts,
  context: OperationContext,
  move: Move,
): Promise<readonly MovedDisk[]> {
  const plans = plansFor(move);
  return context.step<readonly MovedDisk[]>('move-blocks', {
    do: (started) =>
      whileFrozen(freezeOf(move), started.signal, (frozen) =>
        whileRoomLasts(ports, move, frozen, async (signal) => {
          const attempt = { ...started, signal };
          const partial = await openPartial(move, plans, attempt);
          return transferAll(ports, context, { move, plans, partial, attempt });
        }),
      ),
    undo: async (attempt) => {
      // First: from here on nobody watches scratch, and the target may take minutes to let go of the partial.
      await endFreeze(freezeOf(move), attempt.signal);
      const { signal } = attempt;
      const tidying = { clock: move.clock, patienceMs: DISCARD_PATIENCE_MS, signal };
      await orLeaveToSweeper(tidying, (options) => leavePartial(move, { ...attempt, ...options }));
    },
  });
}

/** Once the store has said what became of it nothing is left to sweep. */
async function leavePartial(
  { catalog, replica, target, pointId, temporaries }: Move,
  attempt: UndoAttempt,
): Promise<void> {
  const { id: replicaId, epoch } = replica;
  const { key, note } = attempt;
  const command = { key, replicaId, epoch, pointId };
  const of = { catalog, replica, store: target.store };
  const sealed = await discardPartial(of, command, attempt);
  const found = sealed === null ? [] : [sealed];
  const { changes } = listing(await readFacts({ catalog }, replicaId), found);
  await catalog.apply([temporaries.partialReleased, ...changes]);
  if (sealed !== null) note(`The restore point ${pointId} is sealed, and kept.`);
}

/** They are files of the freeze, which goes before the point is sealed. */
export async function stageSidecars(
  context: OperationContext,
  move: Move,
): Promise<readonly Sidecar[]> {
  const { replica, pointId, frozen, target } = move;
  const { sidecars } = frozen;
  if (sidecars.length === 0) return [];
  return context.step<readonly Sidecar[]>('stage-sidecars', {
    do: ({ key, signal: started }) =>
      whileFrozen(freezeOf(move), started, (signal) => {
        const command = { key, replicaId: replica.id, epoch: replica.epoch, pointId };
        return target.store.stageSidecars({ ...command, sidecars }, { signal });
      }),
    undo: 'nothing',
  });
}

function freezeOf({ temporaries, replica, source, settings, frozen, clock }: Move): HeldFreeze {
  const command = { key: temporaries.freezeKey, vmId: replica.sourceVmId };
  const { pointSource } = source;
  return { command, pointSource, scratch: settings.scratch, frozenAt: frozen.takenAt, clock };
}

function openPartial(
  move: Move,
  plans: readonly TransferPlan[],
  { key, signal }: StepAttempt,
): Promise<readonly OpenPartialDisk[]> {
  const disks = plans.map((plan, index) => ({
    key: plan.key,
    sizeBytes: move.frozen.disks[index]?.sizeBytes ?? 0,
    base: plan.base,
    wantsKnownHashes: plan.kind === 'resync',
  }));
  const { id, epoch } = move.replica;
  return move.target.store.openPartial(
    {
      key,
      replicaId: id,
      epoch,
      pointId: move.pointId,
      parentPointId: move.newest?.id ?? null,
      disks,
    },
    { signal },
  );
}

type Transfers = {
  readonly move: Move;
  readonly plans: readonly TransferPlan[];
  readonly partial: readonly OpenPartialDisk[];
  readonly attempt: StepAttempt;
};

/** One disk after the other: a transfer already uses every core, and two would only share them. */
async function transferAll(
  ports: EnginePorts,
  context: OperationContext,
  transfers: Transfers,
): Promise<readonly MovedDisk[]> {
  const moved: MovedDisk[] = [];
  const report = progressOf(context, 'move-blocks', transfers.plans.length);
  for (const [index, plan] of transfers.plans.entries()) {
    const frozen = transfers.move.frozen.disks[index];
    const target = transfers.partial.find((disk) => disk.key === plan.key);
    if (frozen === undefined || target === undefined)
      throw new Error(`no partial layer for ${plan.key}`);
    const request = transferRequest(transfers, plan, frozen, target);
    const options = { signal: transfers.attempt.signal, onProgress: report(index) };
    const result = await ports.mover
      .transfer(request, options)
      .catch((error: unknown) => nameFullStorage(ports, transfers.move, error));
    moved.push(movedDisk(plan, frozen, result));
  }
  return moved;
}

function transferRequest(
  { move, attempt }: Transfers,
  plan: TransferPlan,
  frozen: FrozenDisk,
  target: OpenPartialDisk,
): TransferRequest {
  return {
    key: attempt.key,
    source: frozen.endpoint,
    target: target.target,
    sizeBytes: frozen.sizeBytes,
    extents: plan.kind === 'incremental' ? frozen.extents : { type: 'allocated' },
    targetReads: plan.base === 'none' ? 'zeros' : 'parent',
    knownHashesPath: target.knownHashesPath,
    recordsPath: target.recordsPath,
    bytesPerSecondMax: move.settings.bytesPerSecondMax,
  };
}

function movedDisk(plan: TransferPlan, frozen: FrozenDisk, result: TransferResult): MovedDisk {
  return {
    key: plan.key,
    sizeBytes: frozen.sizeBytes,
    transfer: plan.kind,
    because: plan.because,
    sentBytes: result.sentBytes,
    mark: frozen.mark,
  };
}

/** Progress of all disks together, as far as their totals are known. */
export function progressOf(context: OperationContext, step: string, diskCount: number) {
  const done = new Array<number>(diskCount).fill(0);
  const total = new Array<number>(diskCount).fill(0);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  return (index: number): ((progress: TransferProgress) => void) =>
    ({ doneBytes, totalBytes, bytesPerSecond, remainingMs }) => {
      done[index] = doneBytes;
      total[index] = totalBytes;
      context.progress({
        step,
        doneBytes: sum(done),
        totalBytes: sum(total),
        bytesPerSecond,
        remainingMs,
      });
    };
}
