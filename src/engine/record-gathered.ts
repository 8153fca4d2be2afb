/**
 * Records changes of which some are of a job. An operation holds its replica, not the job, which a person may change, or the
 * operation of another replica, between the look at it and the record. Then they are gathered anew: a retry would only find what
 * the journal says, and come to the same refusal for ever.
 */
import { asUnderstudyError } from '../domain/error.ts';
import type { CatalogChange } from '../ports/catalog.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';

/** Each takes somebody else who was quicker, within milliseconds. */
const ATTEMPTS_MAX = 8;

/** Irreversible. */
export async function recordGathered(
  context: OperationContext,
  name: string,
  gather: (attempt: StepAttempt) => Promise<readonly CatalogChange[]>,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const end = attempt === 1 ? '' : `-${attempt}`;
    const changes = await context.step<readonly CatalogChange[]>(`gather-changes${end}`, {
      do: gather,
      undo: 'nothing',
    });
    try {
      await context.record(`${name}${end}`, changes, { undo: 'irreversible' });
      return;
    } catch (error) {
      if (attempt === ATTEMPTS_MAX || !isOfJob(error)) throw error;
    }
  }
}

/** The replica itself is nobody else's to change. */
function isOfJob(error: unknown): boolean {
  const { code, details } = asUnderstudyError(error);
  return (
    code === 'name-taken' || (code === 'version-conflict' && /^job /.test(`${details.record}`))
  );
}
