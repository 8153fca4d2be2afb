/** The steps of a failing run that matter. */
import type { RunResult, RunSpec } from './random-run.ts';

type Shrinking = {
  readonly play: (spec: RunSpec) => Promise<RunResult>;
  /** False when enough time has been spent. */
  readonly mayGoOn: () => boolean;
};

/** Leaves out ever smaller pieces for as long as the run still fails in the same way; what is left does, too. */
export async function shrinkRun(
  spec: RunSpec,
  failure: RunResult,
  { play, mayGoOn }: Shrinking,
): Promise<RunSpec> {
  const wanted = new Set(failure.violations.map(kindOf));
  const last = failure.failedAt ?? Number.POSITIVE_INFINITY;
  let steps = spec.steps.filter((step) => step <= last);
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < steps.length && mayGoOn(); ) {
      const fewer = [...steps.slice(0, at), ...steps.slice(at + size)];
      const { violations } = await play({ ...spec, steps: fewer });
      if (violations.some((violation) => wanted.has(kindOf(violation)))) steps = fewer;
      else at += size;
    }
  }
  return { ...spec, steps };
}

/** Without what differs from run to run: identifiers, instants and numbers. */
function kindOf(violation: string): string {
  return violation.replace(
    /\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[a-z]{2}-\w+|\d+/g,
    '#',
  );
}

/** `1-3,7`: as the program takes it. */
export function formatSteps(steps: readonly number[]): string {
  const parts: string[] = [];
  for (let at = 0; at < steps.length; at += 1) {
    const first = steps[at];
    while (steps[at + 1] === (steps[at] ?? 0) + 1) at += 1;
    parts.push(first === steps[at] ? `${first}` : `${first}-${steps[at]}`);
  }
  return parts.join(',');
}

/** The reverse. Throws RangeError. */
export function parseSteps(text: string): readonly number[] {
  return text.split(',').flatMap((part) => {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (match === null) throw new RangeError(`not a range of steps: ${part}`);
    const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
  });
}
