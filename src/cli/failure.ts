import type { PreflightFindingAnswer } from '../contract/job.ts';
import type { ProblemAnswer } from '../contract/problem.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { violationWords } from './violations.ts';

/** Why a command ends without success: the sentence for people, and the exit code for programs. */
export class Failure extends Error {
  readonly exitCode: number;
  readonly findings: readonly PreflightFindingAnswer[];
  /** What the server said; null: it is our own. */
  readonly problem: ProblemAnswer | null;
  /** The server is there and says nothing: to ask it again now is in vain. */
  readonly isHanging: boolean;

  constructor(
    message: string,
    exitCode: number,
    options: {
      readonly problem?: ProblemAnswer;
      readonly cause?: unknown;
      readonly isHanging?: boolean;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Failure';
    this.exitCode = exitCode;
    this.problem = options.problem ?? null;
    this.isHanging = options.isHanging ?? false;
    this.findings = options.problem?.findings ?? [];
  }
}

export function usageFailure(message: string): Failure {
  return new Failure(message, EXIT.usage);
}

/** Every violation is named, so that one attempt tells all. */
export function problemFailure(problem: ProblemAnswer): Failure {
  const [first = problem.detail, ...further] = (problem.violations ?? []).map(violationWords);
  const lines = further.map((line) => `  ${line}`);
  return new Failure([first, ...lines].join('\n'), exitCodeOf(problem.kind), { problem });
}

/** What waits may be ended by the person at the keyboard. */
export function interruptedFailure(message: string): Failure {
  return new Failure(message, EXIT.interrupted);
}
