import { z } from 'zod';
import { failbackRecordSchema } from './failback.ts';
import { seenOperationSchema } from './operation.ts';
import { seedAnswerSchema } from './seed.ts';
import { idSchema, instantSchema } from './values.ts';

export const fenceSchema = z.enum(['none', 'nics', 'shutdown', 'power-off']);

export const phaseSchema = z.enum([
  'Pending',
  'Ready',
  'Failover',
  'ReadyToSwitch',
  'Failback',
  'Permanent',
  'Removed',
]);

export const conditionSchema = z.strictObject({
  name: z.enum([
    'drifted',
    'definition-outdated',
    'target-unfit',
    'cleanup-pending',
    'unfenced-source',
    'rpo-breached',
    'unverified',
    'operation-suspended',
    'source-returned',
    'former-source-unfenced',
    'source-left-fenced',
    'switchover-failed',
    'replica-startable',
    'replica-changed',
    'test-failed',
  ]),
  message: z.string(),
  since: instantSchema,
});

/** What is true while the replica stands in. */
export const failoverRecordSchema = z.strictObject({
  pointId: idSchema,
  branchId: idSchema,
  /** The archived branch that it lies over; null: the point itself. */
  overBranchId: idSchema.nullable(),
  operationId: idSchema,
  reason: z.string(),
  fence: fenceSchema,
  /** MACs that a fence disconnected; null: an older version did not remember them. */
  fencedNics: z.array(z.string()).nullable(),
  isDuplicateAccepted: z.boolean(),
  /** Somebody expressly let the source start again, so that its host does not hold it back. */
  isSourceReleased: z.boolean(),
  startedAt: instantSchema,
  isConnected: z.boolean(),
  connectionBecause: z.string(),
  runningAfterMs: z.number().nullable(),
  answeringAfterMs: z.number().nullable(),
  /** `agent`, or the address that answered; null: nothing has. */
  answeredBy: z.string().nullable(),
});

export const archiveSchema = z.strictObject({
  branchId: idSchema,
  pointId: idSchema,
  overBranchId: idSchema.nullable(),
  archivedAt: instantSchema,
  keepUntil: instantSchema,
});

const lastTestSchema = z.strictObject({
  operationId: idSchema,
  at: instantSchema,
  pointId: idSchema,
  passed: z.boolean(),
  summary: z.string(),
  /** When a point last passed a test; null: none has, as far as the history reaches. */
  lastPassedAt: instantSchema.nullable(),
});

export const replicaSchema = z.strictObject({
  id: idSchema,
  /** The name of the replica VM at the target. */
  name: z.string(),
  jobId: idSchema.nullable(),
  jobName: z.string().nullable(),
  sourceHostId: idSchema,
  sourceHostName: z.string(),
  sourceVmId: idSchema,
  sourceVmName: z.string(),
  targetHostId: idSchema,
  targetHostName: z.string(),
  targetVmId: idSchema.nullable(),
  phase: phaseSchema,
  epoch: z.int(),
  newestPointId: idSchema.nullable(),
  newestPointTakenAt: instantSchema.nullable(),
  pointCount: z.int(),
  /** What its first run is compared with; null: nothing, or it was. */
  seed: seedAnswerSchema.nullable(),
  failover: failoverRecordSchema.nullable(),
  failback: failbackRecordSchema.nullable(),
  /** MACs of NICs of the source that an undo left disconnected; the next way back connects them. Null: all of them. */
  leftFencedNics: z.array(z.string()).nullable(),
  archives: z.array(archiveSchema),
  conditions: z.array(conditionSchema),
  /** The operation that has the replica right now. */
  openOperation: seenOperationSchema.nullable(),
  /** Test failovers and bisects under way, beside whatever else happens. */
  openTests: z.array(seenOperationSchema),
  /** The newest test failover that was carried out. */
  lastTest: lastTestSchema.nullable(),
  allowedOperations: z.array(z.string()),
  /** The same as commands of the program: `job run`, `failover`. */
  allowedCommands: z.array(z.string()),
  createdAt: instantSchema,
});

export const rescanSchema = z.strictObject({ repair: z.boolean().default(false) });

export const verifySchema = z.strictObject({
  /** `latest`, an id, or a time: the newest point not after it. All points when absent. */
  point: z.string().min(1).max(256).optional(),
});

/** What a rescan found; the `result` of a `rescan` operation is `{ findings, isRepaired }`. */
export const replicaFindingSchema = z.strictObject({
  kind: z.string(),
  object: z.string(),
  message: z.string(),
  repair: z.string(),
  blocksWrites: z.boolean(),
  layerId: idSchema.nullable(),
  pointIds: z.array(idSchema),
  branchId: idSchema.nullable(),
});

/** A host that did not answer when it was last asked, which is every ten seconds. */
export const silentHostSchema = z.strictObject({
  hostId: idSchema,
  hostName: z.string(),
  /** When it first did not answer; where the server was started later, when that first asked. */
  since: instantSchema,
  because: z.string(),
  replicas: z.array(
    z.strictObject({
      replicaId: idSchema,
      replicaName: z.string(),
      /** What the host is to it; `home`: where production takes over again, or has. */
      role: z.enum(['source', 'target', 'home']),
      /** What its silence means for the replica, and what to do where there is something to do. */
      meaning: z.string(),
    }),
  ),
});

export const overviewSchema = z.strictObject({
  version: z.string(),
  hostCount: z.int(),
  /** Those longest silent first. */
  silentHosts: z.array(silentHostSchema),
  jobCount: z.int(),
  replicas: z.array(replicaSchema),
  /** Operations that have not ended, newest first. */
  openOperations: z.array(seenOperationSchema),
});

export type ReplicaAnswer = z.output<typeof replicaSchema>;
export type ReplicaFindingAnswer = z.output<typeof replicaFindingSchema>;
export type SilentHostAnswer = z.output<typeof silentHostSchema>;
export type OverviewAnswer = z.output<typeof overviewSchema>;
export type ConditionAnswer = z.output<typeof conditionSchema>;
