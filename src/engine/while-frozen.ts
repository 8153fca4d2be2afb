/** Work on a frozen instant, while the freeze is watched: when scratch runs low the work is stopped, never the guest. */
import { asUnderstudyError } from '../domain/error.ts';
import type { Instant } from '../domain/instant.ts';
import type { ScratchPolicy } from '../domain/job/job.ts';
import type { Clock } from '../ports/clock.ts';
import type { FreezeCommand, PointSource } from '../ports/point-source.ts';
import { orLeaveToSweeper, UNDO_PATIENCE_MS } from './temporaries.ts';

export type HeldFreeze = {
  readonly command: FreezeCommand;
  readonly pointSource: PointSource;
  readonly scratch: ScratchPolicy;
  readonly frozenAt: Instant;
  readonly clock: Clock;
};

/**
 * Runs the work; a freeze in danger aborts it and is the error. A freeze that is given up is ended at once, and it is
 * watched until the work has really stopped: letting go of a target that hangs takes longer than scratch lasts.
 */
export async function whileFrozen<T>(
  held: HeldFreeze,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stopWork = new AbortController();
  const stopWatch = new AbortController();
  const { command, pointSource, scratch, frozenAt } = held;
  const watch = pointSource.watch({ ...command, scratch, frozenAt }, { signal: stopWatch.signal });
  const watched = watch.then(
    () => null,
    async (danger: unknown) => {
      stopWork.abort();
      // What is tried again needs the freeze. Failing here loses nothing: the compensation ends it, too.
      const isFinal = asUnderstudyError(danger).kind !== 'transient';
      if (isFinal) await endFreeze(held, stopWatch.signal).catch(() => undefined);
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

/** Idempotent; where it fails the compensation of the freeze and then the sweeper try again. */
export async function endFreeze(
  { command, pointSource, clock }: HeldFreeze,
  signal: AbortSignal,
): Promise<void> {
  const tidying = { clock, patienceMs: UNDO_PATIENCE_MS, signal };
  await orLeaveToSweeper(tidying, (options) => pointSource.end(command, options));
}
