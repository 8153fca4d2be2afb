/** A durable operation: what someone asked for, how far it is, and how it ended. */
import type { ErrorRecord } from '../error.ts';
import type { OperationId } from '../ids.ts';
import type { Instant } from '../instant.ts';

export type OperationKind =
  | 'replicate'
  | 'failover'
  | 'planned-failover'
  | 'undo-failover'
  | 'permanent-failover'
  | 'failback'
  | 'catch-up-failback'
  | 'switch-over'
  | 'cancel-failback'
  | 'commit-failback'
  | 'undo-failback'
  | 'remove-replica'
  | 'delete-replica'
  | 'rescan'
  | 'verify'
  | 'test-failover'
  | 'bisect'
  | 'sweep'
  | 'hop'
  | 'export'
  | 'keep-archive'
  | 'delete-archive'
  | 'fence-source'
  | 'unfence-source'
  | 'change-job';

/**
 *   queued ─▶ running ─▶ succeeded
 *               │  ├───▶ compensating ─▶ failed | cancelled
 *               │  └───▶ suspended ─▶ running (retry) | failed (given up)
 */
export type OperationState =
  | 'queued'
  | 'running'
  | 'compensating'
  | 'suspended'
  | 'succeeded'
  | 'failed'
  | 'cancelled';

export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

export type OperationRecord = {
  readonly id: OperationId;
  readonly kind: OperationKind;
  /** What it is about, for people and filters: a replica, job or host id. */
  readonly subject: string;
  /** One line for people: `Replicate web-01 to recovery`. */
  readonly title: string;
  readonly state: OperationState;
  readonly input: Json;
  readonly result: Json;
  /** Why it failed, is suspended or was cancelled. */
  readonly error: ErrorRecord | null;
  readonly isCancelRequested: boolean;
  readonly createdAt: Instant;
  readonly startedAt: Instant | null;
  readonly endedAt: Instant | null;
};

export function hasEnded(state: OperationState): boolean {
  return state === 'succeeded' || state === 'failed' || state === 'cancelled';
}

/** These change nothing that stays, and hold no replica: others go on beside them. */
export const RUNS_BESIDE: readonly OperationKind[] = ['export', 'test-failover', 'bisect'];

/** One line of an operation's history: the same in the log, the CLI and the UI. */
export type OperationEvent = {
  readonly operationId: OperationId;
  /** Counts from 1 within the operation. */
  readonly sequence: number;
  readonly at: Instant;
  readonly type:
    | 'queued'
    | 'started'
    | 'step-started'
    | 'step-succeeded'
    | 'step-failed'
    | 'step-retrying'
    | 'step-undone'
    | 'note'
    | 'cancel-requested'
    | 'compensating'
    | 'suspended'
    | 'resumed'
    | 'succeeded'
    | 'failed'
    | 'cancelled';
  readonly step: string | null;
  /** For people; empty where type and step say it all. */
  readonly message: string;
  readonly durationMs: number | null;
};

/** The live state of long work; never stored. */
export type OperationProgress = {
  readonly operationId: OperationId;
  readonly step: string;
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number;
  readonly remainingMs: number | null;
};
