import { z } from 'zod';
import { folderSchema, referenceSchema } from './values.ts';

const fileSchema = z.strictObject({
  /** The disk of the source VM as its definition calls it, e.g. `vda`. */
  disk: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$/, 'must be the name of a disk, such as vda'),
  /** On the target host. */
  path: folderSchema,
});

/** What is at the target already: the first run sends only what differs from it. */
export const seedSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('files'), files: z.array(fileSchema).min(1).max(256) }),
  /** A VM of the target host that is off. */
  z.strictObject({ type: z.literal('vm'), vm: referenceSchema }),
  /** Another replica on the same target host: its newest point. */
  z.strictObject({ type: z.literal('replica'), replica: referenceSchema }),
]);

export const seedOfVmSchema = z.strictObject({ vm: referenceSchema, from: seedSchema });

export const seedReplicaSchema = z.strictObject({
  /** Null: the first run sends everything. */
  from: seedSchema.nullable(),
});

export const seedAnswerSchema = z.strictObject({
  type: z.enum(['files', 'vm', 'replica']),
  /** For people. */
  name: z.string(),
});

export type SeedRequest = z.input<typeof seedSchema>;
export type SeedOfVmRequest = z.input<typeof seedOfVmSchema>;
