import type { Command } from 'commander';
import type { PlannedFailoverBody } from '../../contract/failover.ts';
import { choice, leaf, type Runner, type WaitOptions, waitOptions } from '../command-tree.ts';
import { parseCount, parseSeconds } from '../quantities.ts';
import type { Session } from '../session.ts';
import { renderOperations, settleAndShow, settleAndShowAll } from './operation.ts';

type PlannedOptions = WaitOptions & {
  readonly reason?: string;
  readonly passes?: string;
  readonly lastDelta?: string;
  readonly shutdownDeadline?: string;
  readonly onMissedDeadline?: 'ask' | 'power-off' | 'give-up';
};

export function plannedFailoverCommand(program: Command, runner: Runner): void {
  const planned = leaf(
    program,
    'planned-failover <replica...>',
    'Switch to the replica without losing a write: replicate until little is left, shut the source down, move the rest.\nUntil the replica runs, any failure starts the source again. Several replicas proceed in parallel.',
    [
      'planned-failover web-01-replica --reason "kernel update"',
      'planned-failover web-01-replica db-01-replica --on-missed-deadline power-off',
    ],
  )
    .option('--reason <text>', 'recorded with the failover')
    .option('--passes <count>', 'replicate the running VM at most this often (default: 5)')
    .option(
      '--last-delta <duration>',
      'shut down when moving the rest will take at most this (default: 5s)',
    )
    .option('--shutdown-deadline <duration>', 'what the guest may take to shut down (default: 5m)')
    .addOption(
      choice('--on-missed-deadline <what>', 'when it takes longer (default: ask)', [
        'ask',
        'power-off',
        'give-up',
      ]),
    );
  runner.run<PlannedOptions>(waitOptions(planned), async (session, replicas, options) => {
    const body = request(options);
    const ids = await idsOf(session, replicas);
    const [only = '', ...others] = ids;
    if (others.length === 0) {
      const parameters = { replica: only };
      const accepted = await session.client.call('plannedFailover', { parameters, body });
      return settleAndShow(session, accepted, options.wait);
    }
    const asked = ids.map((replica) =>
      session.client.call('plannedFailover', { parameters: { replica }, body }),
    );
    return settleAndShowAll(session, asked, {
      wait: options.wait,
      show: (items) => session.show({ items }, (shown) => renderOperations(shown.items)),
    });
  });
}

/** All are looked up before the first begins: a misspelt name must not move the others. Nobody is moved twice. */
async function idsOf({ client }: Session, replicas: readonly string[]): Promise<readonly string[]> {
  const found = await Promise.all(
    replicas.map((replica) => client.call('showReplica', { parameters: { replica } })),
  );
  return [...new Set(found.map(({ id }) => id))];
}

function request(options: PlannedOptions): PlannedFailoverBody {
  const { reason, passes, lastDelta, shutdownDeadline, onMissedDeadline } = options;
  const milliseconds = (text: string, name: string) => parseSeconds(text, name) * 1000;
  return {
    ...(reason === undefined ? {} : { reason }),
    ...(passes === undefined ? {} : { passesMax: parseCount(passes, '--passes') }),
    ...(lastDelta === undefined ? {} : { lastDeltaMsMax: milliseconds(lastDelta, '--last-delta') }),
    ...(shutdownDeadline === undefined
      ? {}
      : { shutdownDeadlineMs: milliseconds(shutdownDeadline, '--shutdown-deadline') }),
    ...(onMissedDeadline === undefined ? {} : { onMissedDeadline }),
  };
}
