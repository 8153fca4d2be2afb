import type { ServerResponse } from 'node:http';
import { STREAM_BEAT_MS } from '../contract/endpoints.ts';
import type { Clock } from '../ports/clock.ts';

/** A reader this far behind is cut off; it connects again and continues from the last event it saw. */
const BACKLOG_BYTES_MAX = 1024 * 1024;
/** Progress is worthless when late: it is left out for a reader this far behind. */
const PROGRESS_BACKLOG_BYTES_MAX = 16 * 1024;

const COMMENT = ': understudy\n\n';

/** One open answer of server-sent events. */
export type EventStream = {
  readonly closed: AbortSignal;
  send(message: {
    readonly event: string;
    readonly id?: number | string;
    readonly value: unknown;
  }): void;
  /** Left out when the reader is behind. */
  sendVolatile(message: { readonly event: string; readonly value: unknown }): void;
  end(): void;
};

export function openEventStream(response: ServerResponse, clock: Clock): EventStream {
  const closing = new AbortController();
  response.on('close', () => closing.abort());
  response.on('error', () => closing.abort());
  // Nobody is told a second time.
  if (response.closed) closing.abort();
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  });
  // A comment, so that the reader knows at once that it is connected.
  response.write(COMMENT);
  const write = (event: string, id: number | string | undefined, value: unknown): void => {
    if (closing.signal.aborted || response.writableEnded) return;
    const idLine = id === undefined ? '' : `id: ${id}\n`;
    // JSON has no raw line breaks, so one data line always suffices.
    response.write(`event: ${event}\n${idLine}data: ${JSON.stringify(value)}\n\n`);
    if (response.writableLength > BACKLOG_BYTES_MAX) response.destroy();
  };
  void beat(response, clock, closing.signal);
  return {
    closed: closing.signal,
    send: ({ event, id, value }) => write(event, id, value),
    sendVolatile: ({ event, value }) => {
      if (response.writableLength <= PROGRESS_BACKLOG_BYTES_MAX) write(event, undefined, value);
    },
    end: () => {
      if (!response.writableEnded) response.end();
    },
  };
}

/** Who reads can tell from this a server that has nothing to say from one that hangs. */
async function beat(response: ServerResponse, clock: Clock, signal: AbortSignal): Promise<void> {
  const slept = (): Promise<boolean> =>
    clock.sleep(STREAM_BEAT_MS, { signal, isBackground: true }).then(
      () => true,
      () => false, // The stream is closed.
    );
  while (await slept()) {
    // Who is behind has enough to read.
    if (response.writableLength === 0 && !response.writableEnded) response.write(COMMENT);
  }
}
