import type { BlockSet } from '../domain/disk/block-set.ts';
import type { OperationKey } from '../domain/ids.ts';
import type { CallOptions } from './call.ts';

/** Where blocks can be read or written: one NBD export. A plain value that may travel over the network. */
export type BlockEndpoint = {
  readonly address:
    | { readonly type: 'unix'; readonly path: string }
    | { readonly type: 'tcp'; readonly host: string; readonly port: number };
  readonly exportName: string;
};

/**
 * An image in a file of this machine that the mover fills from nothing, without a server between: a qcow2 image of ours that
 * stands alone. What it holds is thrown away; if the transfer fails it reads as empty.
 */
export type ImageFile = { readonly imagePath: string };

/** Where a transfer's blocks go. */
export type TransferTarget = BlockEndpoint | ImageFile;

/** How the blocks worth reading are found. */
export type ExtentSelection =
  /** What the source calls allocated and not zero (`base:allocation`). */
  | { readonly type: 'allocated' }
  /**
   * What changed since a mark, by an NBD meta context such as `qemu:dirty-bitmap:NAME`; or by `qemu:allocation-depth` what
   * the topmost image of a chain holds itself, which is what was written since it was laid over the others.
   */
  | { readonly type: 'changed'; readonly metaContext: string };

/** Just these blocks, whatever the source says of them; those behind its end are left out. */
export type ListedBlocks = { readonly type: 'listed'; readonly blocks: BlockSet };

export type TransferRequest = {
  readonly key: OperationKey;
  readonly source: BlockEndpoint;
  /** A file only where it reads zeros, and nothing is known of it. */
  readonly target: TransferTarget;
  /** Virtual size; both endpoints must report at least this many bytes, the source exactly. */
  readonly sizeBytes: number;
  readonly extents: ExtentSelection | ListedBlocks;
  /**
   * What the target reads where nothing is written. `zeros`: a fresh base, so zero blocks are skipped and
   * leave no record. `parent`: older content shines through, so zero blocks are written as zeros.
   */
  readonly targetReads: 'zeros' | 'parent';
  /**
   * Hash table (docs/formats/hash-table.md) of what the target reads now; a block with an equal hash is
   * not sent. Null: send every selected block. Given, holes of the source count as zero blocks: where the
   * table knows content, zeros are written. Only with `allocated` extents.
   */
  readonly knownHashesPath: string | null;
  /** Where the hash records of sent blocks go: a record spool, ascending by block. Created or overwritten. Null: nowhere, and nothing need be hashed. */
  readonly recordsPath: string | null;
  /** Upper bound on payload per second; null: none. */
  readonly bytesPerSecondMax: number | null;
};

export type TransferProgress = {
  /** Bytes still to be looked at are `totalBytes - doneBytes`. Total is exact once extents are known. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly sentBytes: number;
  /** Smoothed over the last seconds; 0 until known. */
  readonly bytesPerSecond: number;
  /** Null until it can be told. */
  readonly remainingMs: number | null;
};

export type TransferResult = {
  readonly readBytes: number;
  /** Payload written to the target, without zeros. */
  readonly sentBytes: number;
  /** Bytes made zero at the target without payload. */
  readonly zeroedBytes: number;
  /** Bytes read and found equal to what the target has. */
  readonly unchangedBytes: number;
  readonly extentCount: number;
  readonly durationMs: number;
};

export type VerifyRequest = {
  readonly endpoint: BlockEndpoint;
  readonly sizeBytes: number;
  /** Complete hash table of what the endpoint must read; blocks without a record must read as zeros. */
  readonly hashesPath: string;
};

export type VerifyResult = {
  readonly checkedBytes: number;
  readonly wrongBlockCount: number;
  /** The first wrong block indexes, at most 100. */
  readonly wrongBlocks: readonly number[];
};

export type SurveyRequest = {
  readonly endpoint: BlockEndpoint;
  readonly sizeBytes: number;
  readonly by: /** What changed since a mark, by an NBD meta context. Costs no reading. */
    | { readonly type: 'changed'; readonly metaContext: string }
    /**
     * Content that is not what a complete hash table says, where blocks without a record are zeros. Reads what
     * is allocated. The table may be of a smaller disk: what lies behind its end is compared with zeros; or of a larger
     * one: what lies behind the end of this one is not in the answer.
     */
    | { readonly type: 'compared'; readonly hashesPath: string };
};

export type MoveOptions = CallOptions & {
  /** Called at most a few times a second. Must not throw. */
  readonly onProgress?: (progress: TransferProgress) => void;
};

/**
 * Moves blocks between endpoints. Memory is bounded whatever the disk's size; a transfer may be repeated
 * from its beginning with the same request (idempotent: same bytes, same records).
 */
export interface Mover {
  /**
   * Says that about so many bytes will be moved soon, while something else is waited for. Where that is much, what a transfer
   * would have to wait for is begun. Returns at once, never throws, and may be repeated; where no transfer follows, all of it
   * ends by itself.
   */
  prepare(expectedBytes: number): void;

  /**
   * Reads the selected extents, hashes each 64 KiB block (SHA-256, the last block padded with zeros), writes what must be written, and flushes the target.
   * Resolves only after the flush was acknowledged and the records are durable. An abort detaches it from storage that hangs: what
   * was begun may still be written, and the next transfer to the same files waits for that.
   * Throws `connection-lost`, `block-transfer-failed`, `target-full`, `invalid-endpoint`, `cancelled`.
   */
  transfer(request: TransferRequest, options: MoveOptions): Promise<TransferResult>;

  /** Reads everything that is allocated or has a record and compares. Wrong content is a result, not an error. */
  verify(request: VerifyRequest, options: MoveOptions): Promise<VerifyResult>;

  /** Which blocks differ, without moving any. Reads near the endpoint; nothing is written. Throws as `transfer`. */
  survey(request: SurveyRequest, options: MoveOptions): Promise<BlockSet>;
}
