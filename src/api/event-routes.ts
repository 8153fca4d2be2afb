/**
 * Live events. A stream of one operation begins with what the reader has not seen (`Last-Event-ID`) and
 * ends with the operation: nothing is lost or doubled between the history and the live part, because the
 * subscription comes first and the history is cut where the live events begin. While the operation is queued it carries
 * what that waits for, too.
 */
import { STREAM_BEAT_MS } from '../contract/endpoints.ts';
import { UnderstudyError } from '../domain/error.ts';
import {
  hasEnded,
  type OperationEvent,
  type OperationRecord,
  type OperationState,
} from '../domain/operation/operation.ts';
import type { Clock } from '../ports/clock.ts';
import type { Controller } from '../ports/controller.ts';
import type { EventStream } from './event-stream.ts';
import { eventAnswer, operationAnswer, progressAnswer, waitsAnswer } from './operations.ts';

/** Throws `invalid-request` for a Last-Event-ID that is not a sequence. */
export function lastSequence(header: string | string[] | undefined): number {
  if (header === undefined || header === '') return 0;
  if (typeof header === 'string' && /^\d{1,15}$/.test(header)) return Number(header);
  throw new UnderstudyError('invalid-request', { reason: 'Last-Event-ID must be a sequence' });
}

export type Streaming = {
  readonly controller: Controller;
  readonly clock: Clock;
  readonly operation: OperationRecord;
  readonly afterSequence: number;
  readonly stream: EventStream;
};

/** Streams until the operation settles, the reader goes or the server closes. */
export async function streamOperation(request: Streaming): Promise<void> {
  const { controller, stream } = request;
  const { id } = request.operation;
  const feed = operationFeed(request.afterSequence, stream);
  using _subscription = controller.subscribe({
    onEvent: (event, operation) => {
      if (event.operationId === id) feed.live(event, operation);
    },
    onProgress: (progress) => {
      if (progress.operationId === id) {
        stream.sendVolatile({ event: 'progress', value: progressAnswer(progress) });
      }
    },
  });
  const options = { signal: stream.closed };
  const operation = await controller.operation(id, options);
  feed.replay(await controller.history(id, request.afterSequence, options), operation);
  await Promise.all([feed.finished, tellWaits(request, feed.begun)]);
  stream.end();
}

/**
 * It changes with every operation that begins, ends or lends what it has, at instants that no event tells: so it is looked
 * at again and again.
 */
async function tellWaits(
  { controller, clock, operation, stream }: Streaming,
  begun: AbortSignal,
): Promise<void> {
  const nothing = JSON.stringify(waitsAnswer(operation, new Map()));
  let told = nothing;
  while (!begun.aborted) {
    const waits = await controller.waits([operation], { signal: stream.closed });
    const value = waitsAnswer(operation, waits);
    const text = JSON.stringify(value);
    if (text !== told && !begun.aborted) stream.send({ event: 'waits', value });
    told = text;
    const options = { signal: begun, isBackground: true };
    await clock.sleep(STREAM_BEAT_MS, options).catch(() => undefined); // begun: the loop ends
  }
}

/** Streams every event and progress from now on; there is no resuming: read the lists again instead. */
export async function streamAll(controller: Controller, stream: EventStream): Promise<void> {
  using _subscription = controller.subscribe({
    onEvent: (event, operation) => {
      const value = { event: eventAnswer(event, operation), operation: operationAnswer(operation) };
      stream.send({ event: 'event', value });
    },
    onProgress: (progress) =>
      stream.sendVolatile({ event: 'progress', value: progressAnswer(progress) }),
  });
  await aborted(stream.closed);
}

function operationFeed(afterSequence: number, stream: EventStream) {
  const { promise: finished, resolve } = Promise.withResolvers<void>();
  const begun = new AbortController();
  const finish = (): void => {
    begun.abort();
    resolve();
  };
  stream.closed.addEventListener('abort', finish);
  if (stream.closed.aborted) finish();
  let sent = afterSequence;
  // Bounded by the time that one history read takes.
  let waiting: [OperationEvent, OperationRecord][] | null = [];
  const send = (event: OperationEvent, operation: OperationRecord): void => {
    if (event.sequence <= sent) return;
    sent = event.sequence;
    stream.send({ event: 'event', id: event.sequence, value: eventAnswer(event, operation) });
  };
  const settle = (operation: OperationRecord): void => {
    if (operation.state !== 'queued') begun.abort();
    if (!isSettled(operation.state)) return;
    stream.send({ event: 'end', value: operationAnswer(operation) });
    finish();
  };
  const live = (event: OperationEvent, operation: OperationRecord): void => {
    send(event, operation);
    settle(operation);
  };
  return {
    finished,
    /** Aborted when it is not queued, or nobody reads any more. */
    begun: begun.signal,
    live: (event: OperationEvent, operation: OperationRecord): void => {
      if (waiting === null) live(event, operation);
      else waiting.push([event, operation]);
    },
    /**
     * `operation` was read between subscribing and the history: had it settled by then, the history holds
     * its last event; settles it later, the subscription hears of it.
     */
    replay: (history: readonly OperationEvent[], operation: OperationRecord): void => {
      for (const event of history) send(event, operation);
      const missed = waiting ?? [];
      waiting = null;
      for (const [event, at] of missed) send(event, at);
      settle(missed.at(-1)?.[1] ?? operation);
    },
  };
}

function isSettled(state: OperationState): boolean {
  return hasEnded(state) || state === 'suspended';
}

function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => resolve());
  if (signal.aborted) resolve();
  return promise;
}
