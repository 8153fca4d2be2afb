import { z } from 'zod';
import { seedOfVmSchema } from './seed.ts';
import { testingSchema } from './test-failover.ts';
import { byteCountSchema, idSchema, instantSchema, nameSchema, referenceSchema } from './values.ts';

export const quiesceSchema = z.enum(['never', 'if-possible', 'required']);

const tierSchema = z
  .strictObject({
    /** One point per this many seconds… */
    everySeconds: z.int().min(60),
    /** …for this many seconds back. */
    forSeconds: z.int().min(60),
  })
  .refine((tier) => tier.forSeconds >= tier.everySeconds, 'must reach at least one period back');

export const retentionSchema = z.strictObject({
  keepLast: z.int().min(1).max(1000),
  tiers: z.array(tierSchema).max(16),
});

export const scratchSchema = z.strictObject({
  /** At most this much of old blocks; null: half of what is free when the freeze begins. */
  quotaBytes: byteCountSchema.min(1).nullable(),
  /** The file system keeps at least this much free. */
  reserveBytes: byteCountSchema,
  /** The freeze ends at this age at the latest. */
  deadlineMs: z
    .int()
    .min(1000)
    .max(7 * 24 * 3600 * 1000),
});

const networkNameSchema = z.string().min(1).max(256);

/** Source network → target network, or null to leave the NIC disconnected. */
export const networkMapSchema = z
  .record(networkNameSchema, networkNameSchema.nullable())
  .refine((map) => Object.keys(map).length <= 256, 'must not map more than 256 networks');

const rpoSchema = z
  .int()
  .min(60)
  .max(366 * 24 * 3600);

/** When runs may begin by the clock, in UTC: `mon-fri 22:00-06:00`. None: at any time. */
const windowsSchema = z.array(z.string().min(1).max(64)).max(32);

const rateSchema = byteCountSchema.min(64 * 1024);

/** How long the branch of an undone failover is kept. */
const archiveSchema = z
  .int()
  .min(0)
  .max(366 * 24 * 3600);

const answersSchema = z.strictObject({
  /** One of `vms`, as it is written there; absent in a job of one VM. */
  vm: referenceSchema.optional(),
  /** `tcp:10.0.0.5:22` or `http:10.0.0.5:80/health=204`. */
  at: z.string().min(1).max(2048),
});

export const createJobSchema = z.strictObject({
  name: nameSchema,
  sourceHost: referenceSchema,
  targetHost: referenceSchema,
  /** Names or UUIDs of VMs at the source host. */
  vms: z.array(referenceSchema).min(1).max(256),
  rpoSeconds: rpoSchema.optional(),
  isScheduled: z.boolean().optional(),
  windows: windowsSchema.optional(),
  retention: retentionSchema.optional(),
  quiesce: quiesceSchema.optional(),
  /** Appended to the VM's name to make the replica's. */
  replicaSuffix: z
    .string()
    .max(32)
    .regex(/^[A-Za-z0-9._-]+$/, 'must hold only letters, digits, dots, dashes and underscores')
    .optional(),
  networkMap: networkMapSchema.optional(),
  bytesPerSecondMax: rateSchema.nullable().optional(),
  archiveSeconds: archiveSchema.optional(),
  scratch: scratchSchema.partial().optional(),
  /** Test failovers of the newest points by themselves; null: only by hand. */
  testing: testingSchema.nullable().optional(),
  /** Where guests answer by their addresses, beside their agents. */
  answers: z.array(answersSchema).max(1024).optional(),
  /** What is at the target already, so that first runs send only what differs. */
  seeds: z.array(seedOfVmSchema).max(1024).optional(),
});

/** What is absent stays. */
export const changeJobSchema = z.strictObject({
  name: nameSchema.optional(),
  rpoSeconds: rpoSchema.optional(),
  isScheduled: z.boolean().optional(),
  windows: windowsSchema.optional(),
  retention: retentionSchema.partial().optional(),
  quiesce: quiesceSchema.optional(),
  /** Laid over the map that there is. A network that is called the same on both sides needs no entry. */
  networkMap: networkMapSchema.optional(),
  bytesPerSecondMax: rateSchema.nullable().optional(),
  archiveSeconds: archiveSchema.optional(),
  scratch: scratchSchema.partial().optional(),
  /** Null: only by hand. */
  testing: testingSchema.partial().nullable().optional(),
  /** Of each VM that is named all its addresses; none: its agent alone. */
  answers: z
    .array(
      z.strictObject({
        /** A VM of the job; absent in a job of one VM. */
        vm: referenceSchema.optional(),
        at: z.array(z.string().min(1).max(2048)).max(8),
      }),
    )
    .max(256)
    .optional(),
});

