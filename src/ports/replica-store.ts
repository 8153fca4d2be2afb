import type { BlockSet } from '../domain/disk/block-set.ts';
import type { StorageRoom } from '../domain/host/storage-room.ts';
import type {
  BranchId,
  DiskKey,
  LayerId,
  MarkName,
  OperationKey,
  PointId,
  ReplicaId,
} from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { ReplicaFinding } from '../domain/replica/finding.ts';
import type { PointDisk, RestorePoint } from '../domain/restore-point/restore-point.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { CallOptions } from './call.ts';
import type { ExportCommand, ExportedFiles, OpenExportDisk } from './export-files.ts';
import type { Sidecar } from './hypervisor.ts';
import type { BlockEndpoint, ExtentSelection, TransferTarget } from './mover.ts';

/** Every command that changes a replica's files. An epoch lower than the highest one seen: `epoch-refused`. */
export type StoreCommand = {
  readonly key: OperationKey;
  readonly replicaId: ReplicaId;
  readonly epoch: number;
};

export type OpenPartialRequest = StoreCommand & {
  readonly pointId: PointId;
  /** The point that layers with base `parent` lie over; null for the first point. */
  readonly parentPointId: PointId | null;
  /** Without it `parent-not-newest` unless the parent is the newest point; what a failback brings may lie beside newer ones. */
  readonly mayBranchOff?: true;
  readonly disks: readonly {
    readonly key: DiskKey;
    readonly sizeBytes: number;
    /** `seed`: a new base that holds what `settlePartial` left in it; `verification-failed` where it does not. */
    readonly base: 'parent' | 'none' | 'seed';
    /** Whether a hash table of what the layer reads now is needed (for a resync). */
    readonly wantsKnownHashes: boolean;
  }[];
};

export type OpenPartialDisk = {
  readonly key: DiskKey;
  readonly layerId: LayerId;
  readonly target: TransferTarget;
  /** Where the mover must leave the record spool. */
  readonly recordsPath: string;
  readonly knownHashesPath: string | null;
};

/** A point before the store completes it with layers and hashes. */
export type UnsealedPoint = Omit<RestorePoint, 'disks' | 'rootHash' | 'replicaId'> & {
  readonly disks: readonly Omit<PointDisk, 'layerId' | 'rootHash'>[];
};

export type BranchDisk = { readonly key: DiskKey; readonly path: string; readonly format: 'qcow2' };

/** A branch as its folder says it is. */
export type StoredBranch = {
  readonly id: BranchId;
  readonly pointId: PointId;
  /** The archived branch that it lies over; null: its point itself. */
  readonly overBranchId: BranchId | null;
  /** The instant of its point, and the VM as it was then; null where an older version made the branch. */
  readonly takenAt: Instant | null;
  readonly vm: VmDescription | null;
  /** `active`: its VM runs or may be started. `archived`: read-only. `promoted`: the VM's own disks for good. */
  readonly state: 'active' | 'archived' | 'promoted';
  readonly keepUntil: Instant | null;
  /** What was last given to `createBranch` or `noteBranch`; null when nothing was. */
  readonly about: Json;
  readonly disks: readonly {
    readonly key: DiskKey;
    readonly path: string;
    readonly sizeBytes: number;
  }[];
};

/** What a branch's disk has over what it lies over, in whole blocks of 64 KiB. */
export type BranchWrites = {
  readonly key: DiskKey;
  readonly sizeBytes: number;
  readonly writtenBytes: number;
  /** Made zero, which takes no room. */
  readonly zeroedBytes: number;
  readonly rangeCount: number;
  /** Ascending; at most the first 10,000. */
  readonly ranges: readonly {
    readonly offset: number;
    readonly length: number;
    readonly isZero: boolean;
  }[];
};

