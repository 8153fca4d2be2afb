import { asUnderstudyError, type UnderstudyError } from '../../domain/error.ts';
import type { Clock } from '../../ports/clock.ts';
import type { RetryPolicy } from '../../ports/durable.ts';

/**
 * Performs until it succeeds, the policy is exhausted, the signal is aborted or the error is not worth another
 * attempt; then throws the last error. Rejects with `cancelled` when aborted during a pause.
 */
export async function withRetries<T>(parts: {
  readonly perform: (attempt: number) => Promise<T>;
  readonly policy: RetryPolicy;
  readonly isWorthRetrying: (error: UnderstudyError) => boolean;
  readonly onRetry: (error: UnderstudyError, delayMs: number) => Promise<void>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}): Promise<T> {
  const { policy, clock, signal } = parts;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await parts.perform(attempt);
    } catch (caught) {
      const error = asUnderstudyError(caught);
      const isLast = attempt >= policy.attemptsMax || signal.aborted;
      if (isLast || !parts.isWorthRetrying(error)) throw error;
      const delayMs = retryDelayMs(policy, attempt);
      await parts.onRetry(error, delayMs);
      await clock.sleep(delayMs, { signal });
    }
  }
}

/** The pause after that many failed attempts. */
function retryDelayMs(policy: RetryPolicy, failedAttempts: number): number {
  return Math.min(policy.firstDelayMs * 2 ** (failedAttempts - 1), policy.delayMsMax);
}
