import type { DiskKey, MarkName, OperationKey, VmId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { QuiescePolicy, ScratchPolicy } from '../domain/job/job.ts';
import type { SourceDiskAtFreeze } from '../domain/replication/transfer.ts';
import type { Consistency } from '../domain/restore-point/restore-point.ts';
import type { VmDescription } from '../domain/vm/vm.ts';
import type { CallOptions } from './call.ts';
import type { Sidecar } from './hypervisor.ts';
import type { BlockEndpoint, ExtentSelection } from './mover.ts';

export type FreezeRequest = {
  readonly key: OperationKey;
  readonly vmId: VmId;
  readonly disks: readonly DiskKey[];
  /** The mark to set at the frozen instant, on every disk that tracks changes. */
  readonly mark: MarkName;
  /** The mark of the newest restore point per disk; a disk without one is read by allocation. */
  readonly since: Readonly<Record<string, MarkName>>;
  readonly quiesce: QuiescePolicy;
  readonly scratch: ScratchPolicy;
};

export type FrozenDisk = SourceDiskAtFreeze & {
  readonly endpoint: BlockEndpoint;
  readonly extents: ExtentSelection;
  /** The mark that now names this instant; null where the disk tracks none. */
  readonly mark: MarkName | null;
};

export type FrozenPoint = {
  readonly takenAt: Instant;
  readonly consistency: Consistency;
  /** Why it is not application-consistent although that was wanted; else null. */
  readonly consistencyNote: string | null;
  /** The definition at the instant. */
  readonly vm: VmDescription;
  readonly disks: readonly FrozenDisk[];
  readonly sidecars: readonly Sidecar[];
};

export type FreezeCommand = { readonly key: OperationKey; readonly vmId: VmId };

/** An instant that is held, to look at. */
export interface PointSourceView {
  /**
   * Watches the freeze until the signal is aborted (then it resolves). Rejects with `scratch-exhausted` when the quota,
   * the reserve or the deadline is about to be passed, or with `freeze-failed` when the freeze is gone;
   * the caller then ends the freeze. The guest must not have noticed.
   */
  watch(
    command: FreezeCommand & { readonly scratch: ScratchPolicy; readonly frozenAt: Instant },
    options: CallOptions,
  ): Promise<void>;

  /**
   * Whether what was read is still one instant: false with the reason when, for instance, a powered-off
   * VM was started meanwhile. Asked after the last block was read, before the point is sealed.
   */
  check(
    command: FreezeCommand,
    options: CallOptions,
  ): Promise<{ readonly isIntact: boolean; readonly because: string | null }>;
}

/**
 * Instants of a VM's disks at the source. The guest writes on at full speed while an instant is frozen:
 * old blocks are kept in local scratch, never sent anywhere by the guest's own writes. At most one freeze per VM.
 * `key` is the freeze's identity: the same in `freeze`, `watch`, `check` and `end`.
 */
export interface PointSource extends PointSourceView {
  /**
   * Freezes one instant across all disks, relative to the marks. A mark that turns out lost demotes its
   * disk to `allocated` with the reason; it does not fail the freeze. A mark that lies in the disks although the
   * hypervisor was never told of it, as in those of a new branch, is as good as any. Repeated with the same key while
   * the freeze holds, it answers the same point; one of ours under another key is left over, and is ended first.
   * Throws `vm-busy`, `scratch-exhausted` (no room to begin), `access-denied` (with the exact fix),
   * `freeze-failed`, `guest-not-answering` (quiescing required but impossible), `unsupported-disk`.
   */
  freeze(request: FreezeRequest, options: CallOptions): Promise<FrozenPoint>;

  /** Ends the freeze and removes scratch, sockets and exports; the marks stay. No freeze is success. */
  end(command: FreezeCommand, options: CallOptions): Promise<void>;

  /** The same for every freeze of ours on the VM, whoever began it: a controller that was lost leaves one that nobody knows. */
  endAll(vmId: VmId, options: CallOptions): Promise<void>;

  /**
   * Removes every mark of ours on the VM except those to keep, which stay exact. Other people's marks are left alone.
   * None to keep: all of ours go. A disk that is not there, as those of a replica at rest, has none.
   */
  sweepMarks(
    request: { readonly vmId: VmId; readonly keep: readonly MarkName[] },
    options: CallOptions,
  ): Promise<void>;
}
