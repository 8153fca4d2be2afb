/** What every command has at hand: the client, the two outputs, and how to wait for operations. */
import type { PreflightFindingAnswer } from '../contract/job.ts';
import type { OperationAnswer } from '../contract/operation.ts';
import { type Client, createClient } from './client.ts';
import { escapeLines, safeJson } from './escape.ts';
import { EXIT } from './exit-codes.ts';
import { escapedFinding } from './findings.ts';
import { exitCodeOfOperation, type FollowTools, followAll, showInPassing } from './follow.ts';
import { type LocationOptions, locate } from './location.ts';
import { createProgressDisplay, type ProgressDisplay } from './progress-display.ts';
import type { CliWorld } from './world.ts';

export type OutputForm = 'table' | 'json' | 'ndjson';

export type GlobalOptions = LocationOptions & { readonly output: OutputForm };

export type Session = {
  readonly world: CliWorld;
  readonly options: GlobalOptions;
  readonly client: Client;
  readonly display: ProgressDisplay;
  /** One thing on stdout. */
  show<T>(value: T, render: (value: T) => string): void;
  /** Many things on stdout; `ndjson` gives a line each. */
  showList<T>(values: readonly T[], render: (values: readonly T[]) => string): void;
  /** Done: the sentence on stderr for people, the value on stdout for programs. */
  tell(value: unknown, text: string): void;
  /** A sentence on stderr. */
  say(text: string): void;
  /** Preflight findings on stderr. */
  sayFindings(findings: readonly PreflightFindingAnswer[]): void;
  /** Waits for all (or not, if told so), showing progress. Resolves with them as they are then. */
  settle(
    operations: readonly OperationAnswer[],
    wait: boolean,
    options?: Pick<FollowTools, 'after'>,
  ): Promise<readonly OperationAnswer[]>;
};

export function createSession(world: CliWorld, options: GlobalOptions): Session {
  const client = createClient({
    locate: () => locate(world, options),
    freshKey: world.freshKey,
    signal: world.interrupt,
  });
  const display = createProgressDisplay({ output: world.stderr, now: world.now });
  const say = (text: string): void => world.stderr.write(`${escapeLines(text)}\n`);
  const json = (value: unknown): string =>
    `${safeJson(value, options.output === 'json' ? 2 : undefined)}\n`;
  return {
    world,
    options,
    client,
    display,
    show: (value, render) =>
      world.stdout.write(options.output === 'table' ? render(value) : json(value)),
    showList: (values, render) => {
      if (options.output === 'table') world.stdout.write(render(values));
      else if (options.output === 'json') world.stdout.write(json(values));
      else for (const value of values) world.stdout.write(json(value));
    },
    tell: (value, text) => {
      if (options.output === 'table') say(text);
      else world.stdout.write(json(value));
    },
    say,
    sayFindings: (findings) => {
      for (const finding of findings) world.stderr.write(`${escapedFinding(finding)}\n`);
    },
    settle: async (operations, wait, following = {}) => {
      if (!wait) {
        for (const { id } of operations) say(`Follow it with: understudy operation follow ${id}`);
        return operations;
      }
      const tools = { world, client, display, ...showInPassing(display), ...following };
      try {
        return await followAll(tools, operations);
      } catch (error) {
        if (operations.length > 1) {
          say('The others go on as well: see `understudy operation list --open`.');
        }
        throw error;
      } finally {
        display.close();
      }
    },
  };
}

/** The code of the first that went wrong; operations that only were accepted count as done. */
export function exitCodeOfAll(operations: readonly OperationAnswer[], wait: boolean): number {
  if (!wait) return EXIT.ok;
  return operations.map(exitCodeOfOperation).find((code) => code !== EXIT.ok) ?? EXIT.ok;
}
