/** Exports of a replica's points and branches: files that are no part of it. */
import type { DiskKey, OperationKey, ReplicaId } from '../domain/ids.ts';
import type { TransferTarget } from './mover.ts';

export type ExportCommand = {
  readonly key: OperationKey;
  readonly replicaId: ReplicaId;
  /** Name of the folder that it becomes, in `exports/` of the storage folder: digits, lower-case letters, dashes. */
  readonly exportId: string;
};

export type OpenExportDisk = {
  readonly key: DiskKey;
  readonly target: TransferTarget;
  readonly recordsPath: string;
};

export type ExportedFiles = {
  readonly folder: string;
  readonly disks: readonly {
    readonly key: DiskKey;
    readonly path: string;
    /** Bytes that the file takes. */
    readonly fileBytes: number;
  }[];
};
