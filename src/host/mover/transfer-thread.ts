/** A thread of transfer-worker.ts as the thread that started it sees it: given one piece of work at a time, or ended. */
import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { BlockSet } from '../../domain/disk/block-set.ts';
import { errorFromRecord, UnderstudyError } from '../../domain/error.ts';
import type { Batch } from './batches.ts';
import type { WorkerMessage, WorkerOrder } from './transfer-worker.ts';

export type Assignment = {
  readonly order: WorkerOrder;
  readonly nextBatch: () => Promise<Batch | null>;
  /** Called when the worker has its connections. */
  readonly connected: () => void;
  /** Resolves when there are no more batches: who is not connected by then is not needed any more. */
  readonly exhausted: Promise<void>;
};

/** Work under way, and what its messages do. */
type Task = Assignment & {
  state: 'waiting' | 'connecting' | 'connected';
  readonly resolve: (wrong: BlockSet | null) => void;
  readonly reject: (error: unknown) => void;
};

/**
 * A worker's own heap; buffers are not part of it. It needs about 8 MiB. The young generation is small
 * because it is always used up; the old one is not, because V8 collects early where little is left.
 */
const HEAP_LIMITS = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 1 };

export class TransferThread {
  /** Resolves when the thread is no more, whatever ended it. */
  readonly ended: Promise<void>;
  readonly #worker: Worker;
  #isUp = false;
  #hasEnded = false;
  #task: Task | null = null;

  constructor() {
    this.#worker = new Worker(new URL('./transfer-worker.ts', import.meta.url), {
      resourceLimits: HEAP_LIMITS,
      execArgv: [],
      env: environment(),
    });
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    this.ended = ended;
    this.#worker.on('message', (message: WorkerMessage) => this.#hear(message));
    // An error that nobody waits for (the thread was idle) shows in its end.
    this.#worker.on('error', (error) => this.#task?.reject(error));
    this.#worker.on('exit', () => {
      this.#hasEnded = true;
      const reason = 'a transfer worker ended early';
      this.#task?.reject(new UnderstudyError('unexpected', { reason }));
      end();
    });
  }

  /** Alive and without work: it can be given some. */
  get isFree(): boolean {
    return !this.#hasEnded && this.#task === null;
  }

  /** For the debugger and the tests. */
  get threadId(): number {
    return this.#worker.threadId;
  }

  /**
   * Answers the worker until it is done, or until everything is done before it had begun; resolves with the wrong blocks
   * that it found. After a failure, and when it was not needed while it was connecting, the thread is not free again.
   */
  serve(assignment: Assignment): Promise<BlockSet | null> {
    return new Promise((resolve, reject) => {
      const task: Task = { ...assignment, state: 'waiting', resolve, reject };
      this.#task = task;
      assignment.exhausted.then(() => {
        if (task.state === 'waiting') this.#done(task, null);
        else if (task.state === 'connecting') resolve(null);
      });
      if (this.#isUp) this.#begin(task);
    });
  }

  holdProcess(): void {
    this.#worker.ref();
  }

  releaseProcess(): void {
    this.#worker.unref();
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  #hear(message: WorkerMessage): void {
    const task = this.#task;
    if (message.type === 'up') {
      this.#isUp = true;
      if (task !== null) this.#begin(task);
    } else if (task === null) return;
    else if (message.type === 'connected') {
      task.state = 'connected';
      task.connected();
    } else if (message.type === 'want') {
      task.nextBatch().then((batch) => this.#worker.postMessage(batch), task.reject);
    } else if (message.type === 'done') this.#done(task, message.wrong);
    else task.reject(errorFromRecord(message.error));
  }

  #begin(task: Task): void {
    task.state = 'connecting';
    this.#worker.postMessage(task.order);
  }

  #done(task: Task, wrong: BlockSet | null): void {
    this.#task = null;
    task.resolve(wrong);
  }
}

/**
 * A worker needs nothing of the environment but the compile cache of this process, if it has one (whoever
 * enabled it answers for the safety of its folder). Measured for two workers: 100 instead of 260 ms of
 * processor time, and 33 instead of 70 MiB, because with it no worker loads the type stripper.
 */
function environment(): NodeJS.Dict<string> {
  const folder = getCompileCacheDir();
  // What is told is the part for this version of Node; what must be given is the folder of all parts.
  return folder === undefined ? {} : { NODE_COMPILE_CACHE: dirname(folder) };
}
