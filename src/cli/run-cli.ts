/** The program `understudy`: reads the arguments, runs one command, answers an exit code. */
import { Command, CommanderError } from 'commander';
import { choice, createRunner, notEmpty, type Runner } from './command-tree.ts';
import { archiveCommands } from './commands/archive.ts';
import { failbackCommands } from './commands/failback.ts';
import { failoverCommands } from './commands/failover.ts';
import { guardCommands } from './commands/guard.ts';
import { helpCommand } from './commands/help.ts';
import { hopCommand } from './commands/hop.ts';
import { hostCommands, vmCommands } from './commands/host.ts';
import { jobCommands } from './commands/job.ts';
import { operationCommands } from './commands/operation.ts';
import { pointCommands } from './commands/point.ts';
import { replicaCommands } from './commands/replica.ts';
import { rescanCommand } from './commands/rescan.ts';
import { completionCommand, serverCommands } from './commands/server.ts';
import { testCommands } from './commands/test.ts';
import { escapeLines, safeJson } from './escape.ts';
import { EXIT, EXIT_CODES_HELP } from './exit-codes.ts';
import { Failure, usageFailure } from './failure.ts';
import { escapedFinding } from './findings.ts';
import type { GlobalOptions } from './session.ts';
import type { CliWorld } from './world.ts';

const DESCRIPTION = `Replication and failover of virtual machines.

A server (\`understudy serve\`) does the work; every other command asks it.
Wherever a host, job, replica, point or operation is asked for, give its name, its id, or the unique beginning of its id; after \`--\` if that begins with a dash.
With -o json or ndjson an error is one line of JSON, the last on stderr: { exitCode, message, problem }. How an operation ended is no error of the command: its state, error and result are on stdout, and the exit code tells.`;

const EXAMPLES = `
First steps:
  $ understudy serve &
  $ understudy host add production --uri qemu:///system --storage /srv/understudy
  $ understudy host add recovery --uri 'qemu+unix:///system?socket=/run/b/libvirt-sock' --storage /srv/b
  $ understudy job create web --source production --target recovery --vm web-01
  $ understudy job run web
  $ understudy failover web-01-replica --dry-run

Environment:
  UNDERSTUDY_DATA    data folder of the server (as --data)
  UNDERSTUDY_SERVER  address of the server (as --server)
  UNDERSTUDY_TOKEN   access token, when the data folder cannot be read

${EXIT_CODES_HELP}`;

/** Never rejects: what goes wrong is written to stderr and told by the exit code. */
export async function runCli(world: CliWorld): Promise<number> {
  const runner = createRunner(world);
  const program = buildProgram(world, runner);
  try {
    await program.parseAsync([...world.arguments], { from: 'user' });
    return runner.exitCode();
  } catch (error) {
    return isForPrograms(program) ? reportAsJson(world, error) : report(world, error);
  }
}

function isForPrograms(program: Command): boolean {
  return program.opts<Partial<GlobalOptions>>().output !== 'table';
}

/** The whole command tree. */
function buildProgram(world: CliWorld, runner: Runner): Command {
  const program = new Command('understudy');
  program
    .description(DESCRIPTION)
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    .showHelpAfterError('Add --help to see how it is used.')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => world.stdout.write(text),
      writeErr: (text) => {
        if (!isForPrograms(program)) world.stderr.write(escapeLines(text));
      },
      outputError: (text, write) => write(text.replace(/^error: /, 'understudy: ')),
      getOutHelpWidth: () => helpWidth(world.stdout),
      getErrHelpWidth: () => helpWidth(world.stderr),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .version(world.version, '-V, --version', 'show the version of this program')
    .addOption(
      choice('-o, --output <form>', 'how data is written to stdout', [
        'table',
        'json',
        'ndjson',
      ]).default('table'),
    )
    .option('--server <address>', 'http://127.0.0.1:PORT or unix:PATH', notEmpty)
    .option('--data <folder>', 'data folder of the server', notEmpty);
  serverCommands(program, runner);
  hostCommands(program, runner);
  guardCommands(program, runner);
  vmCommands(program, runner);
  jobCommands(program, runner);
  replicaCommands(program, runner);
  pointCommands(program, runner);
  failoverCommands(program, runner);
  failbackCommands(program, runner);
  rescanCommand(program, runner);
  hopCommand(program, runner);
  archiveCommands(program, runner);
  testCommands(program, runner);
  operationCommands(program, runner);
  completionCommand(program, runner);
  helpCommand(program);
  return program;
}

function helpWidth({ isTerminal, columns }: CliWorld['stdout']): number {
  return isTerminal ? Math.min(columns, 120) : 100;
}

function report(world: CliWorld, error: unknown): number {
  // Commander has said it already; asking for help or the version is no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (error instanceof Failure) {
    for (const finding of error.findings) world.stderr.write(`${escapedFinding(finding)}\n`);
    world.stderr.write(`understudy: ${escapeLines(error.message)}\n`);
    return error.exitCode;
  }
  world.stderr.write(`understudy: ${escapeLines(unexpected(error))}\n`);
  return EXIT.bug;
}

/** One line, the last on stderr; `problem` is what the server said (docs/api.md), null where it was not asked. */
function reportAsJson(world: CliWorld, error: unknown): number {
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
  const { exitCode, message, problem } = asFailure(error);
  world.stderr.write(`${safeJson({ exitCode, message, problem })}\n`);
  return exitCode;
}

function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof CommanderError) return usageFailure(usageWords(error));
  return new Failure(unexpected(error), EXIT.bug, { cause: error });
}

function usageWords({ code, message }: CommanderError): string {
  if (code === 'commander.help') return 'A command is missing. Add --help to see which there are.';
  return message.replace(/^error: /, '');
}

function unexpected(error: unknown): string {
  return `Something unexpected happened: ${error instanceof Error ? error.message : String(error)}`;
}
