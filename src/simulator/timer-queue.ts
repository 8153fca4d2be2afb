/** Something that is to happen at a moment of virtual time. */
export type Timer = {
  dueMs: number;
  /** Breaks ties: what was asked for first happens first. */
  sequence: number;
  /** Background timers happen when time passes them, but never make it pass. */
  readonly isBackground: boolean;
  readonly fire: () => void;
  isCancelled: boolean;
};

/** A binary heap by (due, sequence). Cancelled timers are dropped when they surface. */
export type TimerQueue = {
  add(timer: Timer): void;
  /** Removes and returns the earliest that is not cancelled. */
  take(): Timer | null;
  peek(): Timer | null;
};

export function createTimerQueue(): TimerQueue {
  const heap: Timer[] = [];
  const peek = (): Timer | null => {
    while (heap[0]?.isCancelled === true) removeFirst(heap);
    return heap[0] ?? null;
  };
  return {
    add: (timer) => {
      heap.push(timer);
      siftUp(heap, heap.length - 1);
    },
    peek,
    take: () => {
      const first = peek();
      if (first !== null) removeFirst(heap);
      return first;
    },
  };
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.sequence < b.sequence);
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
