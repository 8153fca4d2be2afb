/**
 * A thread that moves the batches it is handed, over connections of its own; then it waits for the next order. It
 * keeps no time and decides nothing: the thread that started it watches it and ends it. Messages, in order:
 *
 *   worker  up                                       main  nothing, or an order
 *   worker  connected, want, want …, done | failed   main  one batch (or null: no more) per want
 *
 * After `done` everything of the order is closed and another may come; `failed` is the last word.
 */
import { type MessagePort, parentPort } from 'node:worker_threads';
import type { BlockSet } from '../../domain/disk/block-set.ts';
import { asUnderstudyError, type ErrorRecord, errorRecord } from '../../domain/error.ts';
import type { BlockEndpoint } from '../../ports/mover.ts';
import type { Batch } from './batches.ts';
import { moveBlocks, type Sink } from './block-mover.ts';
import { type BlockOutput, serverOutput } from './block-output.ts';
import { connectNbd, type NbdConnection } from './connection.ts';
import { Counters } from './counters.ts';
import { type SharedImage, threadOutput } from './image-output.ts';

export type WorkerOrder = {
  readonly source: BlockEndpoint;
  readonly sizeBytes: number;
  readonly counterMemory: SharedArrayBuffer;
  readonly sink:
    | (Omit<Sink & { type: 'target' }, 'output'> & { readonly target: BlockEndpoint | SharedImage })
    | { readonly type: 'verify' };
};

export type WorkerMessage =
  | { readonly type: 'up' }
  | { readonly type: 'connected' }
  | { readonly type: 'want' }
  | { readonly type: 'done'; readonly wrong: BlockSet | null }
  | { readonly type: 'failed'; readonly error: ErrorRecord };

/** Ending the thread is what cancels it, so nothing here is ever aborted. */
const NEVER = new AbortController().signal;

if (parentPort !== null) await obey(parentPort);

async function obey(port: MessagePort): Promise<void> {
  const say = (message: WorkerMessage) => port.postMessage(message);
  const heard = <T>() => new Promise<T>((resolve) => port.once('message', resolve));
  const nextBatch = () => {
    const batch = heard<Batch | null>();
    say({ type: 'want' });
    return batch;
  };
  try {
    let order = heard<WorkerOrder>();
    say({ type: 'up' });
    for (;;) {
      const wrong = await work(await order, nextBatch, say);
      order = heard<WorkerOrder>(); // Before it is said that another may come.
      say({ type: 'done', wrong });
    }
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
  await moveBlocks({ source, sizeBytes, counters, nextBatch, sink });
  source.close();
  if (sink.type === 'verify') return sink.wrong;
  await sink.output.flush();
  sink.output.close();
  return null;
}

async function openSink(sink: WorkerOrder['sink']): Promise<Sink> {
  if (sink.type === 'verify') return { type: 'verify', wrong: null };
  const { target, ...others } = sink;
  return { ...others, output: await openOutput(target) };
}

async function openOutput(target: BlockEndpoint | SharedImage): Promise<BlockOutput> {
  return 'imagePath' in target ? threadOutput(target) : serverOutput(await connect(target));
}

/** Simple replies: content comes in one piece, and the server need not look for holes, which are known. */
function connect(endpoint: BlockEndpoint): Promise<NbdConnection> {
  const request = { endpoint, structuredReplies: false, metaContexts: [] };
  return connectNbd(request, { signal: NEVER });
}
