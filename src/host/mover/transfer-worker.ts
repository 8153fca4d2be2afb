/**
 * A thread that moves the batches it is handed, over a pair of connections of its own. It keeps no time and
 * decides nothing: the thread that started it watches it and ends it. Messages, in order:
 *
 *   worker  connected, want, want …, done | failed        main  one batch (or null: no more) per want
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { BlockSet } from '../../domain/disk/block-set.ts';
import { asUnderstudyError, type ErrorRecord, errorRecord } from '../../domain/error.ts';
import type { BlockEndpoint } from '../../ports/mover.ts';
import type { Batch } from './batches.ts';
import { LANES, moveBlocks, type Sink } from './block-mover.ts';
import { connectNbd, type NbdConnection } from './connection.ts';
import { Counters } from './counters.ts';
import { flushIfPossible } from './endpoint.ts';

export type WorkerOrder = {
  readonly source: BlockEndpoint;
  readonly sizeBytes: number;
  readonly counterMemory: SharedArrayBuffer;
  readonly sink:
    | (Omit<Sink & { type: 'target' }, 'target'> & { readonly target: BlockEndpoint })
    | { readonly type: 'verify' };
};

export type WorkerMessage =
  | { readonly type: 'connected' }
  | { readonly type: 'want' }
  | { readonly type: 'done'; readonly wrong: BlockSet | null }
  | { readonly type: 'failed'; readonly error: ErrorRecord };

/** Ending the thread is what cancels it, so nothing here is ever aborted. */
const NEVER = new AbortController().signal;

const port = parentPort;
if (port !== null) {
  const say = (message: WorkerMessage) => port.postMessage(message);
  const nextBatch = () =>
    new Promise<Batch | null>((resolve) => {
      port.once('message', (batch: Batch | null) => resolve(batch));
      say({ type: 'want' });
    });
  try {
    say({ type: 'done', wrong: await work(workerData as WorkerOrder, nextBatch, say) });
  } catch (error) {
    say({ type: 'failed', error: errorRecord(asUnderstudyError(error)) });
  }
  port.close();
}

async function work(
  order: WorkerOrder,
  nextBatch: () => Promise<Batch | null>,
  say: (message: WorkerMessage) => void,
): Promise<BlockSet | null> {
  const [source, sink] = await Promise.all([connect(order.source), openSink(order.sink)]);
  say({ type: 'connected' });
  const counters = new Counters(order.counterMemory);
  const { sizeBytes } = order;
  await moveBlocks({ source, sizeBytes, counters, nextBatch, sink, laneCount: LANES });
  source.close();
  if (sink.type === 'verify') return sink.wrong;
  await flushIfPossible(sink.target);
  sink.target.close();
  return null;
}

async function openSink(sink: WorkerOrder['sink']): Promise<Sink> {
  if (sink.type === 'verify') return { type: 'verify', wrong: null };
  return { ...sink, target: await connect(sink.target) };
}

/** Simple replies: content comes in one piece, and the server need not look for holes, which are known. */
function connect(endpoint: BlockEndpoint): Promise<NbdConnection> {
  const request = { endpoint, structuredReplies: false, metaContexts: [] };
  return connectNbd(request, { signal: NEVER });
}
