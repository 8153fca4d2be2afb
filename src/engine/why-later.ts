import { asUnderstudyError } from '../domain/error.ts';
import { DEFAULT_RETRY, type StepAttempt } from '../ports/durable.ts';

/**
 * For work that may be left undone: the sentence for the history. What may help to try again at once is thrown to the
 * engine, which does; so are our own bugs, and whatever a step threw because it was told to stop.
 */
export function whyLater(error: unknown, { attempt, signal }: StepAttempt): string {
  const { kind, message } = asUnderstudyError(error);
  if (signal.aborted || kind === 'bug' || kind === 'cancelled') throw error;
  if (kind === 'transient' && attempt < DEFAULT_RETRY.attemptsMax) throw error;
  return message;
}
