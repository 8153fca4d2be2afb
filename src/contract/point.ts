import { z } from 'zod';
import { byteCountSchema, idSchema, instantSchema } from './values.ts';

export const pointDiskSchema = z.strictObject({
  key: z.string(),
  sizeBytes: byteCountSchema,
  layerId: idSchema,
  transfer: z.enum(['full', 'incremental', 'resync']),
  /** Why it was transferred like that: a sentence part after "because". */
  because: z.string(),
  sentBytes: byteCountSchema,
  rootHash: z.string(),
  mark: z.string().nullable(),
});

export const pointSchema = z.strictObject({
  id: idSchema,
  replicaId: idSchema,
  /** The instant of the source's disks, by the source host's clock. */
  takenAt: instantSchema,
  /** When it became complete at the target. */
  sealedAt: instantSchema,
  consistency: z.enum(['crash', 'application']),
  disks: z.array(pointDiskSchema),
  rootHash: z.string(),
  isPinned: z.boolean(),
});

/** With the definition of the VM as it was. */
export const pointDetailSchema = z.strictObject({
  ...pointSchema.shape,
  vm: z.strictObject({
    id: idSchema,
    name: z.string(),
    memoryBytes: byteCountSchema,
    cpuCount: z.int(),
    nics: z.array(
      z.strictObject({
        mac: z.string().nullable(),
        network: z.string(),
        isConnected: z.boolean(),
      }),
    ),
    configuration: z.strictObject({ format: z.string(), text: z.string() }),
  }),
});

export type PointAnswer = z.output<typeof pointSchema>;
export type PointDetailAnswer = z.output<typeof pointDetailSchema>;
