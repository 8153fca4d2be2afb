import { z } from 'zod';
import {
  byteCountSchema,
  idSchema,
  instantSchema,
  nameSchema,
  powerSchema,
  referenceSchema,
  shutdownDeadlineSchema,
} from './values.ts';

const destinationSchema = z.discriminatedUnion('type', [
  /** The VM that was failed over. */
  z.strictObject({ type: z.literal('original') }),
  /** A restored copy of it. `host` null: where the source was. */
  z.strictObject({
    type: z.literal('copy'),
    host: referenceSchema.nullable().default(null),
    vm: referenceSchema,
  }),
  /** A VM that is made at the switchover; `name` null: that of the source. */
  z.strictObject({
    type: z.literal('new'),
    host: referenceSchema.nullable().default(null),
    name: nameSchema.nullable().default(null),
  }),
]);

/** When production takes over, once the bulk has been copied. */
export const switchoverSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('automatic') }),
  z.strictObject({ type: z.literal('manual') }),
  z.strictObject({ type: z.literal('at'), at: instantSchema }),
  /** When what the replica wrote since the last pass is at most this. */
  z.strictObject({ type: z.literal('below'), bytes: byteCountSchema }),
]);

export const failbackRequestSchema = z.strictObject({
  to: destinationSchema.default({ type: 'original' }),
  switchover: switchoverSchema.default({ type: 'manual' }),
  /** Throw away a saved memory image of production, which could not be resumed over what comes. */
  discardSavedState: z.boolean().default(false),
  /** Carry what was changed on the replica's configuration over to production. */
  applyChanges: z.boolean().default(false),
  /** How long the guest of a production that still runs may take to shut down; then it is powered off. */
  shutdownDeadlineMs: shutdownDeadlineSchema.default(120_000),
});

export const homeSchema = z.strictObject({
  hostId: idSchema,
  hostName: z.string(),
  vmId: idSchema.nullable(),
  name: z.string(),
  kind: z.enum(['original', 'copy', 'new']),
});

/** What a failback would mean now. Nothing was changed to find out. */
export const failbackPreviewSchema = z.strictObject({
  replicaId: idSchema,
  replicaName: z.string(),
  home: homeSchema,
  /** Null for a VM to be made. */
  homePower: powerSchema.nullable(),
  hasSavedState: z.boolean(),
  /** Written by the replica so far; null when it does not stand in. */
  branchBytes: byteCountSchema.nullable(),
  /** Until what is known to differ is copied; null when nothing was measured yet. */
  expectedCopyMs: z.number().min(0).nullable(),
  /** For how long nobody serves at the switchover: shutdown, last delta, start; null when nothing was measured yet. */
  expectedDowntimeMs: z.number().min(0).nullable(),
  /** How many switchovers and planned failovers the downtime rests on. */
  measuredMoves: z.int(),
  /** What was changed on the replica's configuration, a line each. */
  changes: z.array(z.string()),
  consequence: z.string(),
  refusedBecause: z.string().nullable(),
});

export const switchOverRequestSchema = z.strictObject({
  /** How long the replica's guest may take to shut down. */
  shutdownDeadlineMs: shutdownDeadlineSchema.default(300_000),
  /** What happens when it takes longer. */
  onMissedDeadline: z.enum(['ask', 'power-off', 'give-up']).default('ask'),
  /** Carry what was changed on the replica's configuration over to production. Absent: as the failback was asked for. */
  applyChanges: z.boolean().optional(),
});

export const undoFailbackSchema = z.strictObject({
  /** Although production cannot be asked whether it runs. */
  force: z.boolean().default(false),
  /** How long production's guest may take to shut down; then it is powered off. */
  shutdownDeadlineMs: shutdownDeadlineSchema.default(120_000),
});

export const failbackRecordSchema = z.strictObject({
  id: idSchema,
  home: homeSchema,
  startedAt: instantSchema,
  switchover: switchoverSchema,
  passes: z.int(),
  syncedAt: instantSchema,
  syncedBytes: byteCountSchema,
  /** Null until production took over. */
  switched: z
    .strictObject({
      pointId: idSchema,
      switchedAt: instantSchema,
      changes: z.array(z.string()),
      runningAfterMs: z.number().nullable(),
      answeringAfterMs: z.number().nullable(),
    })
    .nullable(),
});

export type FailbackRequestBody = z.input<typeof failbackRequestSchema>;
export type FailbackPreviewAnswer = z.output<typeof failbackPreviewSchema>;
export type FailbackRecordAnswer = z.output<typeof failbackRecordSchema>;