export type FoundReplica = {
  readonly replicaId: ReplicaId;
  /** Its id where the record cannot be read. */
  readonly name: string;
  readonly epoch: number;
  /** What was last given to `createReplica`; null when nothing was. */
  readonly about: Json;
  /** The record cannot be read, or is gone although there are restore points: `inspect` says more. */
  readonly isDamaged: boolean;
};

/** An image file that may seed a replica's disk. */
export type SeedImage = {
  readonly key: DiskKey;
  /** Absolute. */
  readonly path: string;
  /**
   * What a VM's definition calls it: it may stand on other images then. Null: what its content says; a file that somebody
   * brought must stand alone.
   */
  readonly format: 'qcow2' | 'raw' | null;
};

export type SeedDisk = {
  readonly key: DiskKey;
  readonly format: 'qcow2' | 'raw' | 'vhdx';
  readonly sizeBytes: number;
};

export type ReadableDisk = {
  readonly key: DiskKey;
  readonly sizeBytes: number;
  readonly endpoint: BlockEndpoint;
  /** Complete hash table of the point; null for a branch, whose content has no recorded hashes. */
  readonly hashesPath: string | null;
  /**
   * Of a branch: what was written to it since its point, as its mark tells or, where that is lost, its own files. Of
   * a point, and of a branch over an archived one that has no mark to tell: what is allocated in the whole chain.
   */
  readonly extents: ExtentSelection;
};

/**
 * The chains of replicas in one host's storage folder. All commands are idempotent and may be repeated
 * after a crash. Before every write the identity of every layer that matters is compared with the record:
 * `replica-drifted` on a difference. A full disk is `target-full` and leaves every sealed point intact.
 */
export interface ReplicaStore {
  /**
   * Makes the replica's folder and record; an existing one of the same id is success. `about` is kept as it is, for a
   * controller that knows nothing any more; left out, what is there stays.
   */
  createReplica(
    command: StoreCommand & { readonly name: string; readonly about?: Json },
    options: CallOptions,
  ): Promise<void>;

  /** Remembers the epoch as the highest seen; from then on lower ones are refused. */
  raiseEpoch(command: StoreCommand, options: CallOptions): Promise<void>;

  /** The highest epoch seen; null where there is no such replica. Waits for no other command. Throws `invalid-file`. */
  epoch(replicaId: ReplicaId, options: CallOptions): Promise<number | null>;

  /**
   * Makes (or finds) the partial layers of a point to come and serves them for writing. Addresses change from call to
   * call. A flush there orders writes, no more: `sealPartial` is what makes them durable.
   */
  openPartial(
    request: OpenPartialRequest,
    options: CallOptions,
  ): Promise<readonly OpenPartialDisk[]>;

  /**
   * What was written to the partial's layers and recorded so far becomes what they begin with: `openPartial` with base `seed`
   * answers its hashes, and the seal counts it in. Repeatable; what was settled stays so until the partial is discarded.
   */
  settlePartial(
    command: StoreCommand & { readonly pointId: PointId },
    options: CallOptions,
  ): Promise<void>;

  /**
   * Stops serving, makes everything durable, computes the hash tables and roots, and publishes the point by
   * one rename: that is the moment it exists. A point that is already there is the answer. Throws `verification-failed`
   * when the host was started anew since the partial was opened.
   * `targetReads` of the transfer is known from `base`. Copies the sidecars beside the point.
   */
  sealPartial(
    command: StoreCommand & {
      readonly point: UnsealedPoint;
      readonly sidecars: readonly Sidecar[];
    },
    options: CallOptions,
  ): Promise<RestorePoint>;

  /**
   * Copies sidecars to where the partial point is, because what they were read from goes with the end of a freeze. The
   * answer is where they are then, for `sealPartial`; they go with the partial. A point that is sealed already has its own.
   */
  stageSidecars(
    command: StoreCommand & { readonly pointId: PointId; readonly sidecars: readonly Sidecar[] },
    options: CallOptions,
  ): Promise<readonly Sidecar[]>;

