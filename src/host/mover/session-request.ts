/** What a session of move-session.ts is asked for, and what it answers. */
import type { BlockSet } from '../../domain/disk/block-set.ts';
import type { Clock } from '../../ports/clock.ts';
import type {
  BlockEndpoint,
  ExtentSelection,
  ListedBlocks,
  TransferTarget,
} from '../../ports/mover.ts';
import type { PlanTotals } from './batches.ts';
import type { Counters } from './counters.ts';
import type { Stragglers } from './stragglers.ts';
import type { WorkerPool } from './worker-pool.ts';

/** How long things may stand still. Generous where a disk may be slow, short where only a reply is due. */
export type MoverLimits = {
  readonly openingMs: number;
  readonly movingMs: number;
  /** A flush may have to wait for everything that the page cache holds. */
  readonly flushingMs: number;
  /** How long a session that is given up may take to come to rest, before it is left behind. */
  readonly endingMs: number;
};

export type MoverSettings = {
  readonly clock: Clock;
  readonly workerCount: number;
  /** A transfer of more is left to workers alone. */
  readonly movedHereBytesMax: number;
  /** Of all sessions of one mover. */
  readonly pool: WorkerPool;
  readonly limits: MoverLimits;
  readonly stragglers: Stragglers;
};

export type SessionRequest = {
  readonly source: BlockEndpoint;
  readonly sizeBytes: number;
  readonly extents: ExtentSelection | ListedBlocks;
  readonly knownHashesPath: string | null;
  readonly bytesPerSecondMax: number | null;
  readonly goal:
    | {
        readonly type: 'transfer';
        readonly target: TransferTarget;
        readonly targetReads: 'zeros' | 'parent';
        readonly recordsPath: string | null;
      }
    /** `holes`: whether the source is believed where it says that it has zeros and the table has content. */
    | { readonly type: 'verify'; readonly holes: 'believed' | 'read' }
    /** Nothing is read: only which blocks the extents select. */
    | { readonly type: 'map' };
};

export type SessionResult = {
  readonly counters: Counters;
  readonly totals: PlanTotals;
  /** What differs from the known hashes, or was selected when that is all that was asked; null: nothing. */
  readonly found: BlockSet | null;
};
