/**
 * Moves the blocks of a frozen instant into partial layers at the target, while the freeze is watched: when scratch
 * runs low the transfer is stopped, never the guest.
 */
import { asUnderstudyError, UnderstudyError } from '../domain/error.ts';
import type { TransferPlan } from '../domain/replication/transfer.ts';
import type { PointDisk } from '../domain/restore-point/restore-point.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { TransferProgress, TransferRequest, TransferResult } from '../ports/mover.ts';
import type { FrozenDisk, FrozenPoint } from '../ports/point-source.ts';
import type { OpenPartialDisk } from '../ports/replica-store.ts';
import type { EnginePorts } from './engine-ports.ts';
import { plansFor, type Run } from './make-point.ts';
import { orLeaveToSweeper, UNDO_PATIENCE_MS } from './temporaries.ts';

/** A storage daemon may need a while to let go of what it was writing, and the target is not what was lost. */
const DISCARD_PATIENCE_MS = 20_000;

/** A disk of the point to be, complete but for what the store adds. */
export type MovedDisk = Omit<PointDisk, 'layerId' | 'rootHash'>;

type Move = Run & { readonly frozen: FrozenPoint };

export function moveBlocks(
  ports: EnginePorts,
  context: OperationContext,
  move: Move,
): Promise<readonly MovedDisk[]> {
  const plans = plansFor(move.frozen, move.newest);
  const { store } = move.target;
  return context.step<readonly MovedDisk[]>('move-blocks', {
    do: (started) =>
      whileFrozen(move, started.signal, async (signal) => {
        const attempt = { ...started, signal };
        const partial = await openPartial(move, plans, attempt);
        return transferAll(ports, context, { move, plans, partial, attempt });
      }),
    undo: async ({ key, signal }) => {
      // First: from here on nobody watches scratch, and the target may take minutes to let go of the partial.
      await endFreeze(move, signal);
      const { id, epoch } = move.replica;
      const command = { key, replicaId: id, epoch, pointId: move.pointId };
      const tidying = { clock: move.clock, patienceMs: DISCARD_PATIENCE_MS, signal };
      await orLeaveToSweeper(tidying, (options) => store.discardPartial(command, options));
    },
  });
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

/**
 * Runs the work; a freeze in danger aborts it and is the error. A freeze that is given up is ended at once, and it is
 * watched until the work has really stopped: letting go of a target that hangs takes longer than scratch lasts.
 */
async function whileFrozen<T>(
  move: Move,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stopWork = new AbortController();
  const stopWatch = new AbortController();
  const watched = watch(move, stopWatch.signal).then(
    () => null,
    async (danger: unknown) => {
      stopWork.abort();
      // What is tried again needs the freeze. Failing here loses nothing: the compensation ends it, too.
      const isFinal = asUnderstudyError(danger).kind !== 'transient';
      if (isFinal) await endFreeze(move, stopWatch.signal).catch(() => undefined);
      return danger;
    },
  );
  try {
    const result = await work(AbortSignal.any([signal, stopWork.signal]));
    stopWatch.abort();
    await watched;
    return result;
  } catch (error) {
    const isInDanger = stopWork.signal.aborted;
    if (!isInDanger) stopWatch.abort();
    const danger = await watched;
    throw isInDanger ? danger : error;
  }
}

function watch(move: Move, signal: AbortSignal): Promise<void> {
  const { temporaries, replica, settings, frozen } = move;
  const freeze = { key: temporaries.freezeKey, vmId: replica.sourceVmId };
  return move.source.pointSource.watch(
    { ...freeze, scratch: settings.scratch, frozenAt: frozen.takenAt },
    { signal },
  );
}

/** Idempotent; where it fails the compensation of the freeze and then the sweeper try again. */
async function endFreeze(
  { temporaries, replica, source, clock }: Move,
  signal: AbortSignal,
): Promise<void> {
  const freeze = { key: temporaries.freezeKey, vmId: replica.sourceVmId };
  const tidying = { clock, patienceMs: UNDO_PATIENCE_MS, signal };
  await orLeaveToSweeper(tidying, (options) => source.pointSource.end(freeze, options));
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
  const report = progressOf(context, transfers.plans.length);
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

/** The mover knows a full target only by its endpoint, a socket that says nothing to whoever must make room. */
async function nameFullStorage(
  { catalog }: EnginePorts,
  { replica }: Move,
  error: unknown,
): Promise<never> {
  if (!(error instanceof UnderstudyError) || error.code !== 'target-full') throw error;
  const host = await catalog.host(replica.targetHostId);
  if (host === null) throw error;
  const path = `${host.value.storageFolder} of host ${host.value.name}`;
  throw new UnderstudyError('target-full', { path }, error);
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
    target: target.endpoint,
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
function progressOf(context: OperationContext, diskCount: number) {
  const done = new Array<number>(diskCount).fill(0);
  const total = new Array<number>(diskCount).fill(0);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  return (index: number): ((progress: TransferProgress) => void) =>
    ({ doneBytes, totalBytes, bytesPerSecond, remainingMs }) => {
      done[index] = doneBytes;
      total[index] = totalBytes;
      context.progress({
        step: 'move-blocks',
        doneBytes: sum(done),
        totalBytes: sum(total),
        bytesPerSecond,
        remainingMs,
      });
    };
}
