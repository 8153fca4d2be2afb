import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { BlockSet } from '../../domain/disk/block-set.ts';
import { errorFromRecord, UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { Batch } from './batches.ts';
import { abortError } from './errors.ts';
import type { WorkerMessage, WorkerOrder } from './transfer-worker.ts';

export type PoolRequest = {
  readonly workerCount: number;
  readonly order: WorkerOrder;
  readonly nextBatch: () => Promise<Batch | null>;
  /** Called when every worker has its connections. */
  readonly connected: () => void;
  /** Resolves when there are no more batches: who is not connected by then is not needed any more. */
  readonly exhausted: Promise<void>;
};

/**
 * A worker's own heap; buffers are not part of it. It needs about 8 MiB. The young generation is small
 * because it is always used up; the old one is not, because V8 collects early where little is left.
 */
const HEAP_LIMITS = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 1 };

/**
 * Lets several threads share the batches; resolves with the wrong blocks that each found. When one fails, or
 * the signal is aborted, all are ended. In any case no thread is left when it settles.
 */
export async function runWorkers(
  request: PoolRequest,
  { signal }: CallOptions,
): Promise<readonly (BlockSet | null)[]> {
  const { promise: aborted, reject: abort } = Promise.withResolvers<never>();
  const onAbort = () => abort(abortError(signal));
  if (signal.aborted) throw abortError(signal);
  signal.addEventListener('abort', onAbort, { once: true });
  let unconnected = request.workerCount;
  const connected = () => {
    unconnected -= 1;
    if (unconnected === 0) request.connected();
  };
  const workers = Array.from({ length: request.workerCount }, () => startWorker(request.order));
  try {
    const results = workers.map((worker) => serve(worker, request, connected));
    return await Promise.race([Promise.all(results), aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

function startWorker(order: WorkerOrder): Worker {
  return new Worker(new URL('./transfer-worker.ts', import.meta.url), {
    workerData: order,
    resourceLimits: HEAP_LIMITS,
    execArgv: [],
    env: environment(),
  });
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

/** Answers a worker until it is done. */
function serve(
  worker: Worker,
  { nextBatch, exhausted }: PoolRequest,
  connected: () => void,
): Promise<BlockSet | null> {
  return new Promise((resolve, reject) => {
    let isConnected = false;
    exhausted.then(() => {
      if (!isConnected) resolve(null);
    });
    worker.on('message', (message: WorkerMessage) => {
      if (message.type === 'connected') {
        isConnected = true;
        connected();
      } else if (message.type === 'want') {
        nextBatch().then((batch) => worker.postMessage(batch), reject);
      } else if (message.type === 'done') resolve(message.wrong);
      else reject(errorFromRecord(message.error));
    });
    worker.on('error', reject);
    worker.on('exit', () => {
      reject(new UnderstudyError('unexpected', { reason: 'a transfer worker ended early' }));
    });
  });
}
