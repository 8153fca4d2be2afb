/**
 * Group commit. Writes that are asked for during one turn of the event loop share one transaction and
 * one flush to the disk; each is applied entirely or not at all, in the order asked. Events are published
 * after the commit, so that nobody hears of what a crash could still undo.
 *
 * A transaction that cannot be committed (disk full, file gone) stops the writer for good: what the
 * process believes and what the journal says would drift apart. Only a restart reads the journal anew.
 */
import type { DatabaseSync } from 'node:sqlite';

/** Bounds how long one transaction keeps the event loop; the rest goes into the next one. */
const WRITES_PER_COMMIT_MAX = 128;

export type Commits = {
  /**
   * Resolves after the commit, with what `apply` returned; rejects when it threw, and then it left no trace.
   * Actions that `apply` hands to `afterCommit` run after the commit in the order of all writes, before the
   * promises of its writes are settled.
   */
  write<T>(apply: (afterCommit: AfterCommit) => T): Promise<T>;
  /** Drops what is not committed and every later write; their promises stay open. As in a crash. */
  abandon(): void;
  readonly isStopped: () => boolean;
};

export type AfterCommit = (action: () => void) => void;

type Pending = {
  readonly apply: (afterCommit: AfterCommit) => void;
  readonly succeed: () => void;
  readonly fail: (error: unknown) => void;
};

export function createCommits(parts: {
  readonly database: DatabaseSync;
  readonly onFault: (error: unknown) => void;
  /** When a batch closes: at the next turn of the event loop. */
  readonly nextTurn: (flush: () => void) => void;
}): Commits {
  const { database, nextTurn } = parts;
  let pending: Pending[] = [];
  let stopped: 'no' | 'abandoned' | { readonly because: unknown } = 'no';

  function flush(): void {
    if (stopped !== 'no' || pending.length === 0) return;
    const batch = pending.slice(0, WRITES_PER_COMMIT_MAX);
    pending = pending.slice(WRITES_PER_COMMIT_MAX);
    if (pending.length > 0) nextTurn(flush);
    try {
      for (const action of commit(batch)) action();
    } catch (error) {
      stopped = { because: error };
      for (const write of [...batch, ...pending]) write.fail(error);
      pending = [];
      parts.onFault(error);
    }
  }

  /** What to do once everything is durable: first what was to follow the commit, then the answers. */
  function commit(batch: readonly Pending[]): (() => void)[] {
    const actions: (() => void)[] = [];
    database.exec('BEGIN IMMEDIATE');
    try {
      const answers = batch.map((write) => applyOne(write, actions));
      database.exec('COMMIT');
      return [...actions, ...answers];
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      throw error;
    }
  }

  function applyOne(write: Pending, actions: (() => void)[]): () => void {
    const own: (() => void)[] = [];
    database.exec('SAVEPOINT one');
    try {
      write.apply((action) => own.push(action));
    } catch (error) {
      database.exec('ROLLBACK TO one; RELEASE one');
      return () => write.fail(error);
    }
    database.exec('RELEASE one');
    actions.push(...own);
    return write.succeed;
  }

  return {
    write<T>(apply: (afterCommit: AfterCommit) => T): Promise<T> {
      if (stopped === 'abandoned') return new Promise(() => {});
      if (stopped !== 'no') return Promise.reject(stopped.because);
      return new Promise<T>((resolve, reject) => {
        let answer: { readonly value: T };
        if (pending.length === 0) nextTurn(flush);
        pending.push({
          apply: (afterCommit) => {
            answer = { value: apply(afterCommit) };
          },
          succeed: () => resolve(answer.value),
          fail: reject,
        });
      });
    },
    abandon() {
      stopped = 'abandoned';
      pending = [];
    },
    isStopped: () => stopped !== 'no',
  };
}