export const preflightFindingSchema = z.strictObject({
  vmId: idSchema,
  vmName: z.string(),
  /** `blocks`: the job cannot work. `warns`: it works, with this consequence. */
  severity: z.enum(['blocks', 'warns']),
  element: z.string(),
  message: z.string(),
});

const jobVmSchema = z.strictObject({
  id: idSchema,
  name: z.string(),
  excludedBecause: z.string().nullable(),
  answersAt: z.array(z.string()),
  replicaId: idSchema.nullable(),
});

export const jobSchema = z.strictObject({
  id: idSchema,
  name: z.string(),
  sourceHostId: idSchema,
  sourceHostName: z.string(),
  targetHostId: idSchema,
  targetHostName: z.string(),
  vms: z.array(jobVmSchema),
  rpoSeconds: z.int(),
  isScheduled: z.boolean(),
  /** When runs may begin by the clock, in UTC; none: at any time. */
  windows: z.array(z.string()),
  isPaused: z.boolean(),
  /** When the next run is expected to begin; null when none is planned. */
  nextRunAt: instantSchema.nullable(),
  retention: retentionSchema,
  quiesce: quiesceSchema,
  replicaSuffix: z.string(),
  networkMap: z.record(z.string(), z.string().nullable()),
  bytesPerSecondMax: byteCountSchema.nullable(),
  archiveSeconds: z.int(),
  scratch: scratchSchema,
  testing: testingSchema.nullable(),
  createdAt: instantSchema,
});

export const jobCreatedSchema = z.strictObject({
  job: jobSchema,
  /** Only warnings: a job with a blocking finding is refused with `preflight-blocked`. */
  findings: z.array(preflightFindingSchema),
});

/** What a job would be that is not made yet. */
export const jobPreviewSchema = z.strictObject({
  /** As it would be; its id and those of its replicas are not those that it would have. */
  job: jobSchema,
  findings: z.array(preflightFindingSchema),
  /** What would be made, or taken over with its restore points. */
  replicas: z.array(
    z.strictObject({
      name: z.string(),
      sourceVmName: z.string(),
      /** Of a replica that is there and is taken over; null: it is made. */
      pointCount: z.int().nullable(),
    }),
  ),
  refusedBecause: z.string().nullable(),
});

const settingChangeSchema = z.strictObject({
  setting: z.string(),
  /** Both in words. */
  from: z.string(),
  to: z.string(),
  /** From when on it counts. */
  takesEffect: z.string(),
});

export const jobChangePreviewSchema = z.strictObject({
  /** As it would be. */
  job: jobSchema,
  /** None: it is like that already. */
  changes: z.array(settingChangeSchema),
  findings: z.array(preflightFindingSchema),
  refusedBecause: z.string().nullable(),
});

export const jobChangedSchema = z.strictObject({
  job: jobSchema,
  changes: z.array(settingChangeSchema),
  findings: z.array(preflightFindingSchema),
  /** What keeps the change in the history; null: there was nothing to change. */
  operationId: idSchema.nullable(),
});

export const runJobSchema = z.strictObject({
  /** Names or ids of VMs of the job; all that are not excluded when absent. */
  vms: z.array(referenceSchema).min(1).max(256).optional(),
});

export type CreateJobRequest = z.input<typeof createJobSchema>;
export type ChangeJobRequest = z.input<typeof changeJobSchema>;
export type JobChangedAnswer = z.output<typeof jobChangedSchema>;
export type JobPreviewAnswer = z.output<typeof jobPreviewSchema>;
export type JobChangePreviewAnswer = z.output<typeof jobChangePreviewSchema>;
export type JobAnswer = z.output<typeof jobSchema>;
export type JobCreatedAnswer = z.output<typeof jobCreatedSchema>;
export type PreflightFindingAnswer = z.output<typeof preflightFindingSchema>;
