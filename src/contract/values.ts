import { z } from 'zod';

/** An instant as written on the wire: ISO 8601 in UTC with milliseconds. */
export const instantSchema = z.iso.datetime({ precision: 3 });

/** An identity as the product makes it; a VM's is the UUID of its hypervisor. */
export const idSchema = z.string().min(1).max(64);

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused.
const NO_CONTROL = /^[^\u0000-\u001f\u007f-\u009f]*$/;

/** An id, a unique name or the unique beginning of an id. VM names carry any character, so nothing is refused. */
export const referenceSchema = z.string().min(1).max(256);

/** A name that the operator gives: one line of letters, digits, blanks, dots, dashes and underscores. */
export const nameSchema = z
  .string()
  .max(63)
  .regex(
    /^[\p{L}\p{N}](?:[\p{L}\p{N} ._-]*[\p{L}\p{N}._-])?$/u,
    'must begin with a letter or digit and hold only letters, digits, blanks, dots, dashes and underscores',
  );

/** One line for people. */
export const sentenceSchema = z.string().max(500).regex(NO_CONTROL, 'must be one line of text');

export const folderSchema = z
  .string()
  .max(1024)
  .regex(NO_CONTROL, 'must not hold control characters')
  .regex(/^\//, 'must be an absolute path')
  .refine((path) => !path.split('/').includes('..'), 'must not hold ".."');

export const addressSchema = z
  .string()
  .min(1)
  .max(1024)
  .regex(NO_CONTROL, 'must not hold control characters');

export const byteCountSchema = z.int().min(0);

export const powerSchema = z.enum(['running', 'paused', 'off', 'unknown']);

/** How long a guest may take to shut down. */
export const shutdownDeadlineSchema = z
  .int()
  .min(1000)
  .max(24 * 3600 * 1000);

/** A list, wrapped so that more can be said beside it later. */
export function listOf<T extends z.ZodType>(item: T) {
  return z.strictObject({ items: z.array(item) });
}
