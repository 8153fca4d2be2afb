/**
 * Threads for large transfers, kept for the next one. A transfer has its threads for itself: what fails or is aborted ends
 * them, and they are not used again. Those that came to a good end wait, as long as they may:
 *
 *            take                          good end
 *   start ─────────▶ busy with one transfer ────────▶ idle ── idleMs ──▶ ended
 *                        │  ▲                          │
 *                        │  └────────── take ──────────┘
 *                        └─ failure, abort, death ─▶ ended
 *
 * One may be started before there is a transfer; it waits like those. Idle threads never keep the process alive.
 */
import type { BlockSet } from '../../domain/disk/block-set.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Clock } from '../../ports/clock.ts';
import { abortError } from './errors.ts';
import { type Assignment, TransferThread } from './transfer-thread.ts';

export type PoolRequest = Assignment & {
  readonly workerCount: number;
};

type IdleThread = { readonly thread: TransferThread; readonly leave: AbortController };

export class WorkerPool {
  readonly #clock: Clock;
  readonly #idleMs: number;
  readonly #idleMax: number;
  readonly #start: () => TransferThread;
  #idle: readonly IdleThread[] = [];

  /** `idleMax`: how many may wait, so that a rush of transfers leaves no crowd behind. */
  constructor(input: {
    readonly clock: Clock;
    readonly idleMs: number;
    readonly idleMax: number;
    readonly start?: () => TransferThread;
  }) {
    this.#clock = input.clock;
    this.#idleMs = input.idleMs;
    this.#idleMax = input.idleMax;
    this.#start = input.start ?? (() => new TransferThread());
  }

  get idleCount(): number {
    return this.#idle.length;
  }

  /** Has a thread ready for a transfer to come, unless one is. What cannot be started, nobody hears of before it is needed. */
  prepare(): void {
    if (this.#idle.length > 0 || this.#idleMax === 0) return;
    try {
      this.#letWait(this.#start());
    } catch {}
  }

  /**
   * Lets several threads share the batches; resolves with the wrong blocks that each found. When one fails, or
   * the signal is aborted, all are ended. In any case none of them is at work when it settles.
   */
  async run(request: PoolRequest, { signal }: CallOptions): Promise<readonly (BlockSet | null)[]> {
    if (signal.aborted) throw abortError(signal);
    const { promise: aborted, reject: abort } = Promise.withResolvers<never>();
    const onAbort = () => abort(abortError(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    const threads = Array.from({ length: request.workerCount }, () => this.#take());
    try {
      const results = threads.map((thread) => thread.serve(request));
      return await Promise.race([Promise.all(results), aborted]);
    } finally {
      signal.removeEventListener('abort', onAbort);
      await Promise.all(threads.map((thread) => this.#putBack(thread)));
    }
  }

  #take(): TransferThread {
    const [first, ...others] = this.#idle;
    if (first === undefined) return this.#start();
    this.#idle = others;
    first.leave.abort();
    first.thread.holdProcess();
    return first.thread;
  }

  async #putBack(thread: TransferThread): Promise<void> {
    if (!thread.isFree || this.#idle.length >= this.#idleMax) return await thread.end();
    this.#letWait(thread);
  }

  #letWait(thread: TransferThread): void {
    const idle = { thread, leave: new AbortController() };
    this.#idle = [...this.#idle, idle];
    thread.releaseProcess();
    this.#endLater(idle);
  }

  /** One that dies while it waits is not handed out. */
  #endLater({ thread, leave }: IdleThread): void {
    const options = { signal: leave.signal, isBackground: true };
    const rested = this.#clock.sleep(this.#idleMs, options);
    const over = Promise.race([rested, thread.ended]);
    over.then(
      () => {
        this.#idle = this.#idle.filter((each) => each.thread !== thread);
        leave.abort();
        return thread.end();
      },
      () => {}, // Taken.
    );
  }
}
