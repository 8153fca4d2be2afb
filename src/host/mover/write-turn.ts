/**
 * Whose turn it is to write to a file, among threads: the kernel lets in one at a time and has the others spin, who may have
 * blocks to hash meanwhile.
 */
const FREE = 0;
const TAKEN = 1;
/** A waiter looks again after this long even if nobody woke it: a backstop, not the pace. */
const WAIT_MS = 1000;

export class WriteTurn {
  readonly #state: Int32Array;
  #isClosed = false;

  /** Shares `memory`, which another thread made; by default nobody has the turn. */
  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)) {
    this.#state = new Int32Array(memory);
  }

  get memory(): SharedArrayBuffer {
    return this.#state.buffer as SharedArrayBuffer;
  }

  /** Waits for the turn, and gives it on when `write` has settled. Rejects when this side was closed. */
  async run(write: () => Promise<void> | void): Promise<void> {
    while (!this.#take()) {
      const waiting = Atomics.waitAsync(this.#state, 0, TAKEN, WAIT_MS);
      if (waiting.async) await waiting.value;
    }
    try {
      await write();
    } finally {
      Atomics.store(this.#state, 0, FREE);
      Atomics.notify(this.#state, 0, 1);
    }
  }

  close(): void {
    this.#isClosed = true;
    Atomics.notify(this.#state, 0);
  }

  #take(): boolean {
    // Asked before each try: a thread that was ended while it wrote never gives its turn on.
    if (this.#isClosed) throw new Error('the image was closed');
    return Atomics.compareExchange(this.#state, 0, FREE, TAKEN) === FREE;
  }
}
