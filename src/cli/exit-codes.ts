import type { ErrorKindAnswer } from '../contract/problem.ts';

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  conflict: 3,
  missing: 4,
  cancelled: 5,
  /** EX_UNAVAILABLE of sysexits(3). */
  unreachable: 69,
  /** EX_SOFTWARE of sysexits(3). */
  bug: 70,
  /** 128 + SIGINT, as shells report it. */
  interrupted: 130,
} as const;

export const EXIT_CODES_HELP = `Exit codes:
  0   done
  1   failed; trying again may help
  2   wrong usage, or a request that can never work
  3   the state of things forbids it right now
  4   something named does not exist
  5   cancelled
  69  no server answers, or it hangs
  70  unexpected: a bug
  130 interrupted; an operation that was begun goes on`;

export function exitCodeOf(kind: ErrorKindAnswer): number {
  switch (kind) {
    case 'invalid':
      return EXIT.usage;
    case 'missing':
      return EXIT.missing;
    case 'conflict':
      return EXIT.conflict;
    case 'transient':
      return EXIT.failed;
    case 'cancelled':
      return EXIT.cancelled;
    case 'bug':
      return EXIT.bug;
  }
}
