import { z } from 'zod';
import { idSchema } from './values.ts';

/** As docs/concepts/test-failover.md says: `agent`, `tcp:22`, `http:80/health`, `command:/bin/check`, each with `@90s`. */
export const probeSchema = z.string().min(1).max(4200);

const probesSchema = z.array(probeSchema).max(16);

export const testFailoverSchema = z.strictObject({
  /** Each `latest`, an id or its unique beginning, or a time: the newest point not after it. */
  points: z.array(z.string().min(1).max(256)).min(1).max(64).default(['latest']),
  /** All must pass. By default the guest agent must answer; none at all only starts the VM. */
  probes: probesSchema.default(['agent']),
  /** How long the VM runs on after the probes, for a look around. */
  holdSeconds: z
    .int()
    .min(0)
    .max(7 * 24 * 3600)
    .default(0),
});

export const bisectSchema = z.strictObject({ probes: probesSchema.min(1) });

export const evidenceSchema = z.strictObject({
  test: z.string(),
  name: z.string(),
  type: z.string(),
  /** The content. */
  base64: z.string(),
});

/** The `result` of a `test-failover` operation that succeeded, and each of `tests` in that of a `bisect`. */
export const pointTestSchema = z.strictObject({
  pointId: idSchema,
  testId: z.string(),
  vmName: z.string(),
  /** `network`: a network of its own. `unplugged`: every NIC's link was down. */
  isolation: z.strictObject({ kind: z.enum(['network', 'unplugged']), because: z.string() }),
  passed: z.boolean(),
  summary: z.string(),
  runningAfterMs: z.number().nullable(),
  /** Until the first probe passed, from the start. */
  answeringAfterMs: z.number().nullable(),
  verdicts: z.array(
    z.strictObject({
      probe: z.string(),
      passed: z.boolean(),
      why: z.string(),
      durationMs: z.number(),
    }),
  ),
  evidence: z.array(
    z.strictObject({
      name: z.string(),
      type: z.enum(['image/png', 'text/plain']),
      bytes: z.int(),
    }),
  ),
  missingEvidence: z.array(z.string()),
  isCleanedUp: z.boolean(),
});

/** The `result` of a `bisect` operation that succeeded. */
export const bisectResultSchema = z.strictObject({
  /** Null: no point passed. */
  newestGood: idSchema.nullable(),
  /** The next newer point, which failed; null: the newest passed. */
  firstBad: idSchema.nullable(),
  isPinned: z.boolean(),
  rounds: z.int(),
  tests: z.array(pointTestSchema),
});

export const testingSchema = z.strictObject({
  everySeconds: z
    .int()
    .min(600)
    .max(60 * 24 * 3600),
  probes: probesSchema.min(1),
});

export type PointTestAnswer = z.output<typeof pointTestSchema>;
export type BisectResultAnswer = z.output<typeof bisectResultSchema>;
export type EvidenceAnswer = z.output<typeof evidenceSchema>;
export type TestFailoverRequest = z.input<typeof testFailoverSchema>;
