/**
 * How often to replicate a running VM before it is stopped for good: each pass leaves less to do while the VM is down,
 * until the last delta is short enough, or passes stop making it shorter.
 */

/** One replication of the running VM, just done. */
export type Pass = {
  /** From its begin to its point being there. */
  readonly durationMs: number;
  readonly sentBytes: number;
  /** How long the VM had been writing what this pass moved; null for what was written before we looked. */
  readonly coveredMs: number | null;
};

export type CatchUpPolicy = {
  readonly passesMax: number;
  /** The VM is stopped when moving what it will have written is expected to take at most this. */
  readonly lastDeltaMsMax: number;
};

export type CatchUp = {
  readonly isEnough: boolean;
  /** Expected time of moving the last delta; null while nothing can be told. */
  readonly lastDeltaMs: number | null;
  /** A sentence part after "because". */
  readonly because: string;
};

/** Below this much less than before, another pass is in vain. */
const WORTHWHILE = 0.8;

/** `passes`: oldest first. */
export function decideCatchUp(passes: readonly Pass[], policy: CatchUpPolicy): CatchUp {
  const lastDeltaMs = predictLastDelta(passes);
  const enough = (because: string): CatchUp => ({ isEnough: true, lastDeltaMs, because });
  if (lastDeltaMs !== null && lastDeltaMs <= policy.lastDeltaMsMax) {
    return enough(`the last delta is expected to take ${seconds(lastDeltaMs)}`);
  }
  if (passes.length >= policy.passesMax) {
    return enough(`${passes.length} passes are the limit`);
  }
  const [before, last] = passes.slice(-2);
  if (before !== undefined && last !== undefined) {
    if (last.durationMs > before.durationMs * WORTHWHILE) {
      return enough('the VM writes as fast as a pass can follow, so another would not help');
    }
  }
  const because =
    lastDeltaMs === null
      ? 'how fast the VM writes is not known yet'
      : `the last delta would take ${seconds(lastDeltaMs)}`;
  return { isEnough: false, lastDeltaMs, because };
}

/** What a run of a VM costs that wrote nothing (docs/benchmarks.md). */
const RUN_MS = 600;

/**
 * What the VM writes while a pass takes `durationMs` is that part of what it wrote in `coveredMs`, and moves as fast as
 * the pass did.
 */
function predictLastDelta(passes: readonly Pass[]): number | null {
  const last = passes.at(-1);
  if (last === undefined) return null;
  const { durationMs, sentBytes, coveredMs } = last;
  if (sentBytes === 0) return RUN_MS;
  if (coveredMs === null || coveredMs <= 0) return null;
  return Math.round(Math.max(RUN_MS, (durationMs * durationMs) / coveredMs));
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
