import { z } from 'zod';
import { archiveSchema } from './replica.ts';
import { byteCountSchema, idSchema, instantSchema } from './values.ts';

/** An archived branch: what a replica wrote before its failover was undone, or it hopped away. */
export const archiveDetailSchema = z.strictObject({
  ...archiveSchema.shape,
  /** The instant of the restore point; null when it cannot be told. */
  pointTakenAt: instantSchema.nullable(),
  /** False: retention took the point. The archive does not need it. */
  isPointThere: z.boolean(),
  /** What it takes on its host; null when that cannot be asked, or no longer has it. */
  bytes: byteCountSchema.nullable(),
  unknownBecause: z.string().nullable(),
  /** The branch that lies over it, so that it cannot be deleted. */
  neededBy: idSchema.nullable(),
});

const rangeSchema = z.strictObject({
  offset: byteCountSchema,
  length: byteCountSchema,
  /** Made zero. */
  isZero: z.boolean(),
});

/** In whole blocks of 64 KiB: a block that was written counts, also where it was written with what was there before. */
export const archiveDiffSchema = z.strictObject({
  ...archiveSchema.shape,
  disks: z.array(
    z.strictObject({
      key: z.string(),
      sizeBytes: byteCountSchema,
      writtenBytes: byteCountSchema,
      zeroedBytes: byteCountSchema,
      rangeCount: z.int(),
      /** Ascending; the first 10,000 of them. */
      ranges: z.array(rangeSchema),
    }),
  ),
});

export const keepArchiveSchema = z.strictObject({ until: z.iso.datetime({ offset: true }) });

export type ArchiveAnswer = z.output<typeof archiveDetailSchema>;
export type ArchiveDiffAnswer = z.output<typeof archiveDiffSchema>;
