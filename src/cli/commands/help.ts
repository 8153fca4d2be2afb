import type { Command } from 'commander';
import { leaf } from '../command-tree.ts';

/** `help job run` says what `job run --help` does. */
export function helpCommand(program: Command): void {
  program.helpCommand(false);
  leaf(program, 'help [command...]', 'Show how a command is used', [
    'help job run',
    'help failover',
  ]).action((words: readonly string[]) => {
    const asked = words.reduce(
      (above, word) =>
        above.commands.find((each) => each.name() === word) ??
        above.error(`error: unknown command '${words.join(' ')}'`, {
          code: 'commander.unknownCommand',
        }),
      program,
    );
    asked.help();
  });
}
