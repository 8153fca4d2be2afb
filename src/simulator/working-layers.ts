/** Working layers over the disks of a simulated VM, and what it was before they were laid. */
import type { DiskKey, FailbackId, ReplicaId, VmId } from '../domain/ids.ts';
import type { BlockEndpoint } from '../ports/mover.ts';
import type { Image } from './image.ts';
import type { VmState } from './vm.ts';

export type LaidLayers = {
  readonly id: FailbackId;
  readonly replicaId: ReplicaId;
  /** The VM they were laid for; null until `attach` makes one. */
  vmId: VmId | null;
  /** What the VM was before; null for one that `attach` makes. */
  readonly original: OriginalVm | null;
  readonly layers: WorkingLayer[];
  isAttached: boolean;
  /** Since it was attached: what its VM tracks, and how often that had lost its power by then. */
  tracked: { readonly mark: string; readonly powerLosses: number } | null;
  /** Some layers may be merged: there is no way back. */
  isCommitting: boolean;
};

export type OriginalVm = Pick<VmState, 'disks' | 'nics' | 'memoryBytes' | 'cpuCount' | 'sidecars'>;

export type WorkingLayer = {
  readonly key: DiskKey;
  readonly image: Image;
  /** Production's disk as it was left; null for a disk that it has not got. */
  readonly below: Image | null;
  readonly since: string | null;
  /** What is served of it now. */
  endpoints: readonly BlockEndpoint[];
};
