/**
 * Listens to the ledger of the source VM all the time, as its users would, to know afterwards what must be in a
 * restore point and what cannot be.
 *
 *   record number     asked ──> answered            freeze begins ──> freeze is done            asked ──> answered
 *                     "records 0..311 are safe"              the instant                    "records 0..330 are safe"
 *                     so the point holds at least these                          so the point holds no more than these
 *
 * All times are of this machine's clock, which the server uses, too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LedgerState } from '../../rig/ledger-client.ts';
import type { TestVm } from '../../rig/test-vm.ts';

export interface LedgerWatch {
  /** The newest answer. */
  readonly last: Answer;
  /** The next answer to a question that is yet to be asked. @throws Error when the guest stays silent. */
  next(): Promise<Answer>;
  /** Until so many records have been written since the call. */
  untilWritten(count: number): Promise<Answer>;
  /** How many records an instant between the two times holds at least and at most. */
  bounds(fromMs: number, toMs: number): RecordBounds;
  /** Longest time without an answer so far, in ms. */
  readonly longestSilenceMs: number;
  stop(): Promise<void>;
}

export type Answer = {
  readonly askedAt: number;
  readonly answeredAt: number;
  readonly seq: number;
  readonly sum: string;
};

/** Counts of records, numbered from 0. */
export type RecordBounds = {
  /** The newest answer before: the checksum of record `atLeast - 1` is known with it. */
  readonly before: Answer;
  readonly atLeast: number;
  readonly atMost: number;
};

const intervalMs = 60;
const silenceMsMax = 30_000;

/** The VM must be answering. Ends by itself when `signal` is aborted. */
export async function watchLedger(
  vm: Pick<TestVm, 'ledger'>,
  signal: AbortSignal,
): Promise<LedgerWatch> {
  const answers: Answer[] = [await ask(vm)];
  const ending = new AbortController();
  const ended = listen(vm, answers, AbortSignal.any([signal, ending.signal]));
  const last = (): Answer => {
    const answer = answers.at(-1);
    if (answer === undefined) throw new Error('There is always the first answer');
    return answer;
  };
  const until = async (isReached: (answer: Answer) => boolean): Promise<Answer> => {
    const end = Date.now() + silenceMsMax;
    while (!isReached(last())) {
      if (Date.now() > end) throw new Error('The ledger of the source VM stands still');
      await sleep(20, undefined, { signal });
    }
    return last();
  };
  return {
    get last() {
      return last();
    },
    next() {
      const now = Date.now();
      return until((answer) => answer.askedAt >= now);
    },
    untilWritten(count) {
      const target = last().seq + count;
      return until((answer) => answer.seq >= target);
    },
    bounds(fromMs, toMs) {
      const before = answers.findLast((answer) => answer.answeredAt <= fromMs);
      const after = answers.find((answer) => answer.askedAt >= toMs);
      if (before === undefined || after === undefined) {
        throw new Error('The ledger was not heard before and after that instant');
      }
      // One more: a record may be on the disk before it is counted.
      return { before, atLeast: before.seq, atMost: after.seq + 1 };
    },
    get longestSilenceMs() {
      const gaps = answers.map((answer, index) =>
        index === 0 ? 0 : answer.answeredAt - (answers[index - 1]?.answeredAt ?? 0),
      );
      return Math.max(...gaps);
    },
    async stop() {
      ending.abort();
      await ended;
    },
  };
}

async function listen(
  vm: Pick<TestVm, 'ledger'>,
  answers: Answer[],
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      answers.push(await ask(vm));
    } catch {
      // No answer is no knowledge; whoever waits for one notices.
    }
    await sleep(intervalMs, undefined, { signal }).catch(() => undefined);
  }
}

async function ask(vm: Pick<TestVm, 'ledger'>): Promise<Answer> {
  const askedAt = Date.now();
  const { seq, sum }: LedgerState = await vm.ledger();
  return { askedAt, answeredAt: Date.now(), seq, sum };
}
