/** What people order beyond a plain failover, and what they are told before: parsed, as domain values. */
import type { FailbackHome, SwitchoverMode } from '../domain/failover/failback.ts';
import type { BranchId, ReplicaId } from '../domain/ids.ts';
import type { Instant } from '../domain/instant.ts';
import type { ArchivedBranch } from '../domain/replica/replica.ts';
import type { ConfigurationChange } from '../domain/vm/configuration-change.ts';
import type { PowerState } from '../domain/vm/vm.ts';
import type { Reference } from './controller.ts';
import type { BranchWrites } from './replica-store.ts';

export type PlannedFailoverOrder = {
  readonly reason: string;
  /** How often the running VM is replicated at the most before it is stopped. */
  readonly passesMax: number;
  /** The VM is stopped when the last delta is expected to take at most this. */
  readonly lastDeltaMsMax: number;
  /** How long the guest may take to shut down. */
  readonly shutdownDeadlineMs: number;
  /** What happens when it takes longer; `ask`: the operation waits for `answerOperation`. */
  readonly onMissedDeadline: 'ask' | 'power-off' | 'give-up';
};

/** How a VM that must give way is shut down. */
export type ShutdownOrder = Pick<PlannedFailoverOrder, 'shutdownDeadlineMs' | 'onMissedDeadline'>;

/** `applyChanges` absent: as the failback was asked for. */
export type SwitchOverOrder = ShutdownOrder & { readonly applyChanges?: boolean };

/** The VM that was failed over; a restored copy of it; or a VM to be made. `host` null: the source host. */
export type FailbackDestination =
  | { readonly type: 'original' }
  | { readonly type: 'copy'; readonly host: Reference | null; readonly vm: Reference }
  | { readonly type: 'new'; readonly host: Reference | null; readonly name: string | null };

export type FailbackOrder = {
  readonly to: FailbackDestination;
  readonly switchover: SwitchoverMode;
  /** Throw away a saved memory image of production, which could not be resumed over what comes. */
  readonly discardSavedState: boolean;
  /** Carry what was changed on the replica's configuration over to production. */
  readonly applyChanges: boolean;
  /** How long the guest of a production that still runs may take to shut down; then it is powered off. */
  readonly shutdownDeadlineMs: number;
};

export type UndoFailoverOrder = {
  /** Although the target host cannot be reached. */
  readonly force: boolean;
  /** Leave the source as the failover fenced it: off, or cut off. Absent: it is started and connected again. */
  readonly keepFence?: boolean;
};

export type UndoFailbackOrder = {
  /** Although production cannot be asked whether it runs. */
  readonly force: boolean;
  /** How long production's guest may take to shut down; then it is powered off. */
  readonly shutdownDeadlineMs: number;
};

/** From earlier operations of the replica; null when there were none to measure. */
export type ExpectedFailback = {
  /** Until what is known to differ is copied, milliseconds; production is off from then on until the switchover. */
  readonly expectedCopyMs: number | null;
  /** For how long nobody serves at the switchover, milliseconds: shutdown, last delta, start. */
  readonly expectedDowntimeMs: number | null;
  /** How many switchovers and planned failovers the downtime rests on. */
  readonly measuredMoves: number;
};

/** What a failback would mean now. Nothing was changed to find out. */
export type FailbackPreview = ExpectedFailback & {
  readonly replicaId: ReplicaId;
  readonly replicaName: string;
  readonly home: FailbackHome;
  readonly homeHostName: string;
  /** Null for a VM to be made. */
  readonly homePower: PowerState | null;
  readonly hasSavedState: boolean;
  /** Written by the replica so far, in full clusters: about what is to be moved at least. */
  readonly branchBytes: number | null;
  readonly changes: readonly ConfigurationChange[];
  readonly consequence: string;
  readonly refusedBecause: string | null;
};

/** What an operation that asked can be told. */
export type OperationAnswer = 'wait' | 'power-off' | 'give-up';

/** Meanings as in the contract's `seedSchema`. */
export type SeedOrder =
  | {
      readonly type: 'files';
      readonly files: readonly { readonly disk: string; readonly path: string }[];
    }
  | { readonly type: 'vm'; readonly vm: Reference }
  | { readonly type: 'replica'; readonly replica: Reference };

/** An archived branch, with what can be told without asking its host and, where that answers, what it takes there. */
export type ArchiveView = {
  readonly archive: ArchivedBranch;
  /** The instant of its restore point; null when the point is gone and its host does not answer. */
  readonly pointTakenAt: Instant | null;
  readonly isPointThere: boolean;
  /** Null when its host does not answer, or no longer has it. */
  readonly bytes: number | null;
  readonly unknownBecause: string | null;
  /** The branch that lies over it, so that it cannot be deleted; null: none. */
  readonly neededBy: BranchId | null;
};

export type ArchiveDiff = {
  readonly archive: ArchivedBranch;
  readonly disks: readonly BranchWrites[];
};
