/**
 * What to transfer for one disk, and why. The table of docs/concepts/incremental.md as a function: the
 * reason is recorded in the point, so that "why full?" is always answered.
 */
import type { DiskKey, MarkName } from '../ids.ts';

export type TransferKind = 'full' | 'incremental' | 'resync';

/** How the frozen source can tell which blocks matter. */
export type FoundExtents =
  /** Blocks changed since the named mark. */
  | { readonly type: 'changed'; readonly since: MarkName }
  /** Only what is allocated; `markLostBecause` is null when no mark was asked for. */
  | { readonly type: 'allocated'; readonly markLostBecause: string | null };

export type SourceDiskAtFreeze = {
  readonly key: DiskKey;
  readonly sizeBytes: number;
  readonly tracksChanges: boolean;
  readonly found: FoundExtents;
};

/** What the newest restore point holds of the same disk. */
export type DiskInNewestPoint = { readonly sizeBytes: number; readonly mark: MarkName | null };

export type TransferPlan = {
  readonly key: DiskKey;
  readonly kind: TransferKind;
  /** A sentence part after "because". */
  readonly because: string;
  /** `parent`: a layer over the newest point's; `none`: a new base; `seed`: one that holds a copy of the seed already. */
  readonly base: 'parent' | 'none' | 'seed';
};

/**
 * The whole decision. `newest` is null when there is no point, or the newest has no such disk. `seededFrom`: the name of what
 * was copied into the new base beforehand.
 */
export function planTransfer(
  source: SourceDiskAtFreeze,
  newest: DiskInNewestPoint | null,
  hasAnyPoint: boolean,
  seededFrom: string | null = null,
): TransferPlan {
  const plan = (kind: TransferKind, because: string): TransferPlan => ({
    key: source.key,
    kind,
    because,
    base: kind === 'full' ? 'none' : 'parent',
  });
  if (newest === null && seededFrom !== null) {
    return { ...plan('resync', `it was seeded from ${seededFrom}`), base: 'seed' };
  }
  if (newest === null) {
    return plan(
      'full',
      hasAnyPoint ? 'the disk is new in this VM' : 'there is no restore point yet',
    );
  }
  if (source.sizeBytes < newest.sizeBytes) {
    return plan('full', `the disk shrank from ${newest.sizeBytes} to ${source.sizeBytes} bytes`);
  }
  if (source.found.type === 'changed') {
    if (source.found.since === newest.mark) {
      const grown = source.sizeBytes > newest.sizeBytes;
      return plan(
        'incremental',
        grown ? 'its change mark is valid; the disk grew' : 'its change mark is valid',
      );
    }
    return plan(
      'resync',
      `change mark ${source.found.since} does not belong to the newest restore point`,
    );
  }
  if (!source.tracksChanges) return plan('resync', 'the disk does not track changes');
  return plan(
    'resync',
    source.found.markLostBecause ?? 'the newest restore point names no change mark',
  );
}
