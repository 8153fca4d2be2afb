/**
 * Sessions that were given up and do not come to rest: a file system that hangs lets nobody go who writes to it. Only the next
 * session that writes to the same files waits for them, because what they had begun may still be written.
 */
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import { abortError } from './errors.ts';

export class Stragglers {
  readonly #clock: Clock;
  readonly #patienceMs: number;
  /** By file: when none of those that were left behind writes to it any more. */
  readonly #atRest = new Map<string, Promise<void>>();

  /** `patienceMs`: how long one that is given up may take. */
  constructor({ clock, patienceMs }: { readonly clock: Clock; readonly patienceMs: number }) {
    this.#clock = clock;
    this.#patienceMs = patienceMs;
  }

  /**
   * Settles as the session does, which rejects when the signal is aborted; where it does not in time it is left behind with the files
   * that it writes to, and the reason of the signal is the error.
   */
  async orLeave<T>(
    session: Promise<T>,
    paths: readonly string[],
    { signal }: CallOptions,
  ): Promise<T> {
    const settled = new AbortController();
    const { promise: left, reject: leave } = Promise.withResolvers<never>();
    const onAbort = () => {
      this.#clock.sleep(this.#patienceMs, { signal: settled.signal }).then(
        () => {
          this.#add(paths, session.then(nothing, nothing));
          leave(abortError(signal));
        },
        nothing, // It came to rest in time.
      );
    };
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([session, left]);
    } finally {
      signal.removeEventListener('abort', onAbort);
      settled.abort();
    }
  }

  /** Resolves when none of them writes to any of the files. Rejects as soon as the signal is aborted. */
  async gone(paths: readonly string[], { signal }: CallOptions): Promise<void> {
    const found = paths.flatMap((path) => this.#atRest.get(path) ?? []);
    if (found.length === 0) return;
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(abortError(signal));
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.race([Promise.all(found), aborted]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #add(paths: readonly string[], atRest: Promise<void>): void {
    for (const path of paths) {
      const all = Promise.all([this.#atRest.get(path), atRest]).then(() => {
        if (this.#atRest.get(path) === all) this.#atRest.delete(path);
      });
      this.#atRest.set(path, all);
    }
  }
}

function nothing(): void {}
