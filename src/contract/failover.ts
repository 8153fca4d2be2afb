import { z } from 'zod';
import { fenceSchema } from './replica.ts';
import {
  idSchema,
  instantSchema,
  powerSchema,
  referenceSchema,
  sentenceSchema,
  shutdownDeadlineSchema,
} from './values.ts';

export const failoverRequestSchema = z.strictObject({
  /** `latest`, an id or its unique beginning, or a time: the newest point not after it. */
  point: z.string().min(1).max(256).default('latest'),
  /** An archived branch (its id or unique beginning) to go on from; `point` then counts for nothing. */
  archive: referenceSchema.optional(),
  reason: sentenceSchema.default(''),
  /** What is done to the source first. */
  fence: fenceSchema.default('none'),
  /** Connect the replica although the source is known to run: recorded. */
  acceptDuplicate: z.boolean().default(false),
  /** Fail over although the restore point was changed by somebody, when there is no better one: told in the history. */
  acceptDrift: z.boolean().default(false),
});

export const plannedFailoverSchema = z.strictObject({
  reason: sentenceSchema.default(''),
  /** How often the running VM is replicated at the most before it is stopped. */
  passesMax: z.int().min(1).max(100).default(5),
  /** The VM is stopped when the last delta is expected to take at most this. */
  lastDeltaMsMax: z.int().min(0).default(5000),
  /** How long the guest may take to shut down. */
  shutdownDeadlineMs: shutdownDeadlineSchema.default(300_000),
  /** What happens when it takes longer. */
  onMissedDeadline: z.enum(['ask', 'power-off', 'give-up']).default('ask'),
});

/** The source is left as the failover has left it. */
export const hopRequestSchema = failoverRequestSchema.omit({ fence: true, acceptDrift: true });

/** What a failover would mean now. Nothing was changed to find out. */
export const failoverPreviewSchema = z.strictObject({
  replicaId: idSchema,
  replicaName: z.string(),
  pointId: idSchema,
  pointTakenAt: instantSchema,
  pointConsistency: z.enum(['crash', 'application']),
  pointAgeSeconds: z.number().min(0),
  isNewestPoint: z.boolean(),
  /** The archived branch over that point that it would go on from; null: from the point itself. */
  archiveId: idSchema.nullable(),
  sourcePower: powerSchema,
  /** Estimated seconds of the source's writes that the replica will not have; null when it cannot be told. */
  lostSeconds: z.number().min(0).nullable(),
  lossBecause: z.string(),
  /** From earlier failovers of this replica; null when there were none. */
  expectedRunningMs: z.number().min(0).nullable(),
  expectedAnsweringMs: z.number().min(0).nullable(),
  /** How many measurements the expectation rests on. */
  measuredFailovers: z.int(),
  fence: fenceSchema,
  fenceConsequence: z.string(),
  willConnectNics: z.boolean(),
  connectionBecause: z.string(),
  /** Why it would be refused right now; null when it would not. */
  refusedBecause: z.string().nullable(),
  warnings: z.array(z.string()),
});

export const undoFailoverSchema = z.strictObject({
  /** Although the target host cannot be reached: its debris is cleaned when it is back. */
  force: z.boolean().default(false),
  /** Leave the source as the failover fenced it: off, or cut off. Else it is started and connected again. */
  keepFence: z.boolean().default(false),
});

export type HopRequestBody = z.input<typeof hopRequestSchema>;
export const fenceSourceSchema = z.strictObject({
  fence: z.enum(['nics', 'shutdown', 'power-off']),
});

export const unfenceSourceSchema = z.strictObject({
  /** Although the replica is connected: recorded. */
  acceptDuplicate: z.boolean().default(false),
});

export type FailoverRequestBody = z.input<typeof failoverRequestSchema>;
export type PlannedFailoverBody = z.input<typeof plannedFailoverSchema>;
export type FailoverPreviewAnswer = z.output<typeof failoverPreviewSchema>;
