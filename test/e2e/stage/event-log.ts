/** Reads the server's event log as it grows, which tells of every step within milliseconds. */
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '../../../src/rig/until.ts';

export interface LoggedEvent {
  readonly operationId: string;
  readonly type: string;
  readonly step: string | null;
  readonly message: string;
}

export interface EventLog {
  /** The first event after the last one returned that fits. @throws Error after `deadlineMs` (default 60 s). */
  next(
    wanted: Partial<LoggedEvent>,
    options?: { readonly deadlineMs?: number },
  ): Promise<LoggedEvent>;
  /** What was logged from the beginning of this watch, whether returned by `next` or not. */
  readonly seen: readonly LoggedEvent[];
}

/** Events from now on. */
export async function watchEvents(dataFolder: string): Promise<EventLog> {
  const path = join(dataFolder, 'log.jsonl');
  let offset = await stat(path).then(
    ({ size }) => size,
    () => 0,
  );
  let rest = '';
  const seen: LoggedEvent[] = [];
  let returned = 0;
  const readMore = async (): Promise<void> => {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size - offset), 0, null, offset);
      offset += bytesRead;
      const lines = `${rest}${buffer.toString('utf8', 0, bytesRead)}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const event: Partial<LoggedEvent> = JSON.parse(line);
        if (typeof event.operationId === 'string') seen.push(event as LoggedEvent);
      }
    } finally {
      await file.close();
    }
  };
  return {
    seen,
    next: (wanted, { deadlineMs = 60_000 } = {}) =>
      until(
        `event ${JSON.stringify(wanted)}`,
        async () => {
          await readMore();
          while (returned < seen.length) {
            const event = seen[returned++];
            if (event !== undefined && fits(event, wanted)) return event;
          }
          return undefined;
        },
        { deadlineMs, pauseMs: 4 },
      ),
  };
}

function fits(event: LoggedEvent, wanted: Partial<LoggedEvent>): boolean {
  const keys = Object.keys(wanted) as (keyof LoggedEvent)[];
  return keys.every((key) => event[key] === wanted[key]);
}
