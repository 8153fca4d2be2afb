/**
 * What the demo says: a timeline with elapsed times, the commands that an operator would type with their output,
 * and claims, each with the result of its check. On a terminal with colours and a live line; elsewhere plain lines.
 *
 *     12.3s  the source VM answers                     say
 *     $ understudy point list ledger-replica           command
 *       ID      TAKEN ...                              output
 *      [ok]    it holds the records 0 to 311           claim
 */
import { stripVTControlCharacters, styleText } from 'node:util';
import { shellArgument } from '../../domain/shell-argument.ts';

export interface Report {
  /** A heading. */
  act(title: string): void;
  /** A line of the timeline. */
  say(text: string): void;
  /** What goes on now and takes a while: shown on a terminal until the next line. */
  meanwhile(text: string): void;
  command(args: readonly string[]): void;
  output(text: string): void;
  /** States something with the result of its check; a false one makes the demo fail. */
  claim(text: string, isTrue: boolean): void;
  table(rows: readonly (readonly [string, string])[]): void;
  readonly claimCount: number;
  readonly failedClaims: readonly string[];
  elapsedMs(): number;
}

export type Screen = {
  readonly isTerminal: boolean;
  readonly hasColours: boolean;
  readonly columns: () => number;
  readonly write: (text: string) => void;
};

type Style = 'bold' | 'cyan' | 'dim' | 'green' | 'red';

/** CR, then erase in line: ECMA-48 §8.3.41. */
const clearLine = '\r\u001b[2K';
const margin = ' '.repeat(9);

export function createReport(screen: Screen): Report {
  const startedAt = performance.now();
  const failedClaims: string[] = [];
  let claimCount = 0;
  const elapsedMs = (): number => performance.now() - startedAt;
  const paint = (style: Style, text: string): string =>
    screen.hasColours ? styleText(style, text, { validateStream: false }) : text;
  const line = (text: string): void =>
    screen.write(`${screen.isTerminal ? clearLine : ''}${text}\n`);
  const clock = (): string =>
    paint('dim', `${formatSeconds(elapsedMs())}  `.padStart(margin.length));
  return {
    act: (title) => line(`\n${paint('bold', title)}`),
    say: (text) => line(clock() + text),
    meanwhile(text) {
      if (!screen.isTerminal) return;
      screen.write(clearLine + clock() + clip(`${text} ...`, screen.columns() - margin.length - 1));
    },
    command: (args) =>
      line(
        `${margin}${paint('cyan', `$ ${['understudy', ...args].map(shellArgument).join(' ')}`)}`,
      ),
    output(text) {
      if (text.trim() === '') return;
      for (const row of text.trimEnd().split('\n')) line(paint('dim', `${margin}  ${row}`));
    },
    claim(text, isTrue) {
      claimCount += 1;
      if (!isTrue) failedClaims.push(text);
      const mark = isTrue ? paint('green', '[ok]') : paint('red', '[FAILED]');
      line(`${mark}${' '.repeat(isTrue ? margin.length - 4 : 1)}${text}`);
    },
    table(rows) {
      const width = Math.max(...rows.map(([label]) => label.length));
      for (const [label, value] of rows) line(`  ${label.padEnd(width)}   ${paint('bold', value)}`);
    },
    get claimCount() {
      return claimCount;
    },
    failedClaims,
    elapsedMs,
  };
}

/** `1.4s`: with the tenths, because they are what is shown here. */
export function formatSeconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)}s`;
}

export function formatMebibytes(bytes: number): string {
  const mebibytes = bytes / 1024 ** 2;
  return `${mebibytes.toFixed(mebibytes < 10 ? 1 : 0)} MiB`;
}

/** A line that wraps could not be erased. */
function clip(text: string, columns: number): string {
  return stripVTControlCharacters(text).slice(0, Math.max(0, columns));
}
