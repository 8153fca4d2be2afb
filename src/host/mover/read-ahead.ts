/**
 * Pulls from a generator before anyone asks, up to a limit, so that mapping the disk does not hold up moving
 * its blocks. An error of the generator reaches whoever asks next.
 */
export class ReadAhead<T> {
  readonly #items: AsyncGenerator<T>;
  readonly #limit: number;
  readonly #held: T[] = [];
  #failure: { readonly error: unknown } | null = null;
  #isDone = false;
  #pulling: Promise<void> | null = null;

  constructor(items: AsyncGenerator<T>, limit: number) {
    this.#items = items;
    this.#limit = limit;
    this.#startPulling();
  }

  /** The next item, or null after the last. */
  async next(): Promise<T | null> {
    for (;;) {
      const item = this.#held.shift();
      this.#startPulling();
      if (item !== undefined) return item;
      if (this.#failure !== null) throw this.#failure.error;
      if (this.#isDone) return null;
      await this.#arrival;
    }
  }

  /** Waits for the generator to come to rest, after whatever it waits for has been ended. */
  async stop(): Promise<void> {
    this.#isDone = true;
    await this.#pulling;
    await this.#items.return(undefined);
  }

  #arrival: Promise<void> = Promise.resolve();
  #arrived: () => void = () => {};

  #startPulling(): void {
    if (this.#pulling !== null || this.#isDone || this.#failure !== null) return;
    this.#renewArrival();
    this.#pulling = this.#pull().finally(() => {
      this.#pulling = null;
      this.#arrived();
    });
  }

  /** Never rejects: the failure is kept. */
  async #pull(): Promise<void> {
    try {
      while (this.#held.length < this.#limit && !this.#isDone) {
        const next = await this.#items.next();
        if (next.done) this.#isDone = true;
        else this.#held.push(next.value);
        this.#arrived();
        this.#renewArrival();
      }
    } catch (error) {
      this.#failure = { error };
    }
  }

  #renewArrival(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#arrival = promise;
    this.#arrived = resolve;
  }
}
