/** A difference between what is recorded of a replica and what is there. */
import type { BranchId, LayerId, PointId } from '../ids.ts';

export type FindingKind =
  | 'layer-changed'
  | 'layer-missing'
  | 'point-unreadable'
  | 'partial-left'
  | 'merge-unfinished'
  | 'foreign-file'
  | 'record-missing'
  | 'vm-running'
  | 'vm-missing'
  | 'vm-redefined'
  | 'vm-outdated';

/**
 * What can be done about it:
 *   rehash-layer    read the changed layer again; if its content is unchanged, accept its new identity
 *   drop-points     remove the points that can no longer be read; the newest sound one stays
 *   discard-partial, finish-merge, delete-debris, redefine-vm   as they say
 *   none            a person must decide
 */
export type Repair =
  | 'rehash-layer'
  | 'drop-points'
  | 'discard-partial'
  | 'finish-merge'
  | 'delete-debris'
  | 'redefine-vm'
  | 'none';

export type ReplicaFinding = {
  readonly kind: FindingKind;
  /** Relative path or name of what differs. */
  readonly object: string;
  /** What is recorded and what was found, for people. */
  readonly message: string;
  readonly repair: Repair;
  /** True when nothing may be written to the chain before it is repaired. */
  readonly blocksWrites: boolean;
  readonly layerId: LayerId | null;
  /** Points whose content is in doubt because of it. */
  readonly pointIds: readonly PointId[];
  readonly branchId: BranchId | null;
};

/** What a replica goes on from: a restore point, or archived branches of it that lie over one another. */
export type BasisIds = { readonly pointId: PointId; readonly archiveIds: readonly BranchId[] };

/** Why this restore point, or an archive that goes on from it, cannot be trusted; null when it can. Another one's damage is no reason. */
export function driftOfBasis(
  findings: readonly ReplicaFinding[],
  { pointId, archiveIds }: BasisIds,
): string | null {
  const finding = findings.find(
    ({ blocksWrites, pointIds, branchId }) =>
      (blocksWrites && pointIds.includes(pointId)) ||
      (branchId !== null && archiveIds.includes(branchId)),
  );
  return finding === undefined ? null : `${finding.object}: ${finding.message.replace(/\.$/, '')}`;
}
