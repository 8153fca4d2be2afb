import { close, openSync, write } from 'node:fs';
import { Writable } from 'node:stream';
import { formatInstant } from '../domain/instant.ts';
import type { Clock } from '../ports/clock.ts';

export type LogLevel = 'debug' | 'info' | 'warning' | 'error';
export type LogFields = Readonly<Record<string, string | number | boolean | null>>;

export type Logger = {
  /** One event. The message is constant text; what varies goes into the fields. */
  log(level: LogLevel, message: string, fields?: LogFields): void;
};

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warning', 'error'];

/**
 * One JSON object per line: `at`, `level`, `message`, then the fields, which cannot displace these three.
 * A stream that is gone (closed pipe) loses lines; it never ends the server.
 */
export function jsonLogger(settings: {
  readonly stream: Writable;
  readonly clock: Clock;
  /** Less important events are dropped. */
  readonly levelMin: LogLevel;
}): Logger {
  const { stream, clock } = settings;
  const lowest = LEVELS.indexOf(settings.levelMin);
  stream.on('error', () => {});
  return {
    log(level, message, fields = {}) {
      if (LEVELS.indexOf(level) < lowest || !stream.writable) return;
      const at = formatInstant(clock.now());
      const head = { at, level, message };
      stream.write(`${JSON.stringify({ ...head, ...fields, ...head })}\n`);
    },
  };
}

/** Appends to a file of ours alone. What finds no room is lost; what comes when there is room again is not. Throws what `open` throws. */
export function logFile(path: string): Writable {
  const file = openSync(path, 'a', 0o600);
  return new Writable({
    write: (line: Buffer, _encoding, done) => write(file, line, () => done()),
    final: (done) => close(file, done),
  });
}
