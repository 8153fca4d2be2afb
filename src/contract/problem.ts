import { z } from 'zod';
import { preflightFindingSchema } from './job.ts';

export const errorKindSchema = z.enum([
  'invalid',
  'missing',
  'conflict',
  'transient',
  'cancelled',
  'bug',
]);

const detailsSchema = z.record(
  z.string(),
  z.union([z.string(), z.number(), z.boolean(), z.null()]),
);

/** Why an operation did not succeed. */
export const errorSchema = z.strictObject({
  code: z.string(),
  kind: errorKindSchema,
  message: z.string(),
  details: detailsSchema,
});

/** RFC 9457. `type` is a URN of the code; `title` the code in words; `detail` the whole sentence for people. */
export const problemSchema = z.strictObject({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: z.string(),
  kind: errorKindSchema,
  details: detailsSchema,
  /** Names the request in the server's log. */
  instance: z.string(),
  /** What the phase of the replica allows instead. */
  allowedOperations: z.array(z.string()).optional(),
  /** For a body that does not fit: where, and why. */
  violations: z.array(z.strictObject({ path: z.string(), message: z.string() })).optional(),
  /** For `preflight-blocked`. */
  findings: z.array(preflightFindingSchema).optional(),
});

export type ProblemAnswer = z.output<typeof problemSchema>;
export type ErrorAnswer = z.output<typeof errorSchema>;
export type ErrorKindAnswer = z.output<typeof errorKindSchema>;
