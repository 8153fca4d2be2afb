/** Something that is to happen at a moment of virtual time. */
export type Timer = {
  dueMs: number;
  /** Breaks ties: what was asked for first happens first. */
  sequence: number;
  /** Background timers happen when time passes them, but never make it pass. */
  readonly isBackground: boolean;
  readonly fire: () => void;
  isCancelled: boolean;
  /** It is not in the queue any more. */
  isTaken: boolean;
};

/**
 * A binary heap by (due, sequence). Cancelled timers are dropped when they surface, and all of them when they are the greater
 * part: a deadline of hours that is cancelled after a second must not hold for hours what it would have ended.
 */
export type TimerQueue = {
  add(timer: Timer): void;
  /** It never fires. One that fired or was cancelled stays so. */
  cancel(timer: Timer): void;
  /** Removes and returns the earliest that is not cancelled. */
  take(): Timer | null;
  peek(): Timer | null;
};

export function createTimerQueue(): TimerQueue {
  let heap: Timer[] = [];
  let cancelled = 0;
  const peek = (): Timer | null => {
    while (heap[0]?.isCancelled === true) {
      removeFirst(heap);
      cancelled -= 1;
    }
    return heap[0] ?? null;
  };
  /** Sorted, an array is a heap. */
  const dropCancelled = () => {
    heap = heap.filter((timer) => !timer.isCancelled).sort(byDue);
    cancelled = 0;
  };
  return {
    add: (timer) => {
      heap.push(timer);
      siftUp(heap, heap.length - 1);
    },
    cancel: (timer) => {
      if (timer.isCancelled || timer.isTaken) return;
      timer.isCancelled = true;
      cancelled += 1;
      if (cancelled > CANCELLED_MIN && cancelled > heap.length / 2) dropCancelled();
    },
    peek,
    take: () => {
      const first = peek();
      if (first === null) return null;
      removeFirst(heap);
      first.isTaken = true;
      return first;
    },
  };
}

/** Fewer are not worth the look at all others. */
const CANCELLED_MIN = 64;

function isBefore(a: Timer, b: Timer): boolean {
  return byDue(a, b) < 0;
}

function byDue(a: Timer, b: Timer): number {
  return a.dueMs - b.dueMs || a.sequence - b.sequence;
}

function removeFirst(heap: Timer[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  heap[0] = last;
  siftDown(heap);
}

function siftUp(heap: Timer[], start: number): void {
  let index = start;
  while (index > 0) {
    const above = (index - 1) >> 1;
    if (!swapIfBefore(heap, index, above)) return;
    index = above;
  }
}

function siftDown(heap: Timer[]): void {
  let index = 0;
  for (;;) {
    const left = 2 * index + 1;
    const leftTimer = heap[left];
    if (leftTimer === undefined) return;
    const rightTimer = heap[left + 1];
    const least = rightTimer !== undefined && isBefore(rightTimer, leftTimer) ? left + 1 : left;
    if (!swapIfBefore(heap, least, index)) return;
    index = least;
  }
}

/** Swaps when the timer at `below` belongs before the one at `above`. */
function swapIfBefore(heap: Timer[], below: number, above: number): boolean {
  const lower = heap[below];
  const upper = heap[above];
  if (lower === undefined || upper === undefined || !isBefore(lower, upper)) return false;
  heap[above] = lower;
  heap[below] = upper;
  return true;
}