  /** Stops serving and removes everything of an unsealed point. A sealed point is left alone, and is the answer; else null. */
  discardPartial(
    command: StoreCommand & { readonly pointId: PointId },
    options: CallOptions,
  ): Promise<RestorePoint | null>;

  /** What is on disk, oldest first; verified for consistency with replica.json, not hashed. */
  points(replicaId: ReplicaId, options: CallOptions): Promise<readonly RestorePoint[]>;

  /** Replicas found in the storage folder. */
  replicas(options: CallOptions): Promise<readonly FoundReplica[]>;

  /**
   * Takes the point away: from the first moment it is not listed; then its layer is merged where that is safe, else
   * it stays hidden until it is. Never changes what another point or branch reads. A missing point is success.
   */
  retirePoint(
    command: StoreCommand & { readonly pointId: PointId },
    options: CallOptions,
  ): Promise<void>;

  /** Finishes interrupted merges and hidden layers that can go now. */
  tidy(command: StoreCommand, options: CallOptions): Promise<void>;

  /** Where the disks of a replica at rest would be: these files never exist, so it cannot be started by hand. */
  restingDisks(replicaId: ReplicaId, disks: readonly DiskKey[]): readonly BranchDisk[];

  /**
   * Writable layers over a point, or over an archived branch of it, which stays as it is and cannot be deleted while
   * they are there. An existing branch of the same id and point is the answer. `mark`: a change mark set on every disk
   * before anything is written, so that a failback knows what the branch holds beyond its point: over an archived branch
   * it begins with what that one's mark has, and is not set where that one has none.
   */
  createBranch(
    command: StoreCommand & {
      readonly branchId: BranchId;
      readonly pointId: PointId;
      readonly archiveId?: BranchId | null;
      /** Also over layers and archives that were changed, for as long as they are there: a person said that it must be. */
      readonly acceptsDrift?: boolean;
      readonly mark?: MarkName;
      readonly about?: Json;
    },
    options: CallOptions,
  ): Promise<{ readonly disks: readonly BranchDisk[]; readonly sidecars: readonly Sidecar[] }>;

  /** Keeps this with the branch, in place of what was, for a controller that knows nothing any more. Throws `branch-missing`. */
  noteBranch(
    command: StoreCommand & { readonly branchId: BranchId; readonly about: Json },
    options: CallOptions,
  ): Promise<void>;

  /**
   * The branch goes on with these sidecars beside it, in place of those that it was made with: the state that its VM was
   * switched off with. An archived branch keeps what it has. Throws `branch-missing`, `invalid-file` (one is not there).
   */
  keepSidecars(
    command: StoreCommand & { readonly branchId: BranchId; readonly sidecars: readonly Sidecar[] },
    options: CallOptions,
  ): Promise<void>;

  /** Makes the branch read-only and keeps it until then. Its VM must be off. One already archived gets the new time. */
  archiveBranch(
    command: StoreCommand & { readonly branchId: BranchId; readonly keepUntil: Instant },
    options: CallOptions,
  ): Promise<void>;

  /** Removes a branch. A missing one is success. Throws `branch-needed` while another branch lies over it. */
  deleteBranch(
    command: StoreCommand & { readonly branchId: BranchId },
    options: CallOptions,
  ): Promise<void>;

  /** Bytes that the branch holds of its own, per disk. */
  branchBytes(replicaId: ReplicaId, branchId: BranchId, options: CallOptions): Promise<number>;

  /**
   * Whether nothing was written to the branch since a mark was set on its disks, by what their own files tell; false also where one
   * cannot tell any more. A disk without the mark was not its VM's by then, and is left out. Its VM must be off.
   */
  isBranchUnwritten(
    replicaId: ReplicaId,
    branchId: BranchId,
    since: MarkName,
    options: CallOptions,
  ): Promise<boolean>;

  branches(replicaId: ReplicaId, options: CallOptions): Promise<readonly StoredBranch[]>;

