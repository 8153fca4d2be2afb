import { z } from 'zod';
import { errorSchema } from './problem.ts';
import { byteCountSchema, idSchema, instantSchema } from './values.ts';

export const operationKindSchema = z.enum([
  'replicate',
  'failover',
  'planned-failover',
  'undo-failover',
  'permanent-failover',
  'failback',
  'catch-up-failback',
  'switch-over',
  'cancel-failback',
  'commit-failback',
  'undo-failback',
  'remove-replica',
  'delete-replica',
  'rescan',
  'verify',
  'test-failover',
  'bisect',
  'sweep',
  'hop',
  'export',
  'keep-archive',
  'delete-archive',
  'fence-source',
  'unfence-source',
  'change-job',
]);

/** What an operation that asked can be told. */
export const answerOperationSchema = z.strictObject({
  answer: z.enum(['wait', 'power-off', 'give-up']),
});

export const operationStateSchema = z.enum([
  'queued',
  'running',
  'compensating',
  'suspended',
  'succeeded',
  'failed',
  'cancelled',
]);

export const operationSchema = z.strictObject({
  id: idSchema,
  kind: operationKindSchema,
  /** A replica, job or host id. */
  subject: z.string(),
  title: z.string(),
  state: operationStateSchema,
  result: z.json(),
  /** Why it failed, is suspended or was cancelled. */
  error: errorSchema.nullable(),
  isCancelRequested: z.boolean(),
  createdAt: instantSchema,
  startedAt: instantSchema.nullable(),
  endedAt: instantSchema.nullable(),
});

/** What a queued operation lacks. */
export const waitSchema = z.strictObject({
  /** To follow `Waits for`: `a place on host recovery, where 2 of 2 for transfers are taken: replicate op-1, replicate op-2`. */
  message: z.string(),
  limit: z.int().min(0),
  /** By those that run, and those queued ones that come first. */
  taken: z.int().min(0),
  /** Whose limit it is, or where the VM is that one operation at a time may have; null: the server's own limit. */
  hostId: idSchema.nullable(),
  /** Empty where it is the server's own limit. */
  heldBy: z.array(
    z.strictObject({
      id: idSchema,
      kind: operationKindSchema,
      title: z.string(),
      state: operationStateSchema,
    }),
  ),
});

export const waitsSchema = z.strictObject({
  /** What keeps it from beginning at this moment; empty unless it is queued. */
  waitsFor: z.array(waitSchema),
});

/** As it was looked at, not as it was accepted. */
export const seenOperationSchema = z.strictObject({
  ...operationSchema.shape,
  ...waitsSchema.shape,
});

export const operationEventSchema = z.strictObject({
  operationId: idSchema,
  /** Counts from 1 within the operation. */
  sequence: z.int().min(1),
  at: instantSchema,
  type: z.enum([
    'queued',
    'started',
    'step-started',
    'step-succeeded',
    'step-failed',
    'step-retrying',
    'step-undone',
    'note',
    'cancel-requested',
    'compensating',
    'suspended',
    'resumed',
    'succeeded',
    'failed',
    'cancelled',
  ]),
  step: z.string().nullable(),
  message: z.string(),
  durationMs: z.number().min(0).nullable(),
  /** All of it as one line for people, word for word as in the server's log. */
  line: z.string(),
});

export const operationProgressSchema = z.strictObject({
  operationId: idSchema,
  step: z.string(),
  doneBytes: byteCountSchema,
  totalBytes: byteCountSchema,
  bytesPerSecond: z.number().min(0),
  remainingMs: z.number().min(0).nullable(),
});

export const operationDetailSchema = z.strictObject({
  ...seenOperationSchema.shape,
  history: z.array(operationEventSchema),
});

/** Query strings are text. */
export const operationFilterSchema = z.strictObject({
  /** Id of a replica, job or host. */
  subject: z.string().min(1).max(256).optional(),
  kind: operationKindSchema.optional(),
  /** `true`: only those that have not ended. */
  open: z.enum(['true', 'false']).optional(),
  limit: z
    .string()
    .regex(/^[1-9][0-9]{0,3}$/, 'must be a number from 1 to 9999')
    .optional(),
});

export type OperationAnswer = z.output<typeof operationSchema>;
export type SeenOperationAnswer = z.output<typeof seenOperationSchema>;
export type OperationDetailAnswer = z.output<typeof operationDetailSchema>;
export type WaitsAnswer = z.output<typeof waitsSchema>;
export type OperationEventAnswer = z.output<typeof operationEventSchema>;
export type OperationProgressAnswer = z.output<typeof operationProgressSchema>;

/**
 * What `GET /api/v1/operations/:operation/events` streams: `event` carries an id (its sequence, for
 * `Last-Event-ID`), `progress` does not, nor does `waits`, which comes while it is queued, whenever what it waits for
 * is another than before. `end` with the operation as it settled is the last one. A stream that closes without `end` was
 * cut: connect again with the last id.
 */
export type OperationStreamEvent =
  | { readonly event: 'event'; readonly value: OperationEventAnswer }
  | { readonly event: 'progress'; readonly value: OperationProgressAnswer }
  | { readonly event: 'waits'; readonly value: WaitsAnswer }
  | { readonly event: 'end'; readonly value: OperationAnswer };
