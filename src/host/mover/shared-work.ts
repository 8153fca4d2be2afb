import type { Batch } from './batches.ts';

/** The batches of one transfer for all threads that take part in it, and what their sum tells. */
export class SharedWork {
  /** Resolves when there are no more batches. */
  readonly exhausted: Promise<void>;
  /** Whether more than `longBytes` are handed out in the end, as soon as it is known. */
  readonly isLong: Promise<boolean>;
  readonly #nextBatch: () => Promise<Batch | null>;
  readonly #longBytes: number;
  readonly #exhaust: () => void;
  readonly #tellLong: (isLong: boolean) => void;
  #handedBytes = 0;

  constructor(input: {
    readonly nextBatch: () => Promise<Batch | null>;
    readonly longBytes: number;
  }) {
    this.#nextBatch = input.nextBatch;
    this.#longBytes = input.longBytes;
    const exhausted = Promise.withResolvers<void>();
    const isLong = Promise.withResolvers<boolean>();
    this.exhausted = exhausted.promise;
    this.isLong = isLong.promise;
    this.#exhaust = exhausted.resolve;
    this.#tellLong = isLong.resolve;
  }

  /** Null after the last. */
  async next(): Promise<Batch | null> {
    const batch = await this.#nextBatch();
    if (batch === null) {
      this.end();
      return null;
    }
    this.#handedBytes += batch.byteCount;
    if (this.#handedBytes > this.#longBytes) this.#tellLong(true);
    return batch;
  }

  /** Nobody asks for more, whether or not there is any: after a failure. */
  end(): void {
    this.#exhaust();
    this.#tellLong(false);
  }
}