  /** From the images' own tables; nothing is read. Of a branch whose VM runs: what has reached its files. */
  branchWrites(
    replicaId: ReplicaId,
    branchId: BranchId,
    options: CallOptions,
  ): Promise<readonly BranchWrites[]>;

  /**
   * Begins (or begins anew) an export: empty images that stand alone, served for writing. A disk that is there from
   * before keeps what was written to it. Exports are no part of the replica: no epoch guards them, and they survive it.
   */
  openExport(
    command: ExportCommand & {
      readonly disks: readonly { readonly key: DiskKey; readonly sizeBytes: number }[];
    },
    options: CallOptions,
  ): Promise<readonly OpenExportDisk[]>;
  /** Stops serving, makes the files durable, puts `about` beside them and gives the folder its name: then it is there. */
  sealExport(
    command: ExportCommand & { readonly about: Json },
    options: CallOptions,
  ): Promise<ExportedFiles>;
  /** Removes an export that was never sealed. A sealed one is left alone; a missing one is success. */
  discardExport(command: ExportCommand, options: CallOptions): Promise<void>;

  /**
   * Serves a point or a branch read-only until `closeReading` with the same key. Of a disk that is larger than
   * `sizesMax` says only so much is shown.
   */
  openReading(
    command: StoreCommand & {
      readonly of: { readonly pointId: PointId } | { readonly branchId: BranchId };
      readonly sizesMax?: Readonly<Record<DiskKey, number>>;
    },
    options: CallOptions,
  ): Promise<readonly ReadableDisk[]>;
  closeReading(command: StoreCommand, options: CallOptions): Promise<void>;

  /**
   * What image files of this host are: qcow2, raw or VHDX. Throws
   * `seed-unfit` (missing, unreadable, of another format, encrypted, standing on another image), `image-in-use`.
   */
  describeSeed(files: readonly SeedImage[], options: CallOptions): Promise<readonly SeedDisk[]>;
  /**
   * The same, and serves them read-only until `closeReading` with this key and replica, which need not exist yet. Nobody is kept
   * from opening them meanwhile. Of one that is larger than `sizeBytesMax` only so much is shown.
   */
  openSeed(
    command: StoreCommand & {
      readonly files: readonly (SeedImage & { readonly sizeBytesMax: number })[];
    },
    options: CallOptions,
  ): Promise<readonly ReadableDisk[]>;

  /**
   * A superset of the blocks in which two points differ, per disk that both have: what the layers between them and
   * their nearest common layer hold. By the hash tables alone, so the cost follows the changes. A disk whose
   * points have no common layer differs everywhere. Throws `point-missing`.
   */
  differingBlocks(
    request: {
      readonly replicaId: ReplicaId;
      readonly fromPointId: PointId;
      readonly toPointId: PointId;
    },
    options: CallOptions,
  ): Promise<readonly { readonly key: DiskKey; readonly blocks: BlockSet }[]>;

  /** Compares what is recorded with what is there. Changes nothing. */
  inspect(replicaId: ReplicaId, options: CallOptions): Promise<readonly ReplicaFinding[]>;

  /** Carries out the named repair of each finding; what cannot be repaired is left and reported again by `inspect`. */
  repair(
    command: StoreCommand & { readonly findings: readonly ReplicaFinding[] },
    options: CallOptions,
  ): Promise<void>;

  /**
   * The branch, already independent of all layers, becomes all that is left: points, layers and other
   * branches go. The files keep their paths.
   */
  promoteBranch(
    command: StoreCommand & { readonly branchId: BranchId },
    options: CallOptions,
  ): Promise<void>;

  /** Removes everything of the replica from the storage folder. A missing one is success. */
  deleteReplica(command: StoreCommand, options: CallOptions): Promise<void>;

  /** Room in the storage folder's file system, for whoever writes there as the store does. */
  room(options: CallOptions): Promise<StorageRoom>;
}
