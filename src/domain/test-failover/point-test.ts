/** What a test failover of one restore point found out. */
import type { PointId } from '../ids.ts';

/** `network`: a network of its own, on which nothing else is. `unplugged`: every NIC's link is down. */
export type Isolation = { readonly kind: 'network' | 'unplugged'; readonly because: string };

export type ProbeVerdict = {
  /** As it is written (probe.ts). */
  readonly probe: string;
  readonly passed: boolean;
  /** What was seen last, for people. */
  readonly why: string;
  /** From the start of the VM to the verdict, without the time that no controller ran. */
  readonly durationMs: number;
};

/** Something to look at afterwards, kept on the target host for a while. */
export type EvidenceFile = {
  readonly name: string;
  readonly type: 'image/png' | 'text/plain';
  readonly bytes: number;
};

export type PointTest = {
  readonly pointId: PointId;
  /** Names its evidence. */
  readonly testId: string;
  readonly vmName: string;
  readonly isolation: Isolation;
  readonly passed: boolean;
  /** What happened, in one sentence. */
  readonly summary: string;
  /** Milliseconds that the hypervisor took to call it running; null: it did not start. */
  readonly runningAfterMs: number | null;
  /** Milliseconds from the start to the first answer of the guest agent; null: it never did. */
  readonly answeringAfterMs: number | null;
  readonly verdicts: readonly ProbeVerdict[];
  readonly evidence: readonly EvidenceFile[];
  /** Why there is no picture, or no text. */
  readonly missingEvidence: readonly string[];
  /** False: what is left is removed by the sweeper as soon as the host can be reached. */
  readonly isCleanedUp: boolean;
};

/** A VM that did not start has proved the contrary; one that nobody asked anything has only started. */
export function summarise(
  runningAfterMs: number | null,
  verdicts: readonly ProbeVerdict[],
): { readonly passed: boolean; readonly summary: string } {
  if (runningAfterMs === null) return { passed: false, summary: 'The VM did not start.' };
  if (verdicts.length === 0)
    return { passed: true, summary: 'The VM started; nothing was probed.' };
  const failed = verdicts.filter((verdict) => !verdict.passed);
  const [first] = failed;
  if (first === undefined) {
    const count = verdicts.length === 1 ? 'The probe' : `All ${verdicts.length} probes`;
    return { passed: true, summary: `${count} passed.` };
  }
  const rest = failed.length === 1 ? '' : ` (and ${failed.length - 1} more)`;
  return { passed: false, summary: `Probe ${first.probe} failed${rest}: ${first.why}.` };
}
