/**
 * Which bytes of a request have been answered: a reply that covers a byte twice could hide that another
 * never came. Servers answer in ascending order, so the list of gaps is nearly always of length one.
 */
export class ByteCoverage {
  readonly #ranges: { start: number; end: number }[] = [];

  /** Claims `start` up to, not including, `end`. False where any of it was claimed before. */
  add(start: number, end: number): boolean {
    const next = this.#ranges.findIndex((range) => range.end > start);
    const at = next === -1 ? this.#ranges.length : next;
    const after = this.#ranges[at];
    if (after !== undefined && after.start < end) return false;
    const before = this.#ranges[at - 1];
    const joinsBefore = before !== undefined && before.end === start;
    if (joinsBefore && after !== undefined && after.start === end) {
      before.end = after.end;
      this.#ranges.splice(at, 1);
    } else if (joinsBefore) before.end = end;
    else if (after !== undefined && after.start === end) after.start = start;
    else this.#ranges.splice(at, 0, { start, end });
    return true;
  }

  /** Whether 0 up to `lengthBytes` is covered without a gap. */
  isComplete(lengthBytes: number): boolean {
    const [first, second] = this.#ranges;
    return second === undefined && first?.start === 0 && first.end === lengthBytes;
  }
}
