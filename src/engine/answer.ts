/** What a person says to an operation that asked. */
import { UnderstudyError } from '../domain/error.ts';
import type { Json } from '../domain/operation/operation.ts';

/** The topic of answers. */
export const ANSWER = 'answer';

/** One of the choices. Throws `invalid-request`. */
export function answerIn<Choice extends string>(message: Json, choices: readonly Choice[]): Choice {
  const choice = choices.find((candidate) => candidate === message);
  if (choice !== undefined) return choice;
  const reason = `The answer must be one of ${choices.join(', ')}`;
  throw new UnderstudyError('invalid-request', { reason });
}
