/** How commands are declared: each action gets a session and answers an exit code. */
import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import { EXIT } from './exit-codes.ts';
import { createSession, type GlobalOptions, type Session } from './session.ts';
import type { CliWorld } from './world.ts';

export type Action<Options> = (
  session: Session,
  positional: readonly string[],
  options: Options,
) => Promise<number | undefined>;

export type Runner = {
  /** Attaches the action; `undefined` is exit code 0. */
  run<Options>(command: Command, action: Action<Options>): Command;
  readonly exitCode: () => number;
};

export function createRunner(world: CliWorld): Runner {
  let exitCode: number = EXIT.ok;
  return {
    run: <Options>(command: Command, action: Action<Options>) =>
      command.action(async (...given: unknown[]) => {
        const session = createSession(world, command.optsWithGlobals<GlobalOptions>());
        const positional = given.slice(0, command.registeredArguments.length).flat();
        const texts = positional.filter((text): text is string => typeof text === 'string');
        exitCode = (await action(session, texts, command.opts() as Options)) ?? EXIT.ok;
      }),
    exitCode: () => exitCode,
  };
}

export function group(
  parent: Command,
  name: string,
  summary: string,
  examples: readonly string[],
): Command {
  const command = parent.command(name).summary(summary).description(summary);
  return command.addHelpText('after', exampleText(examples));
}

/** `specification` as commander writes it: `show <host>`. */
export function leaf(
  parent: Command,
  specification: string,
  description: string,
  examples: readonly string[],
): Command {
  return parent
    .command(specification)
    .summary(description.split('\n', 1)[0] ?? '')
    .description(description)
    .addHelpText('after', exampleText(examples));
}

function exampleText(examples: readonly string[]): string {
  const heading = examples.length === 1 ? 'Example' : 'Examples';
  const lines = examples.map((example) => `  $ understudy ${example}`);
  return `\n${heading}:\n${lines.join('\n')}`;
}

export function choice(flags: string, description: string, values: readonly string[]): Option {
  return new Option(flags, description).choices(values);
}

export function choiceArgument(
  name: string,
  description: string,
  values: readonly string[],
): Argument {
  return new Argument(name, description).choices(values);
}

/** For options that may be given several times. */
export function collect(value: string, earlier: readonly string[] | undefined): readonly string[] {
  return [...(earlier ?? []), value];
}

/** An empty value is nearly always a variable that was not set. */
export function notEmpty(value: string): string {
  if (value === '') throw new InvalidArgumentError('It must not be empty.');
  return value;
}

/** `--wait` is the default and can be said all the same. */
export function waitOptions(command: Command): Command {
  return command
    .option('--wait', 'wait until it has ended, showing progress', true)
    .option('--no-wait', 'return as soon as the server has accepted it');
}

export type WaitOptions = { readonly wait: boolean };
