/** What a request violates, in our words where zod's own are those of programs. */
import type { z } from 'zod';

/** For `safeParse`; undefined leaves zod its words, and what the contract says itself always wins. */
export function violationWords(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'too_small':
      return isEmptiness(issue.minimum, issue.origin)
        ? 'must not be empty'
        : `must be at least ${amount(issue.minimum, issue.origin)}`;
    case 'too_big':
      return `must be at most ${amount(issue.maximum, issue.origin)}`;
    case 'unrecognized_keys':
      return `has no ${issue.keys.map((key) => JSON.stringify(key)).join(', ')}`;
    case 'invalid_value':
      return `must be ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`;
    case 'invalid_type':
      return issue.input === undefined ? 'is missing' : `must be of type ${issue.expected}`;
    default:
      return undefined;
  }
}

function isEmptiness(minimum: number | bigint, origin: string): boolean {
  return Number(minimum) === 1 && origin in UNIT_OF_ORIGIN;
}

const UNIT_OF_ORIGIN: Readonly<Record<string, string>> = {
  string: ' characters long',
  array: ' items long',
};

function amount(bound: number | bigint, origin: string): string {
  return `${bound}${UNIT_OF_ORIGIN[origin] ?? ''}`;
}
