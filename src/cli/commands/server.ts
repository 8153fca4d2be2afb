import type { Command } from 'commander';
import type { OverviewAnswer, SilentHostAnswer } from '../../contract/replica.ts';
import { choiceArgument, leaf, notEmpty, type Runner } from '../command-tree.ts';
import { completionScript, SHELLS } from '../completion.ts';
import { EXIT } from '../exit-codes.ts';
import { Failure, usageFailure } from '../failure.ts';
import { count, formatAge } from '../format.ts';
import { dataFolder } from '../location.ts';
import { renderTable } from '../table.ts';
import { renderOperations } from './operation.ts';
import { renderReplicas } from './replica.ts';

export function serverCommands(program: Command, runner: Runner): void {
  const serve = leaf(
    program,
    'serve',
    'Run the server: keeps what is known in the data folder, runs operations, answers the API.\nThe address and the access token are written there for this program to find.',
    [
      'serve',
      'serve --data /srv/understudy --listen 127.0.0.1:7070',
      'serve --listen unix:/run/understudy.sock',
    ],
  ).option('--listen <address>', '127.0.0.1:PORT or unix:PATH', notEmpty);
  runner.run<{ readonly listen?: string }>(serve, async ({ world, options }, _none, { listen }) =>
    world.serve({ dataFolder: dataFolder(world, options), listen: listen ?? null }),
  );

  const status = leaf(program, 'status', 'Everything at a glance', ['status']);
  runner.run(status, async ({ client, show, world }) => {
    show(await client.call('overview'), (overview) => renderOverview(overview, world.now()));
    return undefined;
  });

  const version = leaf(program, 'version', 'The versions of this program and of the server', [
    'version',
    'version -o json',
  ]);
  runner.run(version, async ({ client, show, world }) => {
    const server = await client.call('version').then(
      (answer) => answer.version,
      (error) => {
        // Without a server the question still has half an answer.
        if (error instanceof Failure && error.exitCode === EXIT.unreachable) return null;
        throw error;
      },
    );
    show(
      { client: world.version, server },
      (versions) =>
        `understudy ${versions.client} (server: ${versions.server ?? 'not reachable'})\n`,
    );
    return undefined;
  });
}

export function completionCommand(program: Command, runner: Runner): void {
  const completion = leaf(
    program,
    'completion',
    'Print a completion script for a shell; nothing is installed',
    [
      'completion bash > ~/.local/share/bash-completion/completions/understudy',
      'completion zsh > ~/.zfunc/_understudy',
      'completion fish > ~/.config/fish/completions/understudy.fish',
    ],
  ).addArgument(choiceArgument('<shell>', 'whose script', SHELLS));
  runner.run(completion, async ({ world }, [shell = '']) => {
    const known = SHELLS.find((name) => name === shell);
    if (known === undefined) throw usageFailure(`There is no completion for ${shell}.`);
    world.stdout.write(completionScript(program, known));
    return undefined;
  });
}

function renderOverview(overview: OverviewAnswer, nowMs: number): string {
  const { replicas, openOperations, silentHosts } = overview;
  const worried = replicas.filter((replica) => replica.conditions.length > 0).length;
  const parts = [
    `Understudy ${overview.version}`,
    hostsOf(overview),
    count(overview.jobCount, 'job'),
    count(replicas.length, 'replica'),
    `${worried} with conditions`,
    `${count(openOperations.length, 'operation')} under way`,
  ];
  const sections = [`${parts.join(' · ')}\n`];
  if (silentHosts.length > 0) sections.push(renderSilence(silentHosts, nowMs));
  if (replicas.length > 0) sections.push(renderReplicas(replicas, nowMs));
  if (openOperations.length > 0) sections.push(renderOperations(openOperations));
  return sections.join('\n');
}

function hostsOf({ hostCount, silentHosts }: OverviewAnswer): string {
  const all = count(hostCount, 'host');
  return silentHosts.length === 0 ? all : `${all}, ${silentHosts.length} silent`;
}

/** A line for each host, and one for what that means to each of its replicas. */
function renderSilence(hosts: readonly SilentHostAnswer[], nowMs: number): string {
  const rows = hosts.flatMap((host) => [
    {
      what: host.hostName,
      since: formatAge(host.since, nowMs),
      meaning: host.because,
    },
    ...host.replicas.map(({ replicaName, role, meaning }) => ({
      what: `  ${replicaName} (${role})`,
      since: '',
      meaning,
    })),
  ]);
  return renderTable(rows, [
    { header: 'SILENT HOST', cell: ({ what }) => what },
    { header: 'SINCE', cell: ({ since }) => since },
    { header: 'WHAT IT MEANS', cell: ({ meaning }) => meaning },
  ]);
}
