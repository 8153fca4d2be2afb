/**
 * Asks test VMs again and again until every probe has passed or its deadline is over. Rounds are journaled, so that a
 * controller that comes back goes on where it was; time is counted within rounds, because the wall clock may jump.
 */
import { asUnderstudyError } from '../domain/error.ts';
import type { ProbeVerdict } from '../domain/test-failover/point-test.ts';
import { formatProbe, type Probe } from '../domain/test-failover/probe.ts';
import type { CallOptions } from '../ports/call.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import type { HostViews } from '../ports/host-directory.ts';
import type { ProbeAttempt } from '../ports/test-bench.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { StartedTest } from './test-points.ts';

const ROUND_MS = 5_000;
const PAUSE_MS = 250;
const ATTEMPT_MS = 5_000;
/** A question that is asked just before the deadline of its probe gets this long, too. */
const ATTEMPT_MS_MIN = 1_000;
/** A check may take its time; what does not answer at all must not. */
const COMMAND_MS = 60_000;

export type Questions = {
  readonly target: HostViews;
  readonly probes: readonly Probe[];
  readonly tests: readonly StartedTest[];
};

/** Where one probe of one test stands. */
type Standing = {
  readonly test: StartedTest;
  readonly probe: Probe;
  readonly last: ProbeAttempt;
  /** When it passed, or was last asked, counted from the start. */
  readonly atMs: number;
};

/** Verdicts by test, in the order of the probes. */
export async function askInRounds(
  ports: EnginePorts,
  context: OperationContext,
  questions: Questions,
): Promise<ReadonlyMap<string, readonly ProbeVerdict[]>> {
  const { target, probes, tests } = questions;
  let standings: readonly Standing[] = tests.flatMap((test) =>
    probes.map((probe) => ({ test, probe, last: NOT_ASKED, atMs: 0 })),
  );
  let passedMs = 0;
  for (let round = 1; ; round += 1) {
    const pending = standings.filter((one) => isPending(one, passedMs));
    if (pending.length === 0) break;
    const before = passedMs;
    const answered = await context.step<Round>(`probe-${round}`, {
      do: (attempt) => askAll(ports, target, { pending, passedMs: before }, attempt),
      undo: 'nothing',
    });
    standings = standings.map((one) => {
      const answer = answered.answers[pending.indexOf(one)];
      return answer === undefined ? one : { ...one, last: answer.last, atMs: before + answer.atMs };
    });
    passedMs += answered.tookMs;
  }
  return new Map(
    tests.map((test) => [test.testId, standings.filter((one) => one.test === test).map(verdictOf)]),
  );
}

const NOT_ASKED: ProbeAttempt = { passed: false, why: 'it was never asked' };

function isPending({ last, probe }: Standing, passedMs: number): boolean {
  return !last.passed && passedMs < deadlineMs(probe);
}

function deadlineMs({ deadlineSeconds }: Probe): number {
  return deadlineSeconds * 1000;
}

function verdictOf({ probe, last, atMs }: Standing): ProbeVerdict {
  const why = last.passed ? last.why : `${last.why}, for ${probe.deadlineSeconds} s`;
  return {
    probe: formatProbe(probe),
    passed: last.passed,
    why,
    durationMs: Math.round(atMs),
  };
}

type Answer = { readonly last: ProbeAttempt; readonly atMs: number };
type Round = { readonly answers: readonly Answer[]; readonly tookMs: number };

/** Each probe is asked until its deadline, and not later; `passedMs` were over when the round began. */
async function askAll(
  { clock }: EnginePorts,
  target: HostViews,
  { pending, passedMs }: { readonly pending: readonly Standing[]; readonly passedMs: number },
  attempt: StepAttempt,
): Promise<Round> {
  const began = clock.monotonicMs();
  const elapsed = () => clock.monotonicMs() - began;
  const answers = await Promise.all(
    pending.map(async (one): Promise<Answer> => {
      const leftMs = () => deadlineMs(one.probe) - passedMs - elapsed();
      for (;;) {
        const last = await ask(target, one, leftMs(), attempt);
        const pauseMs = Math.min(PAUSE_MS, leftMs());
        if (last.passed || pauseMs <= 0 || elapsed() >= ROUND_MS) return { last, atMs: elapsed() };
        await clock.sleep(pauseMs, attempt);
      }
    }),
  );
  return { answers, tookMs: elapsed() };
}

/** A host that cannot be asked now says nothing about the point: it is asked again, by the retries of the step. */
async function ask(
  { testBench }: HostViews,
  { test, probe }: Standing,
  leftMs: number,
  { key, signal }: StepAttempt & CallOptions,
): Promise<ProbeAttempt> {
  const { testId, vmId } = test;
  try {
    const patienceMs = probe.type === 'command' ? COMMAND_MS : ATTEMPT_MS;
    const limitMs = Math.max(ATTEMPT_MS_MIN, Math.min(patienceMs, leftMs));
    return await testBench.probe({ key, testId, vmId, probe, limitMs }, { signal });
  } catch (error) {
    const { code, message } = asUnderstudyError(error);
    if (signal.aborted || code !== 'vm-missing') throw error;
    return { passed: false, why: message.replace(/\.$/, '') };
  }
}
