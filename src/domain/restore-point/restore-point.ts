/** A restore point: one instant of a VM's disks and definition, complete at the target, ready to run. */
import type { DiskKey, LayerId, MarkName, PointId, ReplicaId } from '../ids.ts';
import { type Instant, instant } from '../instant.ts';
import type { TransferKind } from '../replication/transfer.ts';
import type { VmDescription } from '../vm/vm.ts';

/** `application`: the guest agent had flushed and frozen its file systems. */
export type Consistency = 'crash' | 'application';

export type PointDisk = {
  readonly key: DiskKey;
  readonly sizeBytes: number;
  /** The newest layer of this disk's chain at this point. */
  readonly layerId: LayerId;
  readonly transfer: TransferKind;
  /** Why it was transferred like that: a sentence part after "because". */
  readonly because: string;
  readonly sentBytes: number;
  /** Hex root of docs/formats/hash-table.md. */
  readonly rootHash: string;
  /** The mark from which the next delta can start, null where the disk does not track changes. */
  readonly mark: MarkName | null;
};

export type RestorePoint = {
  readonly id: PointId;
  readonly replicaId: ReplicaId;
  /** The instant of the source's disks, by the source host's clock. */
  readonly takenAt: Instant;
  /** When it became complete at the target; grows along the chain. */
  readonly sealedAt: Instant;
  readonly consistency: Consistency;
  readonly disks: readonly PointDisk[];
  readonly rootHash: string;
  readonly vm: VmDescription;
  /** A pinned point is never retired by retention. */
  readonly isPinned: boolean;
};

/**
 * Newest last, by the order of sealing, which `nextSealedAt` keeps that of the chain whatever a clock does; an instant
 * of the source's clock may well lie before its predecessor's.
 */
export function comparePoints(a: RestorePoint, b: RestorePoint): number {
  return (
    a.sealedAt - b.sealedAt || a.takenAt - b.takenAt || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
  );
}

/** When a point that follows `newest` counts as sealed: now, or just after it where the clock went back. */
export function nextSealedAt(newest: RestorePoint | null, now: Instant): Instant {
  return newest === null ? now : instant(Math.max(now, newest.sealedAt + 1));
}
