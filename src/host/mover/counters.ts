/**
 * Figures of one transfer, shared by all of its workers, and the allowance that bounds its speed. They live
 * in shared memory, because a message per chunk would cost more than the chunk's own bookkeeping.
 */
export type CounterName = keyof typeof SLOT;

const SLOT = {
  done: 0,
  read: 1,
  sent: 2,
  zeroed: 3,
  unchanged: 4,
  wrong: 5,
  allowance: 6,
} as const;
const SLOT_COUNT = 7;
/** A waiter looks again after this long even if nobody woke it: a backstop, not the pace. */
const WAIT_MS = 1000;

export class Counters {
  readonly #values: BigInt64Array;

  /** Continues counting in `memory`, which another thread made; by default begins at zero. */
  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(SLOT_COUNT * 8)) {
    this.#values = new BigInt64Array(memory);
  }

  get memory(): SharedArrayBuffer {
    return this.#values.buffer as SharedArrayBuffer;
  }

  add(name: CounterName, amount: number): void {
    Atomics.add(this.#values, SLOT[name], BigInt(amount));
  }

  get(name: CounterName): number {
    return Number(Atomics.load(this.#values, SLOT[name]));
  }

  /** Sets how many bytes may be sent, and wakes those who wait. */
  setAllowance(bytes: number): void {
    Atomics.store(this.#values, SLOT.allowance, BigInt(Math.floor(bytes)));
    Atomics.notify(this.#values, SLOT.allowance);
  }

  /** Adds to the allowance, up to `limitBytes`, and wakes those who wait. */
  raiseAllowance(bytes: number, limitBytes: number): void {
    const room = limitBytes - this.get('allowance');
    this.add('allowance', Math.floor(Math.max(0, Math.min(bytes, room))));
    Atomics.notify(this.#values, SLOT.allowance);
  }

  /** Waits until anything may be sent, then takes `bytes`, which may leave a debt. */
  async takeAllowance(bytes: number): Promise<void> {
    for (;;) {
      const seen = Atomics.load(this.#values, SLOT.allowance);
      if (seen > 0n) {
        const left = seen - BigInt(bytes);
        if (Atomics.compareExchange(this.#values, SLOT.allowance, seen, left) === seen) return;
        continue;
      }
      const waiting = Atomics.waitAsync(this.#values, SLOT.allowance, seen, WAIT_MS);
      if (waiting.async) await waiting.value;
    }
  }
}
