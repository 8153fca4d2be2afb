/**
 * What is going on, on stderr: on a terminal one line that is redrawn, elsewhere plain lines, few enough
 * for a log. Lasting messages go above the live line.
 */
import type { OperationProgressAnswer } from '../contract/operation.ts';
import { escapeText } from './escape.ts';
import { formatBytes, formatMs } from './format.ts';
import { displayWidth } from './table.ts';
import type { Output } from './world.ts';

const REDRAW_MS = 100;
const PLAIN_LINE_MS = 5000;
/** The same again only says that it still goes on. */
const PLAIN_AGAIN_MS = 60_000;
const BAR_CELLS = 20;
/** CR, then erase in line: ECMA-48 §8.3.41. */
const CLEAR_LINE = '\r\u001b[2K';

export type ProgressDisplay = {
  /** A line that stays. */
  message(line: string): void;
  /** What an operation does now; replaced by the next. */
  progress(title: string, progress: OperationProgressAnswer): void;
  step(title: string, step: string): void;
  /** Removes the live line. */
  close(): void;
};

export function createProgressDisplay(options: {
  readonly output: Output;
  readonly now: () => number;
}): ProgressDisplay {
  const { output, now } = options;
  let live = '';
  let shown = '';
  let drawnAt = Number.NEGATIVE_INFINITY;
  const show = (line: string, intervalMs: number): void => {
    if (now() - drawnAt < intervalMs) return;
    drawnAt = now();
    shown = line;
    if (!output.isTerminal) {
      output.write(`${line}\n`);
      return;
    }
    live = clip(line, output.columns - 1);
    output.write(CLEAR_LINE + live);
  };
  const clear = (): void => {
    if (live !== '') output.write(CLEAR_LINE);
    live = '';
  };
  const interval = output.isTerminal ? REDRAW_MS : PLAIN_LINE_MS;
  return {
    message: (line) => {
      const redraw = live;
      clear();
      output.write(`${escapeText(line)}\n`);
      if (redraw !== '') {
        live = redraw;
        output.write(live);
      }
    },
    progress: (title, progress) => show(progressLine(title, progress, output.isTerminal), interval),
    step: (title, step) => {
      const line = escapeText(`${title}: ${output.isTerminal ? step : withoutNumber(step)}`);
      show(line, line === shown ? PLAIN_AGAIN_MS : interval);
    },
    close: clear,
  };
}

/** Rounds of waiting are numbered in the history; in a log they are one and the same. */
function withoutNumber(step: string): string {
  return step.replace(/-\d+$/, '');
}

/** `Replicate web-01  [#####---------------]  25%  1.00 GiB of 4.00 GiB  120 MiB/s  25s left  copy vda` */
function progressLine(title: string, progress: OperationProgressAnswer, withBar: boolean): string {
  const { doneBytes, totalBytes, bytesPerSecond, remainingMs } = progress;
  const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  const parts = [
    escapeText(title),
    ...(withBar ? [bar(share)] : []),
    `${String(Math.floor(share * 100)).padStart(3)}%`,
    `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`,
    `${formatBytes(bytesPerSecond)}/s`,
    ...(remainingMs === null ? [] : [`${formatMs(remainingMs)} left`]),
    escapeText(progress.step),
  ];
  return parts.join('  ');
}

function bar(share: number): string {
  const filled = Math.round(share * BAR_CELLS);
  return `[${'#'.repeat(filled)}${'-'.repeat(BAR_CELLS - filled)}]`;
}

/** A line that wraps could not be erased. */
function clip(line: string, columns: number): string {
  let text = '';
  for (const character of line) {
    if (displayWidth(text + character) > columns) break;
    text += character;
  }
  return text;
}
