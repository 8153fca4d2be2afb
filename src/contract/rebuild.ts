import { z } from 'zod';
import { phaseSchema } from './replica.ts';
import { idSchema, referenceSchema } from './values.ts';

export const rebuildRequestSchema = z.strictObject({
  /** Only folders on these hosts; on every host when absent. */
  hosts: z.array(referenceSchema).min(1).max(256).optional(),
  /** Of replicas that do not say which source host they have, or name one that is not known. */
  sourceHost: referenceSchema.optional(),
  /** Make a damaged replica.json anew from the images. */
  repairs: z.boolean().default(false),
  isDryRun: z.boolean().default(false),
});

export const rebuildReportSchema = z.strictObject({
  folders: z.array(
    z.strictObject({
      replicaId: idSchema,
      name: z.string(),
      targetHostName: z.string(),
      /** `known`: in the catalogue already. `skipped`: see the notes. */
      outcome: z.enum(['rebuilt', 'known', 'skipped']),
      phase: phaseSchema.nullable(),
      pointCount: z.int(),
      jobName: z.string().nullable(),
      notes: z.array(z.string()),
    }),
  ),
  unreachable: z.array(z.strictObject({ hostName: z.string(), because: z.string() })),
  isDryRun: z.boolean(),
});

export type RebuildRequestBody = z.input<typeof rebuildRequestSchema>;
export type RebuildReportAnswer = z.output<typeof rebuildReportSchema>;
